//! Programs with random weights: single operators and small transformers.

use super::rng::Rng;
use crate::{
    Backend, BufferId, KvShape, MatrixId, MatrixView, Op, Program, Projection, Reach, RowOrder,
    RowSet, VectorId, WeightFormat, Weights, Write,
};

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

    pub(super) fn view(&self) -> MatrixView<'_> {
        let Self { format, rows, cols, order, ref data } = *self;
        MatrixView { name: "w", format, rows, cols, order, data }
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
            backend.pack(&stored.view(), *format).expect("finite weights are packed")
        };
        Weights {
            matrices: self.matrices.iter().map(pack).collect(),
            vectors: self.vectors.iter().map(|values| backend.vector(values)).collect(),
        }
    }
}

/// A small transformer of the Llama family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transformer {
    pub(super) heads: usize,
    pub(super) kv: KvShape,
    pub(super) rotary: usize,
    pub(super) reach: Reach,
    pub(super) extras: Extras,
    /// How the weights are stored and packed.
    pub(super) stored: WeightFormat,
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

const VOCABULARY: usize = 67;
const HIDDEN: usize = 40;
const FFN: usize = 52;
const EPS: f32 = 1e-5;

impl Transformer {
    pub(super) fn build(&self, rng: &mut Rng) -> Model {
        let mut model = Model::new(self.kv, self.rotary, VOCABULARY);
        let hidden = model.buffer(HIDDEN);
        let table = self.matrix(&mut model, rng, [VOCABULARY, HIDDEN]);
        model.push(Op::Embed { table, out: hidden });
        let normed = model.buffer(HIDDEN);
        for layer in 0..self.kv.layers {
            norm(&mut model, rng, hidden, normed);
            self.attention(&mut model, rng, layer, [hidden, normed]);
            norm(&mut model, rng, hidden, normed);
            self.feed_forward(&mut model, rng, [hidden, normed]);
        }
        let newest = model.program.buffer(HIDDEN, RowSet::Wanted);
        let newest_normed = model.program.buffer(HIDDEN, RowSet::Wanted);
        let logits = model.program.buffer(VOCABULARY, RowSet::Wanted);
        model.push(Op::Select { input: hidden, out: newest });
        norm(&mut model, rng, newest, newest_normed);
        let head = self.project(&mut model, rng, [VOCABULARY, HIDDEN], logits, Write::Store);
        model.push(Op::Linear { input: newest_normed, parts: vec![head] });
        model
    }

    fn attention(
        &self,
        model: &mut Model,
        rng: &mut Rng,
        layer: usize,
        [hidden, normed]: [BufferId; 2],
    ) {
        let head_size = self.kv.head_size;
        let (wide, narrow) = (self.heads * head_size, self.kv.kv_heads * head_size);
        let [q, k, v, out] = [wide, narrow, narrow, wide].map(|width| model.buffer(width));
        let parts = [(wide, q), (narrow, k), (narrow, v)]
            .map(|(rows, out)| self.project(model, rng, [rows, HIDDEN], out, Write::Store));
        model.push(Op::Linear { input: normed, parts: parts.to_vec() });
        for buffer in [q, k] {
            if self.extras == Extras::BiasAndHeadNorm {
                let weight = model.vector(rng.floats(head_size, 2.0));
                model.push(Op::HeadNorm { buffer, weight, eps: EPS });
            }
            model.push(Op::Rotate { buffer, head_size });
        }
        model.push(Op::StoreKv { keys: k, values: v, layer });
        let scale = 1.0 / (head_size as f32).sqrt();
        model.push(Op::Attention { queries: q, layer, reach: self.reach, scale, out });
        let output = self.project(model, rng, [HIDDEN, wide], hidden, Write::Add);
        model.push(Op::Linear { input: out, parts: vec![output] });
    }

    fn feed_forward(&self, model: &mut Model, rng: &mut Rng, [hidden, normed]: [BufferId; 2]) {
        let [gate, up] = [FFN; 2].map(|width| model.buffer(width));
        let parts =
            [gate, up].map(|out| self.project(model, rng, [FFN, HIDDEN], out, Write::Store));
        model.push(Op::Linear { input: normed, parts: parts.to_vec() });
        model.push(Op::SwiGlu { gate, up, out: gate });
        let down = self.project(model, rng, [HIDDEN, FFN], hidden, Write::Add);
        model.push(Op::Linear { input: gate, parts: vec![down] });
    }

    fn project(
        &self,
        model: &mut Model,
        rng: &mut Rng,
        shape: [usize; 2],
        out: BufferId,
        write: Write,
    ) -> Projection {
        let weight = self.matrix(model, rng, shape);
        let bias = match self.extras {
            Extras::None => None,
            Extras::BiasAndHeadNorm => Some(model.vector(rng.floats(shape[0], 0.5))),
        };
        Projection { weight, bias, out, write }
    }

    fn matrix(&self, model: &mut Model, rng: &mut Rng, shape: [usize; 2]) -> MatrixId {
        let stored = Stored::random(rng, self.stored, shape, 0.5);
        model.matrix(stored, self.packed)
    }
}

fn norm(model: &mut Model, rng: &mut Rng, input: BufferId, out: BufferId) {
    let width = model.program.buffers()[input.index()].width;
    let weight = model.vector(rng.floats(width, 2.0));
    model.push(Op::RmsNorm { input, weight, eps: EPS, out });
}
