//! Which tokens a rule is most likely to accept: how drafters rank them.

use super::Rule;
use crate::{Ranked, SampleError, Sampler, TokenId};

impl Sampler {
    /// Writes the `k` tokens of a row to `out` that `rule` is most likely to accept at a position, best first.
    ///
    /// A rule that draws by the noise of the position has them ranked by the same noise ([`Self::rank`]); for
    /// rules with noise of their own they are ranked by likelihood ([`Self::likeliest`]). Scores are in nats
    /// either way, but at temperature 0, where they are logits.
    pub fn rank_under(
        &mut self,
        rule: Rule,
        row: &[f32],
        path: &[TokenId],
        position: u32,
        k: usize,
        out: &mut Vec<Ranked>,
    ) -> Result<(), SampleError> {
        match rule {
            Rule::Coupled => self.rank(row, path, position, k, out),
            Rule::Rejection | Rule::Typical { .. } => self.likeliest(row, path, k, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Noise, SamplingParams};

    const ROW: [f32; 6] = [0.0, 1.5, 1.0, -2.0, 0.5, 1.5];

    fn ranked(rule: Rule, temperature: f64, seed: u64) -> Vec<(TokenId, f64)> {
        let params = SamplingParams { temperature, ..SamplingParams::default() };
        let mut sampler = Sampler::new(params, Noise { seed, choice: 0 }, ROW.len()).unwrap();
        let mut ranked = Vec::new();
        sampler.rank_under(rule, &ROW, &[], 9, 4, &mut ranked).unwrap();
        if rule == Rule::Coupled {
            assert_eq!(Ok(ranked[0].token), sampler.draw(&ROW, &[], 9));
        }
        ranked.iter().map(|ranked| (ranked.token, ranked.score)).collect()
    }

    #[test]
    fn only_coupled_ranks_by_noise_and_all_scores_are_over_temperature() {
        for rule in [Rule::Rejection, Rule::TYPICAL] {
            for seed in 0..20 {
                assert_eq!(ranked(rule, 0.5, seed), [(1, 3.0), (5, 3.0), (2, 2.0), (4, 1.0)]);
            }
        }
        let first: Vec<TokenId> =
            (0..20).map(|seed| ranked(Rule::Coupled, 0.5, seed)[0].0).collect();
        assert!(first.contains(&1) && first.contains(&5) && first.contains(&2), "{first:?}");
    }

    #[test]
    fn without_temperature_every_rule_ranks_by_logits() {
        for rule in [Rule::Coupled, Rule::Rejection, Rule::TYPICAL] {
            assert_eq!(ranked(rule, 0.0, 1), [(1, 1.5), (5, 1.5), (2, 1.0), (4, 0.5)]);
        }
    }
}
