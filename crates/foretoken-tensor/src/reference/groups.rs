//! Matrices of the integer formats: signed integers in groups that share a scale and a minimum.

use crate::arithmetic::{GROUP, activation_sum, add_group, add_minimum, quantize_row};
use crate::{Block, QuantSpec};

/// Rows of groups, padded with zeros to whole blocks.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    /// Values per group; an activation group is one or several of these.
    size: usize,
    quants: Vec<i8>,
    scales: Vec<f32>,
    /// Zeros where the format has none, which change no bit.
    minima: Vec<f32>,
}

/// A quantised input row.
pub(super) struct GroupInput {
    quants: Vec<i8>,
    /// Per activation group.
    scales: Vec<f32>,
    sums: Vec<f32>,
}

impl GroupInput {
    pub(super) fn new(x: &[f32]) -> Self {
        let (mut quants, mut scales) = (vec![0; x.len()], vec![0.0; x.len().div_ceil(GROUP)]);
        quantize_row(x, &mut quants, &mut scales);
        let groups = scales.iter().zip(quants.chunks(GROUP));
        let sums = groups.map(|(scale, q)| activation_sum(*scale, q)).collect();
        Self { quants, scales, sums }
    }
}

impl Groups {
    pub(super) fn new(size: usize) -> Self {
        Self { size, quants: Vec::new(), scales: Vec::new(), minima: Vec::new() }
    }

    /// Appends the blocks of a row.
    pub(super) fn push(&mut self, spec: &QuantSpec, row: &[u8]) {
        let unpack = spec.integers.expect("the format is one of integers").unpack;
        let mut block = Block::EMPTY;
        for bytes in row.chunks_exact(spec.block_bytes) {
            unpack(bytes, &mut block);
            let groups = 0..spec.block_values / self.size;
            self.quants.extend(&block.quants[..spec.block_values]);
            self.scales.extend(groups.clone().map(|g| block.scale(g)));
            self.minima.extend(groups.map(|g| block.minimum(g)));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.quants.len() + 4 * (self.scales.len() + self.minima.len())
    }

    /// Decodes row `row` of `rows`.
    pub(super) fn decode_row(&self, row: usize, rows: usize, out: &mut [f32]) {
        let (quants, scales) = (part(&self.quants, row, rows), part(&self.scales, row, rows));
        let minima = part(&self.minima, row, rows);
        for (i, out) in out.iter_mut().enumerate() {
            let g = i / self.size;
            *out = scales[g] * f32::from(quants[i]) - minima[g];
        }
    }

    /// The product of an input with row `row` of `rows`.
    pub(super) fn product(&self, x: &GroupInput, row: usize, rows: usize) -> f32 {
        let (quants, scales) = (part(&self.quants, row, rows), part(&self.scales, row, rows));
        let minima = part(&self.minima, row, rows);
        let mut acc = 0.0;
        for (g, (x_quants, w)) in
            x.quants.chunks(self.size).zip(quants.chunks(self.size)).enumerate()
        {
            let of_input = g * self.size / GROUP;
            let sum = x_quants.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum();
            acc = add_group(acc, sum, scales[g], x.scales[of_input]);
            acc = add_minimum(acc, minima[g], x.sums[of_input]);
        }
        acc
    }
}

/// What belongs to one of equal rows.
fn part<T>(values: &[T], row: usize, rows: usize) -> &[T] {
    let len = values.len() / rows;
    &values[row * len..(row + 1) * len]
}
