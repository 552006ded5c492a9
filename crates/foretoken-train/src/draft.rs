//! A small model that learns to say what a larger one would: a draft model, distilled.
//!
//! It shares the target's tokens. The loss is `(1 - s) cross-entropy + s divergence`: of the text's next token, and
//! from the target's distribution (Hinton, Vinyals and Dean 2015, at temperature 1, which is what the acceptance rules
//! compare).

use std::path::Path;

use foretoken_model::ModelSpec;

use crate::base::BaseModel;
use crate::batch::Batch;
use crate::compute::Compute;
use crate::error::TrainError;
use crate::learner::{Learner, Metrics, total};
use crate::llama::LlamaShape;
use crate::loss::{LossScratch, Targets};
use crate::parameters::Parameters;
use crate::teacher::FrozenTarget;

/// A Llama that learns from a frozen target.
pub struct DraftModel {
    draft: BaseModel,
    target: FrozenTarget,
    share: f32,
    hidden: Vec<f32>,
}

impl DraftModel {
    /// `share`, from 0 to 1, is what the divergence counts.
    ///
    /// # Panics
    /// If the two do not have the same number of tokens.
    pub fn new(draft: BaseModel, target: FrozenTarget, share: f32) -> Self {
        let vocab = draft.model.shape().vocab;
        assert!(vocab == target.spec().vocab, "a draft shares the tokens of its target");
        Self { draft, target, share, hidden: Vec::new() }
    }

    /// Bytes of memory that steps on so many tokens need beside the parameters of a draft of this shape.
    pub fn step_bytes_for(draft: &LlamaShape, target: &ModelSpec, tokens: usize) -> usize {
        let states = tokens.saturating_mul(target.hidden * size_of::<f32>());
        let teacher = states.saturating_add(LossScratch::BLOCK);
        draft.step_bytes(tokens).saturating_add(teacher)
    }
}

impl Learner for DraftModel {
    fn groups(&self) -> Vec<&Parameters> {
        self.draft.groups()
    }

    fn groups_mut(&mut self) -> Vec<&mut Parameters> {
        self.draft.groups_mut()
    }

    fn begin_step(&mut self, _done: u64, _steps: u64) {}

    fn step(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<f64, TrainError> {
        let Self { draft, target, share, hidden } = self;
        target.hidden(batch, hidden)?;
        let targets = Targets::Both(batch.targets, target.teacher(hidden), *share);
        draft.model.forward(compute, batch)?;
        let loss = draft.model.language_loss(compute, targets, batch.weights);
        draft.model.backward(compute, batch);
        Ok(loss)
    }

    /// What a base model says, then `divergence` from the target, in nats, and `agreement`, the share of places where
    /// both have the same likeliest token: what greedy decoding would accept.
    fn evaluate(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
        metrics: &mut Metrics,
    ) -> Result<(), TrainError> {
        let Self { draft, target, hidden, .. } = self;
        target.hidden(batch, hidden)?;
        draft.evaluate(compute, batch, metrics)?;
        let mut ranks = vec![0; batch.tokens.len()];
        let targets = Targets::Teacher(target.teacher(hidden));
        let divergence = draft.model.head_ranks(compute, targets, batch.weights, &mut ranks);
        metrics.add("divergence", divergence, total(batch.weights));
        metrics.add_share("agreement", batch.weights, &ranks, 1);
        Ok(())
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        self.draft.export(folder)
    }

    fn step_bytes(&self, tokens: usize) -> usize {
        Self::step_bytes_for(self.draft.model.shape(), self.target.spec(), tokens)
    }
}
