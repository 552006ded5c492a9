//! Settings of a run.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use foretoken_cpu::Precision;

use super::error::RunError;
use crate::optimizer::{AdamOptions, CosineSchedule};

/// How a run goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunOptions {
    /// Learning rates; its steps are those of the run.
    pub schedule: CosineSchedule,
    /// Sequences of a step.
    pub sequences: NonZeroUsize,
    /// Sequences of a step that are computed at once: fewer need less memory.
    pub piece: NonZeroUsize,
    /// Tokens of a sequence.
    pub length: usize,
    /// The most that the norm of all gradients may be.
    pub clip: f32,
    /// Settings of the optimisers.
    pub adam: AdamOptions,
    /// Decides the order of the text.
    pub seed: u64,
    /// Steps between validations.
    pub validate_every: NonZeroU64,
    /// When checkpoints are written, beside the first and the last.
    pub checkpoint: CheckpointEvery,
}

/// When checkpoints are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointEvery {
    /// After so many steps.
    Steps(NonZeroU64),
    /// With the first step that ends after so long.
    Time(Duration),
}

/// What to do with a checkpoint that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Go on from it.
    Resume,
    /// Begin anew; it is replaced.
    Anew,
}

impl RunOptions {
    /// Steps that read at least so many tokens.
    pub fn steps_for(tokens: u64, sequences: NonZeroUsize, length: usize) -> u64 {
        tokens.div_ceil(sequences.get().saturating_mul(length.max(1)) as u64).max(1)
    }

    /// Tokens of a step.
    pub(super) fn step_tokens(&self) -> u64 {
        self.sequences.get().saturating_mul(self.length) as u64
    }

    pub(super) fn check(&self) -> Result<(), RunError> {
        let rates = [self.schedule.peak, self.schedule.end, self.clip];
        let mistake = if self.schedule.steps == 0 {
            "a run has at least one step"
        } else if self.length == 0 {
            "a sequence has at least one token"
        } else if rates.iter().any(|rate| !rate.is_finite() || *rate < 0.0) {
            "learning rates and the limit of gradients are finite and not negative"
        } else {
            return Ok(());
        };
        Err(RunError::Options(mistake))
    }

    /// The settings that decide the bits, by the names that messages give them.
    pub(super) fn identity(&self, precision: Precision) -> [(&'static str, String); 11] {
        let CosineSchedule { peak, end, warm_up, steps } = self.schedule;
        let AdamOptions { beta1, beta2, epsilon, decay } = self.adam;
        [
            ("number of steps", steps.to_string()),
            ("number of sequences per step", self.sequences.to_string()),
            ("number of sequences at once", self.piece.to_string()),
            ("length of sequences", self.length.to_string()),
            ("learning rate", peak.to_string()),
            ("last learning rate", end.to_string()),
            ("warm-up", warm_up.to_string()),
            ("limit of gradients", self.clip.to_string()),
            ("optimiser", format!("AdamW({beta1}, {beta2}, {epsilon}, {decay})")),
            ("seed", self.seed.to_string()),
            ("precision", format!("{precision:?}").to_lowercase()),
        ]
    }
}
