//! Packing of f32 factors for training's products, as they are or as pairs of bfloat16.
//!
//! A factor is a sum for each of its outer indices, of values or of pairs: words. Its memory runs along the one or
//! along the other, and it is wanted in panels, `[outer / 16][words][16]`, or as pairs in lines, `[outer][words]`.
//! Lines of what runs along the sum are [`round`](super::pairs::round), and panels of f32 that runs along the outer
//! index are copies; here are the others. Pairs are rounded as `arithmetic::round_bf16` does; what is missing of a
//! pair or of a panel is zeros.
//!
//! Limits: each value is read once, from rows that lie on several pages; a block of 16 by 16 words is
//! transposed in 64 instructions with AVX-512.

use super::gemm::lanes;
use crate::simd::{LANES, Simd};

/// A factor to pack.
pub(crate) struct Pack<'a> {
    pub(crate) from: Stored<'a>,
    pub(crate) to: &'a mut [u32],
    /// Words from a panel or line to the next.
    pub(crate) group: usize,
}

/// `[rows][columns]`, rows `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
}

impl<'a> Stored<'a> {
    /// A row; none where it is missing.
    #[inline(always)]
    fn row(self, row: usize) -> &'a [f32] {
        if row < self.rows { &self.values[row * self.stride..][..self.columns] } else { &[] }
    }
}

/// Rows that are fetched ahead: neighbours lie on several pages, where no hardware looks ahead.
const AHEAD: usize = 16;

/// Pairs of rows, to panels of columns.
#[inline(always)]
pub(crate) fn interleave<S: Simd>(s: S, a: Pack<'_>) {
    let Pack { from, to, group } = a;
    for step in 0..from.rows.div_ceil(2) {
        for column in (0..from.columns).step_by(LANES) {
            let at = column / LANES * group + step * LANES;
            to[at..][..LANES].copy_from_slice(&paired(s, from, step, column));
        }
    }
}

/// Pairs of rows, to lines of columns.
#[inline(always)]
pub(crate) fn interleave_lines<S: Simd>(s: S, a: Pack<'_>) {
    let Pack { from, to, group } = a;
    let steps = from.rows.div_ceil(2);
    for step in (0..steps).step_by(LANES) {
        for column in (0..from.columns).step_by(LANES) {
            let mut block = [[0; LANES]; LANES];
            for (index, line) in block.iter_mut().enumerate() {
                *line = paired(s, from, step + index, column);
            }
            s.transpose(&mut block);
            let count = LANES.min(steps - step);
            for (column, line) in (column..from.columns).zip(&block) {
                to[column * group + step..][..count].copy_from_slice(&line[..count]);
            }
        }
    }
}

/// Sixteen pairs of a pair of rows.
#[inline(always)]
fn paired<S: Simd>(s: S, from: Stored<'_>, step: usize, column: usize) -> [u32; LANES] {
    let (even, odd) = (from.row(2 * step), from.row(2 * step + 1));
    for row in [even, odd] {
        s.prefetch(row.as_ptr().wrapping_add(AHEAD * from.stride + column).cast());
    }
    let (mut low, mut high) = ([0.0; LANES], [0.0; LANES]);
    s.store(s.round_bf16(lanes(s, even, column)), &mut low);
    s.store(s.round_bf16(lanes(s, odd, column)), &mut high);
    let mut pairs = [0; LANES];
    for ((pair, low), high) in pairs.iter_mut().zip(low).zip(high) {
        *pair = low.to_bits() >> 16 | high.to_bits();
    }
    pairs
}

/// Columns, one or a pair to a word, to panels of rows.
#[inline(always)]
pub(crate) fn transpose<S: Simd, const PER_WORD: usize>(s: S, a: Pack<'_>) {
    const { assert!(PER_WORD == 1 || PER_WORD == 2, "a word is a value or a pair") }
    let Pack { from, to, group } = a;
    let steps = from.columns.div_ceil(PER_WORD);
    for row in (0..from.rows).step_by(LANES) {
        for step in (0..steps).step_by(LANES) {
            let mut block = [[0; LANES]; LANES];
            for (index, line) in block.iter_mut().enumerate() {
                let values = from.row(row + index);
                let low = lanes(s, values, PER_WORD * step);
                if PER_WORD == 1 {
                    s.store(low, bytemuck::cast_mut(line));
                } else {
                    let high = lanes(s, values, PER_WORD * step + LANES);
                    s.store_pairs(s.round_bf16(low), s.round_bf16(high), line);
                }
            }
            s.transpose(&mut block);
            let count = LANES * LANES.min(steps - step);
            let at = row / LANES * group + step * LANES;
            to[at..][..count].copy_from_slice(&block.as_flattened()[..count]);
        }
    }
}
