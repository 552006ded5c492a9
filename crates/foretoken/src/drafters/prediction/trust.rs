//! How likely a predicted token is written, by how many tokens before it agree with the text.

use crate::drafters::confidence::Rate;

/// Lower ends of the classes of agreement, and what is believed of them before anything was seen.
const PRIOR: [(usize, f64); 9] = [
    (0, 0.25),
    (1, 0.4),
    (2, 0.55),
    (3, 0.7),
    (4, 0.8),
    (6, 0.88),
    (9, 0.93),
    (17, 0.96),
    (33, 0.98),
];

/// Rates of right tokens by agreement.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    rates: [Rate; PRIOR.len()],
}

fn class(agreeing: usize) -> usize {
    PRIOR.partition_point(|&(least, _)| least <= agreeing) - 1
}

impl Trust {
    /// What is believed before anything was seen.
    pub(super) fn new() -> Self {
        Self { rates: PRIOR.map(|(_, rate)| Rate::new(rate)) }
    }

    /// Probability that the token behind `agreeing` others is written.
    pub(super) fn estimate(&self, agreeing: usize) -> f64 {
        self.rates[class(agreeing)].estimate()
    }

    /// Counts one token that was expected.
    pub(super) fn learn(&mut self, agreeing: usize, right: bool) {
        self.rates[class(agreeing)].learn(right);
    }
}
