//! Log-probabilities for people: of the raw row, at temperature 1, in nats.

use super::best::Best;
use super::pipeline::Key;
use super::scan::{SampleError, Scan};
use super::sums;
use crate::TokenId;

/// The log-probabilities of one raw row of logits: `x - ln(sum of exp x)`, no sampling parameter
/// applied. What the API reports as `logprobs`, and what texts are scored by.
#[derive(Debug, Clone, Copy)]
pub struct LogProbabilities<'a> {
    row: &'a [f32],
    log_sum: f64,
}

impl<'a> LogProbabilities<'a> {
    /// Reads a row once; every question after that is answered from the sum.
    pub fn new(row: &'a [f32]) -> Result<Self, SampleError> {
        let mut scan = Scan::default();
        scan.read(row)?;
        let sum = sums::exponentials(row, 1.0, scan.max(), f32::MIN);
        Ok(Self { row, log_sum: f64::from(scan.max()) + libm::log(sum) })
    }

    /// Natural log of a token's probability; negative infinity for a token outside the row.
    pub fn of(&self, token: TokenId) -> f64 {
        self.row.get(token as usize).map_or(f64::NEG_INFINITY, |&logit| self.of_logit(logit))
    }

    /// Writes the `k` most probable tokens to `out`, best first, lower ids first among equals.
    pub fn top(&self, k: usize, out: &mut Vec<(TokenId, f64)>) {
        let mut best = Best::default();
        best.reset(k, self.row.len());
        for (token, &logit) in (0..).zip(self.row) {
            best.push(Key::new(token, logit));
        }
        let best = best.finish().iter().take(k);
        out.clear();
        out.extend(best.map(|key| (key.token(), self.of_logit(key.logit()))));
    }

    fn of_logit(&self, logit: f32) -> f64 {
        f64::from(logit) - self.log_sum
    }
}
