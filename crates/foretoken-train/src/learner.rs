//! What a training run drives: something that has parameters and learns from batches.
//!
//! A learner knows its losses and nothing of data files, schedules, clipping, checkpoints or reports; a run
//! knows those and no loss.

use std::path::Path;

use crate::batch::Batch;
use crate::compute::Compute;
use crate::error::TrainError;
use crate::parameters::Parameters;

/// What a run trains.
pub trait Learner {
    /// Sets of parameters, each with an optimiser of its own, in an order that stays.
    fn groups(&self) -> Vec<&Parameters>;

    /// The same, to be updated.
    fn groups_mut(&mut self) -> Vec<&mut Parameters>;

    /// Told before each step how many of a run's steps are done: rates and weights of losses that change
    /// with time are a function of these two and of nothing else.
    fn begin_step(&mut self, done: u64, steps: u64);

    /// The loss of a batch, with its gradients added to the parameters'. The batch's weights say what each
    /// target counts; they sum to one over a step, whose batch may come in pieces.
    ///
    /// # Errors
    /// If the batch is none of this learner.
    fn step(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<f64, TrainError>;

    /// Adds what a batch of held-out text says to `metrics`, without gradients. An evaluation is some batches, and
    /// then [`Self::end_evaluation`].
    ///
    /// # Errors
    /// If the batch is none of this learner.
    fn evaluate(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
        metrics: &mut Metrics,
    ) -> Result<(), TrainError>;

    /// Adds what only all batches of an evaluation say together.
    fn end_evaluation(&mut self, _metrics: &mut Metrics) {}

    /// Writes what was learned to a folder that exists, in the format that others read.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn export(&self, folder: &Path) -> Result<(), TrainError>;

    /// Bytes of memory that steps on so many tokens need beside the parameters, their gradients and moments.
    fn step_bytes(&self, tokens: usize) -> usize;
}

/// What weights sum to.
pub(crate) fn total(weights: &[f32]) -> f64 {
    weights.iter().map(|weight| f64::from(*weight)).sum()
}

/// Weighted means over held-out text, by name, in the order in which names first came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    sums: Vec<(String, f64, f64)>,
}

impl Metrics {
    /// Adds `sum`, the sum of some quantity over terms that weigh `weight` together.
    pub fn add(&mut self, name: &str, sum: f64, weight: f64) {
        match self.sums.iter_mut().find(|(known, ..)| known == name) {
            Some((_, total, weights)) => (*total, *weights) = (*total + sum, *weights + weight),
            None => self.sums.push((name.to_owned(), sum, weight)),
        }
    }

    /// Sets what is no mean over batches, in place of what it was.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.sums.iter_mut().find(|(known, ..)| known == name) {
            Some((_, total, weights)) => (*total, *weights) = (value, 1.0),
            None => self.sums.push((name.to_owned(), value, 1.0)),
        }
    }

    /// Adds how much of `weights` lies where the rank is below `most`: the share of guesses that are right
    /// among the first so many.
    pub fn add_share(&mut self, name: &str, weights: &[f32], ranks: &[u32], most: u32) {
        let right = weights.iter().zip(ranks).filter(|(_, rank)| **rank < most);
        self.add(name, right.map(|(weight, _)| f64::from(*weight)).sum(), total(weights));
    }

    /// Name and mean of each quantity that had any weight.
    pub fn means(&self) -> impl Iterator<Item = (&str, f64)> {
        let weighed = self.sums.iter().filter(|(.., weight)| *weight > 0.0);
        weighed.map(|(name, sum, weight)| (name.as_str(), sum / weight))
    }

    /// The mean of that name.
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.means().find(|(known, _)| *known == name).map(|(_, mean)| mean)
    }
}
