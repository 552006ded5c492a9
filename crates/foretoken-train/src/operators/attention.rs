//! Causal attention with grouped heads, over sequences that may hold several documents.
//!
//! A unit of work is one sequence and one key head with its query heads. Scores exist for a block of query rows
//! at a time; forward keeps the logarithm of each row's sum of exponentials, from which backward computes the
//! probabilities again (Dao et al. 2022). Blocks are cut by rows alone, so no number of threads shows in a sum.

use std::ops::Range;

use foretoken_cpu::{CpuBackend, GemmScratch, Matrix, MatrixMut, Precision, Product, Write};

use super::linear::row_blocks;
use crate::compute::Compute;
use crate::vector;

/// Query rows of a block.
const BLOCK: usize = 64;

/// The shape of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Values per head.
    pub head_size: usize,
    /// Rows of a sequence.
    pub length: usize,
}

/// What attention reads: whole sequences, one after another.
#[derive(Debug, Clone, Copy)]
pub struct AttentionRows<'a> {
    /// `[rows][heads * head_size]`, rotated.
    pub q: &'a [f32],
    /// `[rows][kv_heads * head_size]`, rotated.
    pub k: &'a [f32],
    /// `[rows][kv_heads * head_size]`.
    pub v: &'a [f32],
    /// `[rows]`: where in its sequence the row's document starts, at most the row's own place; never falling
    /// along a sequence. All zero where each sequence is one document.
    pub starts: &'a [u32],
}

/// Gradients of queries, keys and values, replaced.
#[derive(Debug)]
pub struct AttentionGradient<'a> {
    /// `[rows][heads * head_size]`.
    pub q: &'a mut [f32],
    /// `[rows][kv_heads * head_size]`.
    pub k: &'a mut [f32],
    /// `[rows][kv_heads * head_size]`.
    pub v: &'a mut [f32],
}

/// Memory of one thread.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    gemm: GemmScratch,
    /// `[BLOCK][length]`: scores, then probabilities.
    scores: Vec<f32>,
    /// `[BLOCK][length]`: their gradients.
    gradients: Vec<f32>,
}

impl Attention {
    /// Writes `out`, `[rows][heads * head_size]`, and `lse`, `[sequences][heads][length]`, which the backward
    /// pass needs.
    pub fn forward(
        &self,
        compute: &mut Compute,
        rows: AttentionRows<'_>,
        out: &mut [f32],
        lse: &mut [f32],
    ) {
        let group = self.group();
        let outs = self.units(out, self.heads);
        let items = (0..).zip(outs).zip(lse.chunks_mut(group * self.length));
        compute.each_attention(items, |backend, precision, scratch, ((index, out), lse)| {
            let unit = Unit::new(*self, rows, *index);
            let AttentionScratch { gemm, scores, .. } = scratch;
            let alone = Alone { backend, precision };
            for (head, lse) in lse.chunks_exact_mut(self.length).enumerate() {
                for block in unit.blocks() {
                    let keys = unit.keys(&block);
                    let scores = resized(scores, block.len() * keys.len());
                    let (q, k) = (unit.q(head, block.clone()), unit.k(keys.clone()));
                    alone.dense(gemm, q, k.transposed(), scores);
                    for (row, p) in block.clone().zip(scores.chunks_exact_mut(keys.len())) {
                        let p = seen(p, &unit.seen(row), keys.start);
                        vector::scale(p, self.scale());
                        lse[row] = vector::softmax(p);
                    }
                    let out = out.block(block, self.columns(head));
                    let p = Matrix::new(scores, keys.len());
                    alone.multiply(gemm, p, unit.v(keys), out, Write::Store);
                }
            }
        });
    }

    /// From `out` and `lse` of the forward pass and `dout`, the gradient of its output.
    pub fn backward(
        &self,
        compute: &mut Compute,
        rows: AttentionRows<'_>,
        (out, lse): (&[f32], &[f32]),
        dout: &[f32],
        to: AttentionGradient<'_>,
    ) {
        let AttentionGradient { q, k, v } = to;
        let of_keys = self.units(k, self.kv_heads).zip(self.units(v, self.kv_heads));
        let items = (0..).zip(self.units(q, self.heads).zip(of_keys));
        compute.each_attention(items, |backend, precision, scratch, (index, (dq, (dk, dv)))| {
            for row in 0..self.length {
                dk.row_mut(row).fill(0.0);
                dv.row_mut(row).fill(0.0);
            }
            let unit = Unit::new(*self, rows, *index);
            let outer = Outer { out: unit.of_queries(out), dout: unit.of_queries(dout), lse };
            let alone = Alone { backend, precision };
            for head in 0..self.group() {
                for block in unit.blocks() {
                    let dq = dq.block(block.clone(), self.columns(head));
                    let keys = unit.keys(&block);
                    let dk = dk.block(keys.clone(), 0..self.head_size);
                    let dv = dv.block(keys, 0..self.head_size);
                    unit.backward(alone, scratch, &outer, (head, block), [dq, dk, dv]);
                }
            }
        });
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_size as f32).sqrt()
    }

    fn columns(&self, head: usize) -> Range<usize> {
        head * self.head_size..(head + 1) * self.head_size
    }

    /// Splits rows of `heads` heads into those of units.
    fn units<'a>(
        &self,
        values: &'a mut [f32],
        heads: usize,
    ) -> impl Iterator<Item = MatrixMut<'a>> {
        let columns = heads / self.kv_heads * self.head_size;
        row_blocks(values, heads * self.head_size, self.length)
            .flat_map(move |rows| rows.column_blocks(columns))
    }
}

/// One sequence and one key head.
struct Unit<'a> {
    shape: Attention,
    sequence: usize,
    kv_head: usize,
    rows: AttentionRows<'a>,
}

/// Output and gradient of the output of a unit's heads, and everyone's sums.
struct Outer<'a> {
    out: Matrix<'a>,
    dout: Matrix<'a>,
    lse: &'a [f32],
}

/// Products on this thread.
#[derive(Clone, Copy)]
struct Alone<'a> {
    backend: &'a CpuBackend,
    precision: Precision,
}

impl Alone<'_> {
    fn multiply(
        self,
        scratch: &mut GemmScratch,
        a: Matrix<'_>,
        b: Matrix<'_>,
        out: MatrixMut<'_>,
        write: Write,
    ) {
        let precision = self.precision;
        self.backend.multiply_alone(scratch, Product { a, b, out, write, precision });
    }

    fn dense(self, scratch: &mut GemmScratch, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
        self.multiply(scratch, a, b, MatrixMut::new(out, b.columns()), Write::Store);
    }
}

impl<'a> Unit<'a> {
    fn new(shape: Attention, rows: AttentionRows<'a>, index: usize) -> Self {
        let (sequence, kv_head) = (index / shape.kv_heads, index % shape.kv_heads);
        Self { shape, sequence, kv_head, rows }
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let length = self.shape.length;
        (0..length).step_by(BLOCK).map(move |row| row..length.min(row + BLOCK))
    }

    /// Keys that a query row sees.
    fn seen(&self, row: usize) -> Range<usize> {
        self.rows.starts[self.sequence * self.shape.length + row] as usize..row + 1
    }

    /// Keys that some row of a block sees.
    fn keys(&self, block: &Range<usize>) -> Range<usize> {
        self.seen(block.start).start..block.end
    }

    /// This unit's part of rows of all heads, `[length][columns]`.
    fn part(&self, values: &'a [f32], heads: usize) -> Matrix<'a> {
        let Attention { length, head_size, kv_heads, .. } = self.shape;
        let columns = heads / kv_heads * head_size;
        let first = self.sequence * length;
        Matrix::new(values, heads * head_size)
            .block(first..first + length, self.kv_head * columns..(self.kv_head + 1) * columns)
    }

    fn of_queries(&self, values: &'a [f32]) -> Matrix<'a> {
        self.part(values, self.shape.heads)
    }

    fn q(&self, head: usize, block: Range<usize>) -> Matrix<'a> {
        self.of_queries(self.rows.q).block(block, self.shape.columns(head))
    }

    fn k(&self, keys: Range<usize>) -> Matrix<'a> {
        self.part(self.rows.k, self.shape.kv_heads).block(keys, 0..self.shape.head_size)
    }

    fn v(&self, keys: Range<usize>) -> Matrix<'a> {
        self.part(self.rows.v, self.shape.kv_heads).block(keys, 0..self.shape.head_size)
    }

    /// Where the sums of a head's rows are.
    fn sums<'b>(&self, lse: &'b [f32], head: usize) -> &'b [f32] {
        let Attention { heads, length, .. } = self.shape;
        let head = self.kv_head * self.shape.group() + head;
        &lse[(self.sequence * heads + head) * length..][..length]
    }

    /// The part of one head and one block of rows.
    fn backward(
        &self,
        alone: Alone<'_>,
        scratch: &mut AttentionScratch,
        outer: &Outer<'_>,
        (head, block): (usize, Range<usize>),
        [dq, dk, dv]: [MatrixMut<'_>; 3],
    ) {
        let keys = self.keys(&block);
        let AttentionScratch { gemm, scores, gradients } = scratch;
        let p = resized(scores, block.len() * keys.len());
        let d = resized(gradients, block.len() * keys.len());
        let columns = self.shape.columns(head);
        let dout = outer.dout.block(block.clone(), columns.clone());
        let out = outer.out.block(block.clone(), columns);
        let (q, k, v) = (self.q(head, block.clone()), self.k(keys.clone()), self.v(keys.clone()));
        alone.dense(gemm, q, k.transposed(), p);
        alone.dense(gemm, dout, v.transposed(), d);
        let (scale, lse) = (self.shape.scale(), self.sums(outer.lse, head));
        let of_rows = p.chunks_exact_mut(keys.len()).zip(d.chunks_exact_mut(keys.len()));
        for (index, (p, d)) in of_rows.enumerate() {
            let range = self.seen(block.start + index);
            let (p, d) = (seen(p, &range, keys.start), seen(d, &range, keys.start));
            vector::softmax_again(p, scale, lse[block.start + index]);
            let mean = vector::dot(out.row(index), dout.row(index));
            vector::softmax_gradient(d, p, mean, scale);
        }
        let (p, d) = (Matrix::new(p, keys.len()), Matrix::new(d, keys.len()));
        alone.multiply(gemm, p.transposed(), dout, dv, Write::Add);
        alone.multiply(gemm, d.transposed(), q, dk, Write::Add);
        alone.multiply(gemm, d, k, dq, Write::Store);
    }
}

/// A row's keys within those of its block; the others become zero.
fn seen<'a>(row: &'a mut [f32], range: &Range<usize>, first: usize) -> &'a mut [f32] {
    let (start, end) = (range.start - first, range.end - first);
    row[..start].fill(0.0);
    row[end..].fill(0.0);
    &mut row[start..end]
}

/// The first `len` values, which may be any.
fn resized(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if values.len() < len {
        values.resize(len, 0.0);
    }
    &mut values[..len]
}
