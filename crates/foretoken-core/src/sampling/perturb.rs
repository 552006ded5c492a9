//! Scores: logits over temperature plus the noise of their position, and the best of them.
//!
//! Computing a score takes a hash and two logarithms. Most tokens need neither: a token whose logit
//! cannot win with the largest noise is not hashed, and one whose hash says that its noise is too
//! small gets no logarithm. Both tests are upper bounds, so what is skipped changes nothing.

use std::cmp::Ordering;
use std::f32::consts::LN_2;

use super::best::Best;
use super::scan::Scan;
use crate::TokenId;
use crate::noise::{CHUNK, MAX_GUMBEL, NoiseRows, gumbel};

/// Tokens of a chunk that are tested side by side before any is looked at alone.
const PART: usize = 32;

/// A token and its score at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// The token.
    pub token: TokenId,
    /// `x/T + g`, without `g` where tokens are ranked by likelihood; the logit itself at temperature 0.
    pub score: f64,
}

/// The order of drawing: larger scores first, then lower ids.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByScore(pub(super) Ranked);

impl Ord for ByScore {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.0.score.total_cmp(&self.0.score);
        by_score.then(self.0.token.cmp(&other.0.token))
    }
}

impl PartialOrd for ByScore {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByScore {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByScore {}

/// Collects scores into a [`Best`], computing as few as it can.
pub(super) struct Perturbation<'a> {
    temperature: f64,
    noise: &'a mut NoiseRows,
    best: &'a mut Best<ByScore>,
    bar: Bar,
}

impl<'a> Perturbation<'a> {
    pub(super) fn new(
        temperature: f64,
        noise: &'a mut NoiseRows,
        best: &'a mut Best<ByScore>,
    ) -> Self {
        let bar = Bar::new(temperature, None);
        Self { temperature, noise, best, bar }
    }

    /// Scores a whole row. The chunk with the largest logit goes first and sets the bar high.
    pub(super) fn add_row(&mut self, logits: &[f32], scan: &Scan) {
        self.add_chunk(logits, scan, scan.peak());
        for (index, &max) in scan.maxima().iter().enumerate() {
            if index != scan.peak() && self.bar.can_pass(max) {
                self.add_chunk(logits, scan, index);
            }
        }
    }

    /// Scores one token.
    pub(super) fn add(&mut self, token: TokenId, logit: f32) {
        let hash = self.noise.hash(token);
        if !self.bar.can_pass_with(logit, (hash >> 32) as u32) {
            return;
        }
        // Adding zero turns a negative zero, which would order below zero, into zero.
        let score = f64::from(logit) / self.temperature + gumbel(hash) + 0.0;
        self.best.push(ByScore(Ranked { token, score }));
        self.bar = Bar::new(self.temperature, self.best.bar());
    }

    fn add_chunk(&mut self, logits: &[f32], scan: &Scan, index: usize) {
        let bar = self.bar;
        let wants = |highest| bar.can_pass_with(scan.maxima()[index], highest);
        let Some(hashes) = self.noise.chunk(index, wants) else { return };
        let first = index * CHUNK;
        let logits = &logits[first..logits.len().min(first + CHUNK)];
        let parts = logits.chunks(PART).zip(hashes.chunks(PART));
        for (first, (logits, hashes)) in (first as TokenId..).step_by(PART).zip(parts) {
            let bar = self.bar;
            let passes = |(&logit, &hash): (&f32, &u32)| bar.can_pass_with(logit, hash);
            if !logits.iter().zip(hashes).fold(false, |any, token| any | passes(token)) {
                continue;
            }
            for ((token, &logit), &hash) in (first..).zip(logits).zip(hashes) {
                if logit > f32::NEG_INFINITY && self.bar.can_pass_with(logit, hash) {
                    self.add(token, logit);
                }
            }
        }
    }
}

/// The score to beat, in the form in which a token is tested against it: in `f32`, and lowered by
/// more than the rounding errors of the test.
#[derive(Debug, Clone, Copy)]
struct Bar {
    inverse_temperature: f32,
    score: f32,
}

impl Bar {
    fn new(temperature: f64, worst: Option<ByScore>) -> Self {
        let score = worst.map_or(f64::NEG_INFINITY, |ByScore(Ranked { score, .. })| {
            score - 1e-3 - 1e-6 * (score.abs() + 64.0)
        });
        Self { inverse_temperature: (1.0 / temperature) as f32, score: score as f32 }
    }

    /// Whether a logit can reach the bar with the largest noise there is.
    fn can_pass(self, logit: f32) -> bool {
        logit * self.inverse_temperature + MAX_GUMBEL as f32 >= self.score
    }

    /// Whether a logit can reach the bar with noise whose hash has these upper 32 bits.
    ///
    /// With `w = (2^32 - 1 - upper) / 2`, `1 - u >= w / 2^31`, hence
    /// `g = -ln(-ln u) <= -ln(1 - u) <= (31 - log2 w) ln 2`. The bits of a float, read as an integer,
    /// are a lower bound of its logarithm: `log2 w >= bits / 2^23 - 127`.
    fn can_pass_with(self, logit: f32, upper: u32) -> bool {
        const PER_BIT: f32 = LN_2 / (1 << 23) as f32;
        let bits = ((!upper >> 1) as i32 as f32).to_bits() as i32 as f32;
        let noise = (31.0 + 127.0) * LN_2 - bits * PER_BIT;
        logit * self.inverse_temperature + noise >= self.score
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Domain, Noise};

    #[test]
    fn scores_order_downwards_and_ties_by_token() {
        let in_order = [(9, 2.0), (1, 1.0), (2, 1.0), (0, -3.0)];
        let scores = in_order.map(|(token, score)| ByScore(Ranked { token, score }));
        assert!(scores.is_sorted_by(|a, b| a < b), "scores are out of order");
    }

    #[test]
    fn the_bound_of_the_noise_holds_and_is_tight() {
        let mut noise = NoiseRows::default();
        noise.turn_to(Noise { seed: 3, choice: 0 }.at(Domain::Draw, 11), 800 * CHUNK);
        for index in 0..800 {
            let hashes = noise.chunk(index, |_| true).unwrap();
            for (token, hash) in ((index * CHUNK) as TokenId..).zip(hashes) {
                let score = gumbel(noise.hash(token));
                let bar_at = |score| {
                    Bar::new(1.0, Some(ByScore(Ranked { token, score }))).can_pass_with(0.0, hash)
                };
                assert!(bar_at(score), "a token that reaches the bar was skipped: {token}");
                assert!(score < 3.0 || !bar_at(score + 0.2), "the bound is loose at {token}");
            }
        }
    }
}
