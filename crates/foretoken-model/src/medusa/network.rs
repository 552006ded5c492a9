//! Evaluating Medusa heads: hidden states in, a row of logits per head out.
//!
//! Heads take no part in the model's pass. They run on the few states that a draft starts from, one per
//! sequence, all of them in one pass of their own. What limits it is reading the output matrices; heads
//! that share the model's are stacked, so that it is read once for all of them.

use std::sync::Arc;

use foretoken_core::TokenId;
use foretoken_tensor::{Affine, Backend, BufferId, Projection, WeightFormat, Write};

use super::stage::{Recorder, Stage};
use super::{HeadBias, HeadTensor, MedusaHeads};
use crate::{Model, ModelError, Target, Tensor, WeightSource};

/// Heads that guess, from one hidden state, the tokens behind the next one.
pub trait Heads: Send {
    /// How many; head `k` guesses the token `k + 2` places behind the last one that the state has seen.
    fn count(&self) -> usize;

    /// Leaves out the heads behind the first `count`.
    fn truncate(&mut self, count: usize);

    /// The token of each logit, where tokens are left out.
    fn tokens(&self) -> Option<&[TokenId]>;

    /// Begins an empty batch; the rows of the last pass are gone.
    fn start(&mut self);

    /// Adds a hidden state as [`Target::hidden`](crate::Target::hidden) gives it and returns its row.
    ///
    /// # Panics
    /// If it has another width than the heads.
    fn add(&mut self, hidden: &[f32]) -> usize;

    /// Evaluates all heads on the batch.
    fn forward(&mut self);

    /// The logits of a head for a row of the last pass.
    fn logits(&self, head: usize, row: usize) -> &[f32];
}

/// Medusa heads on a backend.
pub struct MedusaNetwork<B: Backend> {
    backend: Arc<B>,
    hidden: usize,
    tokens: Option<Vec<TokenId>>,
    heads: Vec<Head<B>>,
    /// One output matrix, for the rows of all heads, those of the first before those of the second.
    shared: Option<Head<B>>,
    rows: usize,
}

/// A program over given rows, and what it makes of them: logits, or the state that a shared matrix takes.
struct Head<B: Backend> {
    stage: Stage<B>,
    out: BufferId,
}

impl<B: Backend> MedusaNetwork<B> {
    /// Packs heads for a loaded model, `source` being what that was loaded from. Weights run in the model's
    /// format, or in `q8_0` where nothing can be converted to that. `tokens` limits the output matrices to
    /// some tokens, in the order of their logits; heads that leave out tokens already keep to their own.
    ///
    /// # Panics
    /// If one of `tokens` is no token of the model.
    pub fn load(
        model: &Model<B>,
        source: &dyn WeightSource,
        heads: &MedusaHeads,
        tokens: Option<&[TokenId]>,
    ) -> Result<Self, ModelError> {
        heads.check(source.spec())?;
        let format = match model.weight_format() {
            format if format.spec().encoder.is_some() => format,
            _ => WeightFormat::Q8_0,
        };
        let backend = model.backend.as_ref();
        let chosen = tokens.filter(|_| heads.token_map().is_none());
        let shared = if heads.vocab().is_some() {
            None
        } else {
            let (mut recorder, states) = Recorder::new(backend, format, heads.hidden());
            let matrix = match chosen {
                Some(_) => {
                    recorder.rows(&source.matrix(Tensor::of_output(source.spec()))?, chosen)?
                }
                None => (recorder.shared(model.output_matrix()), source.spec().vocab),
            };
            let out = recorder.project(states, matrix);
            Some(Head { stage: recorder.finish(), out })
        };
        let head = |head| {
            let (mut recorder, input) = Recorder::new(backend, format, heads.hidden());
            let mut out = record_blocks(&mut recorder, (heads, head), input)?;
            if shared.is_none() {
                let matrix = recorder.rows(&heads.matrix(HeadTensor::Output { head }), chosen)?;
                out = recorder.project(out, matrix);
            }
            Ok(Head { stage: recorder.finish(), out })
        };
        Ok(Self {
            hidden: heads.hidden(),
            tokens: heads.token_map().or(tokens).map(<[TokenId]>::to_vec),
            heads: (0..heads.count()).map(head).collect::<Result<_, ModelError>>()?,
            shared,
            rows: 0,
            backend: Arc::clone(&model.backend),
        })
    }
}

/// Records the residual blocks of a head and returns what they make of the input.
fn record_blocks<B: Backend>(
    recorder: &mut Recorder<'_, B>,
    (heads, head): (&MedusaHeads, usize),
    input: BufferId,
) -> Result<BufferId, ModelError> {
    let mut state = input;
    for block in 0..heads.blocks() {
        let (weight, _) = recorder.rows(&heads.matrix(HeadTensor::Block { head, block }), None)?;
        let bias = match heads.shape().bias {
            HeadBias::All => Some(heads.vector(HeadTensor::BlockBias { head, block })?),
            HeadBias::None => None,
        };
        let bias = bias.map(|values| recorder.vector(&values));
        let out = recorder.buffer(heads.hidden());
        recorder.copy(state, out);
        let map = Affine { weight, bias };
        recorder.linear(state, vec![Projection { map, out, write: Write::AddSilu }]);
        state = out;
    }
    Ok(state)
}

impl<B: Backend> Heads for MedusaNetwork<B> {
    fn count(&self) -> usize {
        self.heads.len()
    }

    fn truncate(&mut self, count: usize) {
        self.heads.truncate(count);
    }

    fn tokens(&self) -> Option<&[TokenId]> {
        self.tokens.as_deref()
    }

    fn start(&mut self) {
        self.rows = 0;
        self.heads.iter_mut().for_each(|head| head.stage.input.clear());
    }

    fn add(&mut self, hidden: &[f32]) -> usize {
        assert_eq!(hidden.len(), self.hidden, "a hidden state has the heads' width");
        for head in &mut self.heads {
            head.stage.input.extend_from_slice(hidden);
        }
        self.rows += 1;
        self.rows - 1
    }

    fn forward(&mut self) {
        let backend = self.backend.as_ref();
        for head in &mut self.heads {
            head.stage.run(backend);
        }
        if let Some(Head { stage, .. }) = &mut self.shared {
            stage.input.clear();
            for head in &self.heads {
                for row in 0..self.rows {
                    stage.input.extend_from_slice(head.stage.row(backend, head.out, row));
                }
            }
            stage.run(backend);
        }
    }

    fn logits(&self, head: usize, row: usize) -> &[f32] {
        let backend = self.backend.as_ref();
        match &self.shared {
            None => self.heads[head].stage.row(backend, self.heads[head].out, row),
            Some(Head { stage, out }) => stage.row(backend, *out, head * self.rows + row),
        }
    }
}
