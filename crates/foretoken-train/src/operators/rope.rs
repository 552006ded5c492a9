//! Rotary position embedding in the halves layout: values `i` and `i + size / 2` of a head are a pair.

use foretoken_model::{Rope as RopeSpec, Rotation};

use crate::compute::{Compute, ROWS};
use crate::vector;

/// Which way pairs are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By the angle of the position.
    Forward,
    /// Back again: the gradient of a rotation is the inverse one.
    Backward,
}

/// The rotations of the positions of a sequence.
#[derive(Debug, Clone)]
pub struct Rope {
    head_size: usize,
    length: usize,
    /// `[length][head_size / 2]`.
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rope {
    /// The rotations of `length` positions, the same that a decoder of this `spec` applies.
    pub fn new(spec: &RopeSpec, length: usize) -> Self {
        let rotation = Rotation::new(spec, length);
        let half = rotation.width() / 2;
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        let mut row = vec![0.0; rotation.width()];
        for position in 0..length {
            rotation.fill(position as u32, &mut row);
            cosines.extend_from_slice(&row[..half]);
            sines.extend_from_slice(&row[half..]);
        }
        Self { head_size: rotation.width(), length, cosines, sines }
    }

    /// Positions.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Rotates every head of rows of `width` values; row `i` is at position `i % length`.
    pub fn apply(&self, compute: &mut Compute, x: &mut [f32], width: usize, direction: Direction) {
        let half = self.head_size / 2;
        let chunks = (0..).step_by(ROWS).zip(x.chunks_mut(ROWS * width));
        compute.each(chunks, |(first, rows)| {
            let mut negative = vec![0.0; half];
            for (row, x) in (*first..).zip(rows.chunks_exact_mut(width)) {
                let at = row % self.length * half;
                let (cos, mut sin) = (&self.cosines[at..][..half], &self.sines[at..][..half]);
                if direction == Direction::Backward {
                    negative.iter_mut().zip(sin).for_each(|(to, sin)| *to = -sin);
                    sin = &negative;
                }
                for head in x.chunks_exact_mut(self.head_size) {
                    let (low, high) = head.split_at_mut(half);
                    vector::rotate(low, high, cos, sin);
                }
            }
        });
    }
}
