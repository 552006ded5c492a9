//! `y = x · weightᵀ (+ bias)`.

use foretoken_cpu::{Matrix, MatrixMut, Write};

use crate::compute::Compute;
use crate::vector;

/// Columns of a bias that one thread sums over all rows.
const COLUMNS: usize = 64;

/// A linear layer, over parameters that others own.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `[outputs][inputs]`.
    pub weight: &'a [f32],
    /// `[outputs]`.
    pub bias: Option<&'a [f32]>,
    /// Width of `x`.
    pub inputs: usize,
}

/// Where the gradients of a linear layer go.
#[derive(Debug)]
pub struct LinearGradient<'a> {
    /// `[rows][inputs]`, replaced or added to.
    pub x: Option<(&'a mut [f32], Write)>,
    /// Added to.
    pub weight: &'a mut [f32],
    /// Added to; present where there is a bias.
    pub bias: Option<&'a mut [f32]>,
}

impl Linear<'_> {
    /// Writes or adds the layer's output.
    pub fn forward(&self, compute: &mut Compute, x: &[f32], y: &mut [f32], write: Write) {
        let weight = Matrix::new(self.weight, self.inputs).transposed();
        let outputs = weight.columns();
        if let Some(bias) = self.bias {
            for y in y.chunks_exact_mut(outputs) {
                match write {
                    Write::Store => y.copy_from_slice(bias),
                    Write::Add => vector::add(y, bias),
                }
            }
        }
        let write = if self.bias.is_some() { Write::Add } else { write };
        compute.multiply(Matrix::new(x, self.inputs), weight, y, write);
    }

    /// From `dy`, the gradient of the output.
    pub fn backward(&self, compute: &mut Compute, x: &[f32], dy: &[f32], to: LinearGradient<'_>) {
        if let Some((dx, write)) = to.x {
            self.input_gradient(compute, dy, dx, write);
        }
        Self::weight_gradient(compute, (x, self.inputs), dy, to.weight);
        if let Some(bias) = to.bias {
            let dy = Matrix::new(dy, bias.len());
            let columns = (0..bias.len()).step_by(COLUMNS);
            compute.each(columns.zip(bias.chunks_mut(COLUMNS)), |(start, bias)| {
                let rows = (0..dy.rows()).map(|row| dy.row(row));
                rows.for_each(|row| vector::add(bias, &row[*start..][..bias.len()]));
            });
        }
    }

    /// Replaces or adds to `dx` by `dy · weight`.
    pub fn input_gradient(&self, compute: &mut Compute, dy: &[f32], dx: &mut [f32], write: Write) {
        let weight = Matrix::new(self.weight, self.inputs);
        compute.multiply(Matrix::new(dy, weight.rows()), weight, dx, write);
    }

    /// Adds `dyᵀ · x` to `gradient`, from rows `x` of `inputs` values.
    pub fn weight_gradient(
        compute: &mut Compute,
        (x, inputs): (&[f32], usize),
        dy: &[f32],
        gradient: &mut [f32],
    ) {
        let dy = Matrix::new(dy, gradient.len() / inputs).transposed();
        compute.multiply(dy, Matrix::new(x, inputs), gradient, Write::Add);
    }
}

/// Splits a dense matrix into blocks of rows for threads.
pub(super) fn row_blocks(
    values: &mut [f32],
    columns: usize,
    rows: usize,
) -> impl Iterator<Item = MatrixMut<'_>> {
    MatrixMut::new(values, columns).row_blocks(rows)
}
