//! The token embedding. As an output matrix it is a [`Linear`](super::Linear) of [`crate::HeadLoss`].

use foretoken_core::TokenId;
use foretoken_cpu::MatrixMut;

use super::linear::row_blocks;
use crate::compute::{Compute, ROWS};
use crate::vector;

/// Columns of the table that one thread adds all tokens to.
const COLUMNS: usize = 64;

/// Writes each token's row of the table `[vocab][width]`.
pub fn gather(
    compute: &mut Compute,
    table: &[f32],
    width: usize,
    tokens: &[TokenId],
    out: &mut [f32],
) {
    let blocks = tokens.chunks(ROWS).zip(row_blocks(out, width, ROWS));
    compute.each(blocks, |(tokens, out)| {
        for (row, token) in tokens.iter().enumerate() {
            out.row_mut(row).copy_from_slice(&table[*token as usize * width..][..width]);
        }
    });
}

/// Adds each row of `dy` to its token's row of the table's gradient, in the order of the rows.
pub fn gather_backward(
    compute: &mut Compute,
    gradient: &mut [f32],
    width: usize,
    tokens: &[TokenId],
    dy: &[f32],
) {
    let blocks = MatrixMut::new(gradient, width).column_blocks(COLUMNS);
    compute.each((0..).step_by(COLUMNS).zip(blocks), |(start, gradient)| {
        for (token, dy) in tokens.iter().zip(dy.chunks_exact(width)) {
            let columns = gradient.columns();
            vector::add(gradient.row_mut(*token as usize), &dy[*start..][..columns]);
        }
    });
}
