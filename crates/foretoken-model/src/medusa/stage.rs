//! A program over rows that are given from outside: no tokens, no positions, no keys and values.

use std::borrow::Cow;
use std::sync::Arc;

use foretoken_core::TokenId;
use foretoken_tensor::{
    Affine, Backend, BlockId, BufferId, CHUNK, KvShape, KvType, MatrixId, MatrixView, Op, Pass,
    Program, Projection, Range32, RowOrder, RowSet, SpanLayout, VectorId, WeightFormat, Weights,
    Write,
};

use crate::ModelError;

/// Rows that activations are made for at load; larger batches grow them once.
const WARM_ROWS: usize = 8;

/// A program, its weights and what a pass of it needs.
pub(super) struct Stage<B: Backend> {
    program: Program,
    weights: Weights<B>,
    activations: B::Activations,
    kv: B::Kv,
    /// The rows of the next pass, one after another.
    pub(super) input: Vec<f32>,
    width: usize,
    /// Of a chain: its tokens are not read, and nothing is stored for its positions.
    tokens: Vec<u32>,
    depth: Vec<u32>,
    subtree_end: Vec<u32>,
    blocks: Vec<BlockId>,
}

impl<B: Backend> Stage<B> {
    /// Runs the rows of `input`.
    pub(super) fn run(&mut self, backend: &B) {
        let rows = self.input.len() / self.width;
        if rows == 0 {
            return;
        }
        self.tokens.resize(rows, 0);
        self.depth.clear();
        self.depth.extend(0..rows as u32);
        self.subtree_end.clear();
        self.subtree_end.resize(rows, rows as u32);
        self.blocks.clear();
        self.blocks.extend((0..rows.div_ceil(CHUNK) as u32).map(BlockId));
        backend.grow_kv(&mut self.kv, self.blocks.len());
        let whole = |length: usize| Range32 { start: 0, end: length as u32 };
        let span = SpanLayout { rows: whole(rows), base: 0, blocks: whole(self.blocks.len()) };
        let pass = Pass {
            tokens: &self.tokens,
            input: &self.input,
            rotation: &[],
            subtree_end: &self.subtree_end,
            depth: &self.depth,
            blocks: &self.blocks,
            spans: &[span],
            wanted: &[],
        };
        let Self { program, weights, activations, kv, .. } = self;
        backend.run(program, weights, &pass, activations, kv);
    }

    /// A row of a buffer after a pass.
    pub(super) fn row<'a>(&'a self, backend: &B, buffer: BufferId, row: usize) -> &'a [f32] {
        backend.row(&self.activations, buffer, row)
    }
}

/// Records a stage and packs its weights.
pub(super) struct Recorder<'a, B: Backend> {
    backend: &'a B,
    format: WeightFormat,
    program: Program,
    weights: Weights<B>,
    width: usize,
}

impl<'a, B: Backend> Recorder<'a, B> {
    /// A stage that takes rows of `width` and packs weights in `format`; with its input.
    pub(super) fn new(backend: &'a B, format: WeightFormat, width: usize) -> (Self, BufferId) {
        let mut program = Program::new();
        let input = program.buffer(width, RowSet::All);
        program.push(Op::Input { out: input });
        let weights = Weights { matrices: Vec::new(), vectors: Vec::new() };
        (Self { backend, format, program, weights, width }, input)
    }

    pub(super) fn buffer(&mut self, width: usize) -> BufferId {
        self.program.buffer(width, RowSet::All)
    }

    pub(super) fn copy(&mut self, input: BufferId, out: BufferId) {
        self.program.push(Op::Copy { input, out });
    }

    /// Adds products of one input.
    pub(super) fn linear(&mut self, input: BufferId, parts: Vec<Projection>) {
        self.program.push(Op::Linear { input, parts });
    }

    /// Adds the product with a matrix of so many rows and returns where it is.
    pub(super) fn project(
        &mut self,
        input: BufferId,
        (weight, rows): (MatrixId, usize),
    ) -> BufferId {
        let out = self.buffer(rows);
        let map = Affine { weight, bias: None };
        self.linear(input, vec![Projection { map, out, write: Write::Store }]);
        out
    }

    /// Packs a matrix, or the rows of it that are chosen, and returns it with its number of rows.
    pub(super) fn rows(
        &mut self,
        view: &MatrixView<'_>,
        chosen: Option<&[TokenId]>,
    ) -> Result<(MatrixId, usize), ModelError> {
        let data = chosen.map_or(Cow::Borrowed(view.data), |rows| gather(view, rows).into());
        let rows = chosen.map_or(view.rows, <[TokenId]>::len);
        let order = chosen.map_or(view.order, |_| RowOrder::Natural);
        let view = MatrixView { rows, order, data: &data, ..*view };
        let matrix = self.backend.pack(&view, self.format)?;
        Ok((self.shared(Arc::new(matrix)), rows))
    }

    /// Uses a matrix that is packed already.
    pub(super) fn shared(&mut self, matrix: Arc<B::Matrix>) -> MatrixId {
        self.weights.matrices.push(matrix);
        MatrixId(self.weights.matrices.len() as u32 - 1)
    }

    pub(super) fn vector(&mut self, values: &[f32]) -> VectorId {
        self.weights.vectors.push(self.backend.vector(values));
        VectorId(self.weights.vectors.len() as u32 - 1)
    }

    pub(super) fn finish(self) -> Stage<B> {
        let Self { backend, program, weights, width, .. } = self;
        let shape = KvShape { layers: 0, kv_heads: 1, head_size: 1, kv_type: KvType::F32 };
        Stage {
            activations: backend.activations(&program, WARM_ROWS, 0),
            kv: backend.kv(shape),
            program,
            weights,
            width,
            input: Vec::new(),
            tokens: Vec::new(),
            depth: Vec::new(),
            subtree_end: Vec::new(),
            blocks: Vec::new(),
        }
    }
}

/// The stored bytes of some rows.
///
/// # Panics
/// If the matrix has no such row.
fn gather(view: &MatrixView<'_>, rows: &[TokenId]) -> Vec<u8> {
    let bytes = view.data.len() / view.rows.max(1);
    let row = |&row: &TokenId| {
        let at = view.order.stored(row as usize) * bytes;
        &view.data[at..at + bytes]
    };
    rows.iter().flat_map(row).copied().collect()
}
