//! What a run tells while it goes.

use std::time::Duration;

use super::history::HistoryPoint;

/// Weight of the newest step in the pace.
const NEWEST: f64 = 0.1;

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step is done.
    Step(Progress<'a>),
    /// A checkpoint is on the disk.
    Checkpoint {
        /// Steps it has seen.
        step: u64,
    },
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The step.
    pub point: &'a HistoryPoint,
    /// Steps of the whole run.
    pub steps: u64,
    /// Tokens learned from per second, validation and checkpoints apart.
    pub tokens_per_second: f64,
    /// Time to the end at this pace.
    pub remaining: Duration,
}

/// Seconds of a step: a mean of the last ones, in which older steps count less.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    seconds: Option<f64>,
}

impl Pace {
    pub(super) fn add(&mut self, step: Duration) -> f64 {
        let step = step.as_secs_f64();
        let mean = self.seconds.map_or(step, |mean| mean + (step - mean) * NEWEST);
        self.seconds = Some(mean);
        mean.max(f64::MIN_POSITIVE)
    }
}
