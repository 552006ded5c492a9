//! Programs with random weights: single operators and small transformers.

use std::sync::Arc;

use super::rng::Rng;
use crate::{
    Affine, Backend, BufferId, KvShape, KvType, MatrixId, MatrixView, Op, Program, Projection,
    QUANTS, Reach, Reference, RowOrder, RowSet, VectorId, WeightFormat, Weights, Write,
};

pub(super) const KV_TYPES: [KvType; 2] = [KvType::F32, KvType::Bf16];

/// Every format that matrices are packed in: those that the reference packs as they are stored.
pub(super) fn packed_formats() -> Vec<WeightFormat> {
    let is_packed = |format: &WeightFormat| {
        let stored =
            Stored::random(&mut Rng::new(0), *format, [1, format.spec().block_values], 0.1);
        Reference.pack(&stored.view(), *format).is_ok()
    };
    QUANTS.iter().map(|spec| spec.format).filter(is_packed).collect()
}

/// A matrix as a file would hold it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) format: WeightFormat,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) order: RowOrder,
    pub(super) data: Vec<u8>,
}

impl Stored {
    /// Uniform values of magnitude up to `scale`, or for a format without encoder random blocks of
    /// small values.
    pub(super) fn random(
        rng: &mut Rng,
        format: WeightFormat,
        [rows, cols]: [usize; 2],
        scale: f32,
    ) -> Self {
        let bytes = format.bytes_per_row(cols).expect("a stored row is whole blocks");
        let mut data = vec![0; rows * bytes];
        match format.spec().encoder {
            Some(encoder) => (encoder.run)(&rng.floats(rows * cols, scale), &mut data),
            None => fill_blocks(rng, format, &mut data),
        }
        Self { format, rows, cols, order: RowOrder::Natural, data }
    }

    /// Values that can be packed as `format`: f32, or blocks of the format if it has no encoder.
    /// Rows of such a format must be [whole](whole) blocks.
    pub(super) fn packable(
        rng: &mut Rng,
        format: WeightFormat,
        shape: [usize; 2],
        scale: f32,
    ) -> Self {
        let stored = if format.spec().encoder.is_some() { WeightFormat::F32 } else { format };
        Self::random(rng, stored, shape, scale)
    }

    pub(super) fn view(&self) -> MatrixView<'_> {
        let Self { format, rows, cols, order, ref data } = *self;
        MatrixView { name: "w", format, rows, cols, order, data }
    }
}

/// The least number of inputs from `cols` for which [`Stored::packable`] has whole blocks.
pub(super) fn whole(format: WeightFormat, cols: usize) -> usize {
    match format.spec() {
        spec if spec.encoder.is_none() => cols.next_multiple_of(spec.block_values),
        _ => cols,
    }
}

/// Random K-quant blocks; their f16 factors are set to small numbers, so that every value is
/// finite.
fn fill_blocks(rng: &mut Rng, format: WeightFormat, data: &mut [u8]) {
    let factors: &[usize] = match format {
        WeightFormat::Q6K => &[208],
        _ => &[0, 2],
    };
    data.fill_with(|| rng.byte());
    for block in data.chunks_exact_mut(format.spec().block_bytes) {
        for &at in factors {
            let factor = half::f16::from_f32(rng.float(1e-3));
            block[at..at + 2].copy_from_slice(&factor.to_le_bytes());
        }
    }
}

/// A program and the weights it needs.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) program: Program,
    pub(super) kv: KvShape,
    /// Rotary dimensions of a head.
    pub(super) rotary: usize,
    pub(super) vocabulary: usize,
    matrices: Vec<(Stored, WeightFormat)>,
    vectors: Vec<Vec<f32>>,
}

impl Model {
    pub(super) fn new(kv: KvShape, rotary: usize, vocabulary: usize) -> Self {
        let (matrices, vectors) = (Vec::new(), Vec::new());
        Self { program: Program::new(), kv, rotary, vocabulary, matrices, vectors }
    }

    /// Adds a matrix that is packed as `format`.
    pub(super) fn matrix(&mut self, stored: Stored, format: WeightFormat) -> MatrixId {
        self.matrices.push((stored, format));
        MatrixId(self.matrices.len() as u32 - 1)
    }

    pub(super) fn vector(&mut self, values: Vec<f32>) -> VectorId {
        self.vectors.push(values);
        VectorId(self.vectors.len() as u32 - 1)
    }

    pub(super) fn buffer(&mut self, width: usize) -> BufferId {
        self.program.buffer(width, RowSet::All)
    }

    pub(super) fn push(&mut self, op: Op) {
        self.program.push(op);
    }

    /// A buffer of arbitrary values: a random row of f32 per token.
    pub(super) fn source(&mut self, rng: &mut Rng, width: usize, scale: f32) -> BufferId {
        let stored = Stored::random(rng, WeightFormat::F32, [self.vocabulary, width], scale);
        let table = self.matrix(stored, WeightFormat::F32);
        let out = self.buffer(width);
        self.push(Op::Embed { table, out });
        out
    }

    pub(super) fn pack<B: Backend>(&self, backend: &B) -> Weights<B> {
        let pack = |(stored, format): &(Stored, WeightFormat)| {
            Arc::new(backend.pack(&stored.view(), *format).expect("finite weights are packed"))
        };
        Weights {
            matrices: self.matrices.iter().map(pack).collect(),
            vectors: self.vectors.iter().map(|values| backend.vector(values)).collect(),
        }
    }
}

/// Widths of a transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_size: usize,
    hidden: usize,
    ffn: usize,
    vocabulary: usize,
}

/// A few panels of columns, with heads of every size that models have.
const fn shape(heads: usize, kv_heads: usize, head_size: usize) -> Shape {
    Shape { heads, kv_heads, head_size, hidden: 40, ffn: 52, vocabulary: 67 }
}

/// The first has at most eight columns everywhere: fewer than nine threads.
pub(super) const SHAPES: [Shape; 7] = [
    Shape { hidden: 6, ffn: 5, vocabulary: 7, ..shape(1, 1, 8) },
    shape(4, 2, 8),
    shape(2, 1, 64),
    shape(3, 3, 16),
    shape(2, 2, 80),
    shape(1, 1, 128),
    shape(6, 2, 8),
];

/// How sure a model is, of what it attends to and of its next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logits {
    /// Many tokens are about as likely.
    Flat,
    /// Nearly all weight is on one, and most weights of attention are exactly zero.
    Peaked,
}

pub(super) const LOGITS: [Logits; 2] = [Logits::Flat, Logits::Peaked];

/// A small transformer of the Llama family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transformer {
    pub(super) shape: Shape,
    pub(super) layers: usize,
    pub(super) kv_type: KvType,
    pub(super) rotary: usize,
    pub(super) reach: Reach,
    pub(super) extras: Extras,
    pub(super) logits: Logits,
    /// How weights are stored; `None` is as [`Stored::packable`] has it.
    pub(super) stored: Option<WeightFormat>,
    /// How they are packed; as f32 where a row is no whole blocks of a format without encoder.
    pub(super) packed: WeightFormat,
}

/// What families add to the plain block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extras {
    /// Nothing.
    None,
    /// Biases on every projection and norms of the query and key heads.
    BiasAndHeadNorm,
}

const EPS: f32 = 1e-5;

impl Transformer {
    pub(super) fn build(&self, rng: &mut Rng) -> Model {
        let Shape { vocabulary, kv_heads, head_size, .. } = self.shape;
        let (hidden_size, kv_type) = (self.hidden(), self.kv_type);
        let kv = KvShape { layers: self.layers, kv_heads, head_size, kv_type };
        let mut model = Model::new(kv, self.rotary, vocabulary);
        let hidden = model.buffer(hidden_size);
        let table = self.matrix(&mut model, rng, [vocabulary, hidden_size]);
        model.push(Op::Embed { table, out: hidden });
        let normed = model.buffer(hidden_size);
        for layer in 0..self.layers {
            norm(&mut model, rng, 2.0, [hidden, normed]);
            self.attention(&mut model, rng, layer, [hidden, normed]);
            norm(&mut model, rng, 2.0, [hidden, normed]);
            self.feed_forward(&mut model, rng, [hidden, normed]);
        }
        let [newest, newest_normed, logits] = [hidden_size, hidden_size, vocabulary]
            .map(|width| model.program.buffer(width, RowSet::Wanted));
        model.push(Op::Select { input: hidden, out: newest });
        norm(&mut model, rng, self.pick(1.0, 40.0), [newest, newest_normed]);
        let head = self.project(&mut model, rng, [vocabulary, hidden_size], logits, Write::Store);
        model.push(Op::Linear { input: newest_normed, parts: vec![head] });
        model
    }

    fn hidden(&self) -> usize {
        whole(self.packed, self.shape.hidden)
    }

    fn pick(&self, flat: f32, peaked: f32) -> f32 {
        match self.logits {
            Logits::Flat => flat,
            Logits::Peaked => peaked,
        }
    }

    fn attention(
        &self,
        model: &mut Model,
        rng: &mut Rng,
        layer: usize,
        [hidden, normed]: [BufferId; 2],
    ) {
        let Shape { heads, kv_heads, head_size, .. } = self.shape;
        let (wide, narrow) = (heads * head_size, kv_heads * head_size);
        let [q, k, v, out] = [wide, narrow, narrow, wide].map(|width| model.buffer(width));
        let parts = [(wide, q), (narrow, k), (narrow, v)]
            .map(|(rows, out)| self.project(model, rng, [rows, self.hidden()], out, Write::Store));
        model.push(Op::Linear { input: normed, parts: parts.to_vec() });
        for buffer in [q, k] {
            if self.extras == Extras::BiasAndHeadNorm {
                let weight = model.vector(rng.floats(head_size, 2.0));
                model.push(Op::HeadNorm { buffer, weight, eps: EPS });
            }
            model.push(Op::Rotate { buffer, head_size });
        }
        model.push(Op::StoreKv { keys: k, values: v, layer });
        let scale = self.pick(0.2, 30.0) / (head_size as f32).sqrt();
        model.push(Op::Attention { queries: q, layer, reach: self.reach, scale, out });
        let output = self.project(model, rng, [self.hidden(), wide], hidden, Write::Add);
        model.push(Op::Linear { input: out, parts: vec![output] });
    }

    fn feed_forward(&self, model: &mut Model, rng: &mut Rng, [hidden, normed]: [BufferId; 2]) {
        let (inner, outer) = (whole(self.packed, self.shape.ffn), self.hidden());
        let [gate, up] = [(); 2].map(|()| self.map(model, rng, [inner, outer]));
        let out = model.buffer(inner);
        model.push(Op::SwiGlu { input: normed, gate, up, out });
        let down = self.project(model, rng, [outer, inner], hidden, Write::Add);
        model.push(Op::Linear { input: out, parts: vec![down] });
    }

    fn project(
        &self,
        model: &mut Model,
        rng: &mut Rng,
        shape: [usize; 2],
        out: BufferId,
        write: Write,
    ) -> Projection {
        Projection { map: self.map(model, rng, shape), out, write }
    }

    fn map(&self, model: &mut Model, rng: &mut Rng, shape: [usize; 2]) -> Affine {
        let weight = self.matrix(model, rng, shape);
        let bias = match self.extras {
            Extras::None => None,
            Extras::BiasAndHeadNorm => Some(model.vector(rng.floats(shape[0], 0.5))),
        };
        Affine { weight, bias }
    }

    fn matrix(&self, model: &mut Model, rng: &mut Rng, shape: [usize; 2]) -> MatrixId {
        // Files do the same with rows that are no whole blocks of a format.
        let fits = whole(self.packed, shape[1]) == shape[1];
        let packed = if fits { self.packed } else { WeightFormat::F32 };
        let stored = match self.stored {
            Some(stored) if packed.spec().encoder.is_some() => {
                Stored::random(rng, stored, shape, 0.5)
            }
            _ => Stored::packable(rng, packed, shape, 0.5),
        };
        model.matrix(stored, packed)
    }
}

fn norm(model: &mut Model, rng: &mut Rng, gain: f32, [input, out]: [BufferId; 2]) {
    let width = model.program.buffers()[input.index()].width;
    let weight = model.vector(rng.floats(width, gain));
    model.push(Op::RmsNorm { input, weight, eps: EPS, out });
}
