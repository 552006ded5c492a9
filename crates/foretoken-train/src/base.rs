//! A small model trained from nothing: next tokens, and nothing else.

use std::path::Path;

use foretoken_model::ModelSource;

use crate::Batch;
use crate::compute::Compute;
use crate::error::TrainError;
use crate::learner::{Learner, Metrics, total};
use crate::llama::Llama;
use crate::parameters::Parameters;
use crate::weights::StoredAs;

/// A Llama that learns to predict text.
#[derive(Debug)]
pub struct BaseModel {
    /// The model.
    pub model: Llama,
    /// How its weights are exported.
    pub stored: StoredAs,
    /// Where its tokenizer and the names of its special tokens come from.
    pub source: ModelSource,
}

impl Learner for BaseModel {
    fn groups(&self) -> Vec<&Parameters> {
        vec![&self.model.parameters]
    }

    fn groups_mut(&mut self) -> Vec<&mut Parameters> {
        vec![&mut self.model.parameters]
    }

    fn begin_step(&mut self, _done: u64, _steps: u64) {}

    fn step(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<f64, TrainError> {
        self.model.step(compute, batch)
    }

    /// `loss`, the cross-entropy in nats, and `top1`, the share of targets that are the likeliest token.
    fn evaluate(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
        metrics: &mut Metrics,
    ) -> Result<(), TrainError> {
        let mut ranks = vec![0; batch.tokens.len()];
        let loss = self.model.ranks(compute, batch, &mut ranks)?;
        metrics.add("loss", loss, total(batch.weights));
        metrics.add_share("top1", batch.weights, &ranks, 1);
        Ok(())
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        self.model.save(folder, self.stored, Some(&self.source))
    }

    fn step_bytes(&self, tokens: usize) -> usize {
        self.model.shape().step_bytes(tokens)
    }
}
