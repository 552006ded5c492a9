//! All randomness of `rejection`, behind one trait: tests replace it by an enumeration of every
//! outcome and so prove the rule's law exactly.

use super::weights::Weight;
use crate::{Domain, Noise, TokenId};

/// What a random number is for; no two numbers of one step share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) domain: Domain,
    /// Index in the text of the token that is decided; for drafting, the drafter.
    pub(crate) position: u32,
    /// The token tested, or the index among several draws.
    pub(crate) index: u32,
}

/// A source of random decisions.
pub(crate) trait Chance {
    /// True with probability `p`: never when it is 0, always when it is 1 or more.
    fn bernoulli(&mut self, key: Key, p: f64) -> bool;

    /// A token with probability proportional to its weight; none when no weight is positive.
    fn categorical(&mut self, key: Key, weights: &[Weight]) -> Option<TokenId>;
}

/// The noise of one decoding step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepNoise(pub(crate) Noise);

impl StepNoise {
    fn uniform(&self, key: Key) -> f64 {
        self.0.uniform(key.domain, key.position, key.index)
    }
}

impl Chance for StepNoise {
    fn bernoulli(&mut self, key: Key, p: f64) -> bool {
        is_below(self.uniform(key), p)
    }

    fn categorical(&mut self, key: Key, weights: &[Weight]) -> Option<TokenId> {
        pick(self.uniform(key), weights)
    }
}

/// Strictly, so that no uniform number, were it 0, lets an impossible event happen.
fn is_below(uniform: f64, p: f64) -> bool {
    uniform < p
}

/// The token in whose share of the total `uniform` falls.
fn pick(uniform: f64, weights: &[Weight]) -> Option<TokenId> {
    let total: f64 = weights.iter().map(|&(_, weight)| weight).sum();
    let mut passed = 0.0;
    let mut last = None;
    for &(token, weight) in weights.iter().filter(|&&(_, weight)| weight > 0.0) {
        passed += weight;
        last = Some(token);
        if is_below(uniform * total, passed) {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_event_does_not_happen_and_a_certain_one_does() {
        assert!(!is_below(0.0, 0.0), "a uniform number of 0 must not accept probability 0");
        let mut chance = StepNoise(Noise { seed: 5, choice: 0 });
        for index in 0..20_000 {
            let key = Key { domain: Domain::Accept, position: 3, index };
            assert!(!chance.bernoulli(key, 0.0));
            assert!(chance.bernoulli(key, 1.0));
        }
    }

    #[test]
    fn a_pick_is_never_a_token_without_weight() {
        let weights = [(4, 0.0), (7, 0.25), (1, 0.0), (2, 0.75), (9, 0.0)];
        for (uniform, token) in [(0.0, 7), (0.249, 7), (0.25, 2), (0.999, 2), (1.0, 2)] {
            assert_eq!(pick(uniform, &weights), Some(token), "at {uniform}");
        }
        assert_eq!(pick(0.5, &[(3, 0.0)]), None);
        assert_eq!(pick(0.5, &[]), None);
    }

    #[test]
    fn picks_have_the_frequencies_of_the_weights() {
        let weights = [(0, 1.0), (1, 3.0), (2, 4.0)];
        let mut chance = StepNoise(Noise { seed: 11, choice: 2 });
        let mut counts = [0.0; 3];
        let draws = 40_000;
        for index in 0..draws {
            let key = Key { domain: Domain::Residual, position: index, index: 0 };
            counts[chance.categorical(key, &weights).unwrap() as usize] += 1.0;
        }
        for (count, (_, weight)) in counts.iter().zip(weights) {
            let p: f64 = weight / 8.0;
            let sigma = (p * (1.0 - p) * f64::from(draws)).sqrt();
            assert!((count - p * f64::from(draws)).abs() < 5.0 * sigma, "{counts:?}");
        }
    }
}
