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
    count: usize,
    tokens: Option<Vec<TokenId>>,
    /// The blocks of every head, and their output matrices where they have their own.
    heads: Stage<B>,
    output: Output<B>,
    rows: usize,
}

/// Where the logits come from.
enum Output<B: Backend> {
    /// A buffer per head.
    Own(Vec<BufferId>),
    /// One matrix for the rows of all heads, those of the first before those of the second.
    Shared { states: Vec<BufferId>, stage: Box<Stage<B>>, logits: BufferId },
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
        let (mut recorder, input) = Recorder::new(backend, format, heads.hidden());
        let states = record_blocks(&mut recorder, heads, input)?;
        let output = if heads.vocab().is_some() {
            let logits = states.iter().enumerate().map(|(head, &state)| {
                let matrix = recorder.rows(&heads.matrix(HeadTensor::Output { head }), chosen)?;
                Ok(recorder.project(state, matrix))
            });
            Output::Own(logits.collect::<Result<_, ModelError>>()?)
        } else {
            let (mut shared, stacked) = Recorder::new(backend, format, heads.hidden());
            let matrix = match chosen {
                Some(_) => {
                    shared.rows(&source.matrix(Tensor::of_output(source.spec()))?, chosen)?
                }
                None => (shared.shared(model.output_matrix()), source.spec().vocab),
            };
            let logits = shared.project(stacked, matrix);
            Output::Shared { states, stage: Box::new(shared.finish()), logits }
        };
        Ok(Self {
            hidden: heads.hidden(),
            count: heads.count(),
            tokens: heads.token_map().or(tokens).map(<[TokenId]>::to_vec),
            heads: recorder.finish(),
            output,
            rows: 0,
            backend: Arc::clone(&model.backend),
        })
    }
}

/// Records the residual blocks of every head and returns what they make of the input.
fn record_blocks<B: Backend>(
    recorder: &mut Recorder<'_, B>,
    heads: &MedusaHeads,
    input: BufferId,
) -> Result<Vec<BufferId>, ModelError> {
    if heads.blocks() == 0 {
        return Ok(vec![input; heads.count()]);
    }
    let states: Vec<_> = (0..heads.count()).map(|_| recorder.buffer(heads.hidden())).collect();
    for &state in &states {
        recorder.copy(input, state);
    }
    let part = |recorder: &mut Recorder<'_, B>, head: usize, block| {
        let (weight, _) = recorder.rows(&heads.matrix(HeadTensor::Block { head, block }), None)?;
        let bias = match heads.shape().bias {
            HeadBias::All => Some(heads.vector(HeadTensor::BlockBias { head, block })?),
            HeadBias::None => None,
        };
        let bias = bias.map(|values| recorder.vector(&values));
        Ok(Projection { map: Affine { weight, bias }, out: states[head], write: Write::AddSilu })
    };
    let first = (0..heads.count()).map(|head| part(recorder, head, 0));
    let first = first.collect::<Result<_, ModelError>>()?;
    recorder.linear(input, first);
    let before = recorder.buffer(heads.hidden());
    for block in 1..heads.blocks() {
        for (head, &state) in states.iter().enumerate() {
            let part = part(recorder, head, block)?;
            recorder.copy(state, before);
            recorder.linear(before, vec![part]);
        }
    }
    Ok(states)
}

impl<B: Backend> Heads for MedusaNetwork<B> {
    fn count(&self) -> usize {
        self.count
    }

    fn tokens(&self) -> Option<&[TokenId]> {
        self.tokens.as_deref()
    }

    fn start(&mut self) {
        self.rows = 0;
        self.heads.input.clear();
    }

    fn add(&mut self, hidden: &[f32]) -> usize {
        assert_eq!(hidden.len(), self.hidden, "a hidden state has the heads' width");
        self.heads.input.extend_from_slice(hidden);
        self.rows += 1;
        self.rows - 1
    }

    fn forward(&mut self) {
        let backend = self.backend.as_ref();
        self.heads.run(backend);
        if let Output::Shared { states, stage, .. } = &mut self.output {
            stage.input.clear();
            for &state in &*states {
                for row in 0..self.rows {
                    stage.input.extend_from_slice(self.heads.row(backend, state, row));
                }
            }
            stage.run(backend);
        }
    }

    fn logits(&self, head: usize, row: usize) -> &[f32] {
        let backend = self.backend.as_ref();
        match &self.output {
            Output::Own(logits) => self.heads.row(backend, logits[head], row),
            Output::Shared { stage, logits, .. } => {
                stage.row(backend, *logits, head * self.rows + row)
            }
        }
    }
}
