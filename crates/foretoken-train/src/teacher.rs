//! A model that is not trained: the hidden states that heads read, and the distributions they learn from.
//!
//! It is the model as it is decoded with, of any family and in any weight format, so heads see in training
//! what they see later. States live as long as the step that asked for them.

use std::ops::Range;
use std::sync::Arc;

use foretoken_core::{DraftTree, MAX_NODES};
use foretoken_cpu::CpuBackend;
use foretoken_model::{
    LoadOptions, Model, ModelError, ModelSpec, OutputHead, PassOutput, SequenceId, Target, Tensor,
    Wants, WeightSource,
};
use foretoken_tensor::WeightFormat;

use crate::batch::Batch;
use crate::compute::Compute;
use crate::error::TrainError;
use crate::loss::Teacher;

/// Rows of a pass.
const ROWS: usize = MAX_NODES;
/// Documents in a pass, each of which takes whole blocks of the cache.
const DOCUMENTS: usize = 64;

/// A target whose weights stay as they are.
pub struct FrozenTarget {
    model: Model<CpuBackend>,
    head: Vec<f32>,
    tree: DraftTree,
}

impl FrozenTarget {
    /// Packs a model in `format`, or as it is stored, for the threads of `compute`.
    ///
    /// # Errors
    /// If a weight cannot be read or packed.
    pub fn load(
        compute: &Compute,
        source: &dyn WeightSource,
        format: Option<WeightFormat>,
    ) -> Result<Self, TrainError> {
        // Blocks are allocated as they are needed.
        let (cache_positions, output) = (Some(usize::MAX), PassOutput::Hidden);
        let options = LoadOptions { format, cache_positions, output, ..LoadOptions::default() };
        let backend = Arc::clone(compute.backend());
        let model = Model::load(backend, source, options, &mut |_| ())?;
        let head = output_matrix(source, format)?;
        Ok(Self { model, head, tree: DraftTree::single(0) })
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        self.model.spec()
    }

    /// Its output matrix, `[vocab][hidden]`, as the packed format rounds it.
    pub fn head(&self) -> &[f32] {
        &self.head
    }

    /// What it says at rows with these hidden states.
    pub(crate) fn teacher<'a>(&'a self, hidden: &'a [f32]) -> Teacher<'a> {
        Teacher { hidden, head: &self.head, width: self.spec().hidden }
    }

    /// Writes the hidden state of each token behind the final norm, `[tokens][hidden]`. Documents see nothing
    /// of one another.
    ///
    /// # Errors
    /// If the batch is none of this model.
    pub fn hidden(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), TrainError> {
        let (vocab, width) = (self.spec().vocab, self.spec().hidden);
        batch.check(vocab, self.model.context())?;
        out.resize(batch.tokens.len() * width, 0.0);
        let mut documents = batch.documents();
        let (mut begun, mut pieces) = (None, Vec::new());
        loop {
            self.model.start();
            pieces.clear();
            let mut room = ROWS;
            while room > 0 && pieces.len() < DOCUMENTS {
                let next = || documents.next().map(|rows| (self.model.open(), rows));
                let Some((sequence, rows)) = begun.take().or_else(next) else { break };
                let piece = Piece::new(sequence, rows, room);
                room -= piece.rows.len();
                if !piece.rest.is_empty() {
                    begun = Some((sequence, piece.rest.clone()));
                }
                let tokens = &batch.tokens[piece.rows.clone()];
                self.tree.set_chain(tokens).expect("a piece has the size of a tree");
                let added = self.model.add(sequence, &self.tree, Wants::From(0));
                added.expect("tokens are known, and the cache has room for a pass");
                pieces.push(piece);
            }
            if pieces.is_empty() {
                return Ok(());
            }
            self.model.forward();
            for (item, piece) in pieces.iter().enumerate() {
                self.take(item, piece, &mut out[piece.rows.start * width..]);
            }
        }
    }

    /// Copies the states of a piece, and keeps its sequence if more of it is to come.
    fn take(&mut self, item: usize, piece: &Piece, out: &mut [f32]) {
        let nodes = 0..piece.rows.len();
        for (node, out) in nodes.clone().zip(out.chunks_exact_mut(self.model.spec().hidden)) {
            out.copy_from_slice(self.model.hidden(item, node));
        }
        if piece.rest.is_empty() {
            self.model.close(piece.sequence);
        } else {
            self.model.commit(piece.sequence, &nodes.collect::<Vec<_>>());
        }
    }
}

/// A document's part in a pass.
struct Piece {
    sequence: SequenceId,
    rows: Range<usize>,
    /// What is left of the document.
    rest: Range<usize>,
}

impl Piece {
    fn new(sequence: SequenceId, rows: Range<usize>, room: usize) -> Self {
        let end = rows.end.min(rows.start + room);
        Self { sequence, rows: rows.start..end, rest: end..rows.end }
    }
}

/// A model's output matrix with the values it has when packed in `format`.
fn output_matrix(
    source: &dyn WeightSource,
    format: Option<WeightFormat>,
) -> Result<Vec<f32>, ModelError> {
    let view = source.matrix(match source.spec().output {
        OutputHead::Tied => Tensor::Embedding,
        OutputHead::Own => Tensor::Head,
    })?;
    let format = format.unwrap_or(view.format);
    let mut rows = view.convert(format)?;
    let (mut bytes, mut padded) = (vec![0; rows.row_bytes()], vec![0.0; rows.padded_cols()]);
    let mut values = Vec::with_capacity(view.rows * view.cols);
    for row in 0..view.rows {
        rows.row(row, &mut bytes)?;
        (format.spec().decode)(&bytes, &mut padded);
        values.extend_from_slice(&padded[..view.cols]);
    }
    Ok(values)
}
