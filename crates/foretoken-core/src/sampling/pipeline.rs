//! The filters: top-k, top-p and min-p over one row of adjusted logits.

use super::best::Best;
use super::params::SamplingParams;
use super::scan::Scan;
use super::sums;
use crate::TokenId;
use crate::noise::CHUNK;

/// Below this exponent `exp` is less than half a unit in the last place of 1, and adding it to a sum
/// that begins with 1 changes nothing.
const NEGLIGIBLE: f64 = -37.0;

/// Tokens that are sorted first in the hope that top-p keeps no more.
const HEAD: usize = 1024;

/// A token and its logit in one integer, ordered by (logit descending, token ascending).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    const SIGN: u32 = 1 << 31;

    pub(super) fn new(token: TokenId, logit: f32) -> Self {
        // Adding zero makes the two zeros equal.
        let bits = (logit + 0.0).to_bits();
        let descending = if bits & Self::SIGN == 0 { !bits ^ Self::SIGN } else { bits };
        Self(u64::from(descending) << 32 | u64::from(token))
    }

    pub(super) fn token(self) -> TokenId {
        self.0 as TokenId
    }

    pub(super) fn logit(self) -> f32 {
        let descending = (self.0 >> 32) as u32;
        let negative = descending & Self::SIGN != 0;
        f32::from_bits(if negative { descending } else { !descending ^ Self::SIGN })
    }
}

/// Applies the filters to one row after another, in buffers that are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    best: Best<Key>,
    weights: Vec<f64>,
}

impl Filter {
    /// The `k` largest logits, in order.
    pub(super) fn largest(&mut self, logits: &[f32], scan: &Scan, k: usize) -> &[Key] {
        self.collect(logits, scan, k, f32::MIN);
        self.best.finish()
    }

    /// The tokens that survive top-k, top-p and min-p, in order, and their weights: probabilities
    /// relative to the most probable token, `exp(x/T - max(x/T))`.
    ///
    /// Top-p keeps a token while the weights before it sum to less than `top_p` times the sum of all
    /// weights (those that survived top-k); both sums run in order. Min-p keeps weights of at least
    /// `min_p`. The first token survives everything.
    pub(super) fn survivors(
        &mut self,
        logits: &[f32],
        scan: &Scan,
        params: &SamplingParams,
    ) -> (&[Key], &[f64]) {
        let k = params.top_k.map_or(logits.len(), |k| logits.len().min(k as usize));
        // What any row of this length can need, so that no later one has to ask for more.
        self.best.reset(k, logits.len());
        self.weights.clear();
        self.weights.reserve(k);
        let floor = floor(params, scan.max());
        let kept = self.short_nucleus(logits, scan, params, floor).unwrap_or_else(|| {
            self.collect(logits, scan, k, floor);
            self.weigh(params.temperature);
            let total: f64 = self.weights.iter().sum();
            crossing(&self.weights, params.top_p, total)
        });
        self.weights.truncate(kept);
        let kept = self.weights.iter().take_while(|&&weight| weight >= params.min_p).count();
        self.weights.truncate(kept);
        (&self.best.finish()[..kept], &self.weights)
    }

    /// How many tokens top-p keeps, found without sorting the whole row, or `None` when that does
    /// not decide it.
    ///
    /// The sum of all weights is taken in another order than the rule's, so it is known up to a
    /// rounding error. When both ends of that interval cut the sorted head at the same token, the
    /// rule's sum does too.
    fn short_nucleus(
        &mut self,
        logits: &[f32],
        scan: &Scan,
        params: &SamplingParams,
        floor: f32,
    ) -> Option<usize> {
        if params.top_p == 1.0 || params.top_k.is_some() || logits.len() <= HEAD {
            return None;
        }
        let chunks = logits.chunks(CHUNK).zip(scan.maxima()).filter(|&(_, &max)| max >= floor);
        let scale = 1.0 / params.temperature;
        let sum = |(chunk, _)| sums::exponentials(chunk, scale, scan.max(), floor);
        let total: f64 = chunks.map(sum).sum();
        let error = sums::error(logits.len(), f64::from(scan.max()) * scale) * total;
        self.collect(logits, scan, HEAD, floor);
        self.weigh(params.temperature);
        let kept = crossing(&self.weights, params.top_p, total - error);
        let decided = kept == crossing(&self.weights, params.top_p, total + error);
        (decided && kept < self.weights.len()).then_some(kept)
    }

    /// Computes the weights of what was collected, in order.
    fn weigh(&mut self, temperature: f64) {
        let keys = self.best.finish();
        let largest = f64::from(keys[0].logit()) / temperature;
        self.weights.clear();
        self.weights.extend(keys.iter().map(|key| weight(key.logit(), temperature, largest)));
    }

    /// Gathers the `k` largest of the finite logits that are at least `floor`.
    fn collect(&mut self, logits: &[f32], scan: &Scan, k: usize, floor: f32) {
        self.best.reset(k, logits.len());
        let mut bar = floor;
        for ((index, chunk), &max) in logits.chunks(CHUNK).enumerate().zip(scan.maxima()) {
            if max < bar {
                continue;
            }
            for (token, &logit) in ((index * CHUNK) as TokenId..).zip(chunk) {
                if logit >= bar {
                    self.best.push(Key::new(token, logit));
                }
            }
            bar = self.best.bar().map_or(bar, Key::logit);
        }
    }
}

fn weight(logit: f32, temperature: f64, largest: f64) -> f64 {
    libm::exp(f64::from(logit) / temperature - largest)
}

/// How many of the sorted weights top-p keeps: all up to the one with which the sum reaches
/// `top_p * total`, and at least one.
fn crossing(weights: &[f64], top_p: f64, total: f64) -> usize {
    if top_p == 1.0 {
        return weights.len();
    }
    let goal = top_p * total;
    let mut before = 0.0;
    let below = |weight: &&f64| {
        let keep = before < goal;
        before += **weight;
        keep
    };
    weights.iter().take_while(below).count().max(1)
}

/// A logit below which a token neither survives the filters nor changes the sums that they use;
/// the lowest finite logit when every token counts.
fn floor(params: &SamplingParams, max: f32) -> f32 {
    let exponent = if params.top_p < 1.0 {
        NEGLIGIBLE
    } else if params.min_p > 0.0 {
        libm::log(params.min_p)
    } else {
        return f32::MIN;
    };
    let max = f64::from(max);
    // Lowered by more than the rounding of this line and of the weights' exponents.
    let logit = max + exponent * params.temperature - 1e-6 * (1.0 + max.abs());
    (logit as f32).next_down().max(f32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_by_logit_down_then_token_up_and_give_both_back() {
        let in_order =
            [(3, f32::MAX), (1, 1.5), (2, 1.5), (0, 0.0), (4, -0.0), (5, -1.5), (6, f32::MIN)];
        let keys = in_order.map(|(token, logit)| Key::new(token, logit));
        assert!(keys.is_sorted(), "keys are out of order");
        for (key, (token, logit)) in keys.iter().zip(in_order) {
            assert_eq!((key.token(), key.logit()), (token, logit));
        }
    }

    #[test]
    fn what_is_negligible_changes_no_sum() {
        assert_eq!(1.0 + libm::exp(NEGLIGIBLE), 1.0);
        assert!(1.0 + libm::exp(NEGLIGIBLE + 0.5) > 1.0, "the floor could be higher");
    }
}
