//! The scalar backend: the specification of every operator, written to be read.
//!
//! It interprets a [`Program`] one operator and one row at a time with the primitives of
//! [`arithmetic`](crate::arithmetic), keeps weights and keys in plain arrays, and is the oracle
//! that other backends are compared with ([`conformance`](crate::conformance)). It knows no
//! vectors, no threads and no speed.

mod attention;
mod groups;
mod kv;
mod matrix;

pub use kv::ReferenceKv;
pub use matrix::ReferenceMatrix;

use crate::arithmetic::{rms_factor, rotate_pair, silu, swiglu};
use crate::{
    Affine, Backend, BufferId, BufferSpec, KvShape, MatrixView, Op, PackError, Pass, Program, Slot,
    WeightFormat, Weights, Write,
};

/// The scalar reference backend. It sums products with bfloat16 weights as one chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

/// The activation buffers of [`Reference`], by [`BufferId`]: f32, `[rows, width]`.
#[derive(Debug, Clone)]
pub struct ReferenceActivations(Vec<Buffer>);

#[derive(Debug, Clone, Default)]
struct Buffer {
    width: usize,
    values: Vec<f32>,
}

impl Buffer {
    fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    fn rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        self.values.chunks_exact_mut(self.width)
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }
}

impl ReferenceActivations {
    /// The last value of a buffer, for tests that break it.
    #[cfg(test)]
    pub(crate) fn last_mut(&mut self, id: BufferId) -> Option<&mut f32> {
        self.0[id.index()].values.last_mut()
    }

    fn get(&self, id: BufferId) -> &Buffer {
        &self.0[id.index()]
    }

    /// Writes the buffer `out` with `write`, which may read every other buffer and, in `out`, the
    /// old values.
    fn update(&mut self, out: BufferId, write: impl FnOnce(&Self, &mut Buffer)) {
        let mut buffer = std::mem::take(&mut self.0[out.index()]);
        write(self, &mut buffer);
        self.0[out.index()] = buffer;
    }
}

impl Backend for Reference {
    type Matrix = ReferenceMatrix;
    type Vector = Vec<f32>;
    type Activations = ReferenceActivations;
    type Kv = ReferenceKv;

    fn name(&self) -> String {
        "reference".into()
    }

    fn pack(
        &self,
        view: &MatrixView<'_>,
        format: WeightFormat,
    ) -> Result<ReferenceMatrix, PackError> {
        ReferenceMatrix::pack(view, format)
    }

    fn packed_bytes(&self, matrix: &ReferenceMatrix) -> usize {
        matrix.bytes()
    }

    fn vector(&self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn activations(&self, program: &Program, _rows: usize, _wanted: usize) -> ReferenceActivations {
        let empty = |spec: &BufferSpec| Buffer { width: spec.width, values: Vec::new() };
        ReferenceActivations(program.buffers().iter().map(empty).collect())
    }

    fn kv(&self, shape: KvShape) -> ReferenceKv {
        ReferenceKv::new(shape)
    }

    fn grow_kv(&self, kv: &mut ReferenceKv, blocks: usize) {
        kv.grow(blocks);
    }

    fn copy_kv(&self, kv: &mut ReferenceKv, moves: &[(Slot, Slot)]) {
        for &(from, to) in moves {
            kv.copy(from, to);
        }
    }

    fn read_kv(
        &self,
        kv: &ReferenceKv,
        layer: usize,
        head: usize,
        slot: Slot,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        key.copy_from_slice(kv.key(layer, slot, head));
        value.copy_from_slice(kv.value(layer, slot, head));
    }

    fn run(
        &self,
        program: &Program,
        weights: &Weights<Self>,
        pass: &Pass<'_>,
        activations: &mut ReferenceActivations,
        kv: &mut ReferenceKv,
    ) {
        pass.assert_laws();
        for (buffer, spec) in activations.0.iter_mut().zip(program.buffers()) {
            buffer.values.resize(spec.width * pass.rows(spec.rows), 0.0);
        }
        for op in program.ops() {
            run_op(op, weights, pass, activations, kv);
        }
    }

    fn row<'a>(
        &self,
        activations: &'a ReferenceActivations,
        buffer: BufferId,
        row: usize,
    ) -> &'a [f32] {
        activations.get(buffer).row(row)
    }
}

fn run_op(
    op: &Op,
    weights: &Weights<Reference>,
    pass: &Pass<'_>,
    acts: &mut ReferenceActivations,
    kv: &mut ReferenceKv,
) {
    match *op {
        Op::Embed { table, out } => acts.update(out, |_, out| {
            let table = &weights.matrices[table.index()];
            for (&token, out) in pass.tokens.iter().zip(out.rows_mut()) {
                table.decode_row(token as usize, out);
            }
        }),
        Op::Input { out } => acts.update(out, |_, out| out.values.copy_from_slice(pass.input)),
        Op::RmsNorm { input, weight, eps, out } => acts.update(out, |acts, out| {
            for (x, out) in acts.get(input).rows().zip(out.rows_mut()) {
                out.copy_from_slice(x);
                norm(out, &weights.vectors[weight.index()], eps);
            }
        }),
        Op::HeadNorm { buffer, weight, eps } => acts.update(buffer, |_, buffer| {
            let weight = &weights.vectors[weight.index()];
            for head in buffer.values.chunks_exact_mut(weight.len()) {
                norm(head, weight, eps);
            }
        }),
        Op::Linear { input, ref parts } => {
            for part in parts {
                acts.update(part.out, |acts, out| {
                    apply(part.map, weights, acts.get(input), out, |old, y| {
                        written(part.write, old, y)
                    });
                });
            }
        }
        Op::Rotate { buffer, head_size } => acts.update(buffer, |_, buffer| {
            let angles = pass.rotation.chunks_exact(pass.rotary_dims().max(1));
            for (row, angles) in buffer.rows_mut().zip(angles) {
                row.chunks_exact_mut(head_size).for_each(|head| rotate(head, angles));
            }
        }),
        Op::StoreKv { keys, values, layer } => {
            let (keys, values) = (acts.get(keys).rows(), acts.get(values).rows());
            let slots = pass.spans().flat_map(|span| {
                (0..span.rows.range().len()).map(move |node| span.slot(span.base + node))
            });
            for ((key, value), slot) in keys.zip(values).zip(slots) {
                kv.store(layer, slot, key, value);
            }
        }
        Op::Attention { queries, layer, reach, scale, out } => acts.update(out, |acts, out| {
            let attention = attention::Attention { layer, reach, scale };
            attention.run(kv, pass, acts.get(queries).rows(), out.rows_mut());
        }),
        Op::SwiGlu { input, gate, up, out } => acts.update(out, |acts, out| {
            apply(up, weights, acts.get(input), out, |_, up| up);
            apply(gate, weights, acts.get(input), out, |up, gate| swiglu(gate, up));
        }),
        Op::Select { input, out } => acts.update(out, |acts, out| {
            for (&row, out) in pass.wanted.iter().zip(out.rows_mut()) {
                out.copy_from_slice(acts.get(input).row(row as usize));
            }
        }),
        Op::Copy { input, out } => acts.update(out, |acts, out| {
            out.values.copy_from_slice(&acts.get(input).values);
        }),
    }
}

/// `x = (x * factor) * weight`, the root-mean-square norm.
fn norm(x: &mut [f32], weight: &[f32], eps: f32) {
    assert_eq!(x.len(), weight.len(), "a norm has one gain per value");
    let factor = rms_factor(x, eps);
    for (x, w) in x.iter_mut().zip(weight) {
        *x = (*x * factor) * w;
    }
}

/// What a projection leaves where `old` was.
fn written(write: Write, old: f32, y: f32) -> f32 {
    match write {
        Write::Store => y,
        Write::Add => old + y,
        Write::AddSilu => old + silu(y),
    }
}

/// `out = write(out, map(input))`.
fn apply(
    map: Affine,
    weights: &Weights<Reference>,
    input: &Buffer,
    out: &mut Buffer,
    write: impl Fn(f32, f32) -> f32,
) {
    let matrix = &weights.matrices[map.weight.index()];
    let bias = map.bias.map(|bias| &weights.vectors[bias.index()]);
    for (x, out) in input.rows().zip(out.rows_mut()) {
        let x = matrix.input(x);
        for (output, out) in out.iter_mut().enumerate() {
            let product = matrix.product(&x, output);
            *out = write(*out, bias.map_or(product, |bias| product + bias[output]));
        }
    }
}

/// Rotates one head by a row's angles: `dims / 2` cosines, then as many sines. Values at and beyond
/// `dims` stay as they are.
fn rotate(head: &mut [f32], angles: &[f32]) {
    let half = angles.len() / 2;
    for i in 0..half {
        (head[i], head[i + half]) =
            rotate_pair(head[i], head[i + half], angles[i], angles[half + i]);
    }
}
