//! The filters and the draw against a reference written from their definition, with nothing shared:
//! whole sorts, no chunks, no bounds.

use std::cmp::Ordering;

use foretoken_core::{
    Distribution, Domain, Noise, Ranked, SampleError, Sampler, SamplingParams, TokenId,
};
use proptest::prelude::*;

/// One row with all that decides its law.
#[derive(Debug, Clone)]
struct Case {
    row: Vec<f32>,
    params: SamplingParams,
    prompt: Vec<TokenId>,
    output: Vec<TokenId>,
    path: Vec<TokenId>,
}

impl Case {
    fn sampler(&self, noise: Noise) -> Sampler {
        let mut sampler =
            Sampler::new(self.params.clone(), noise, self.row.len()).expect("valid parameters");
        sampler.prompt(&self.prompt);
        self.output.iter().for_each(|&token| sampler.commit(token));
        sampler
    }

    fn adjusted(&self) -> Vec<f32> {
        let output = [self.output.clone(), self.path.clone()].concat();
        let params = &self.params;
        let adjust = |token: usize| {
            let count = output.iter().filter(|&&t| t as usize == token).count();
            let seen = count > 0 || self.prompt.contains(&(token as TokenId));
            let bias = params.logit_bias.iter().find(|bias| bias.0 as usize == token);
            let mut x = f64::from(self.row[token]) + bias.map_or(0.0, |bias| f64::from(bias.1));
            if seen && x >= 0.0 {
                x /= params.repetition_penalty;
            } else if seen {
                x *= params.repetition_penalty;
            }
            if count > 0 {
                x = x - params.presence_penalty - params.frequency_penalty * count as f64;
            }
            x as f32
        };
        (0..self.row.len()).map(adjust).collect()
    }

    /// Survivors in order with their weights.
    fn survivors(&self) -> Vec<(TokenId, f32, f64)> {
        let params = &self.params;
        let mut sorted: Vec<(TokenId, f32)> = (0..).zip(self.adjusted()).collect();
        sorted.retain(|&(_, x)| x > f32::NEG_INFINITY);
        sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal));
        sorted.truncate(params.top_k.map_or(usize::MAX, |k| k as usize));
        if params.temperature == 0.0 {
            sorted.truncate(1);
            return sorted.iter().map(|&(token, x)| (token, x, 1.0)).collect();
        }
        let scaled = |x: f32| f64::from(x) / params.temperature;
        let Some(&(_, first)) = sorted.first() else { return Vec::new() };
        let weigh = |&(token, x): &_| (token, x, libm::exp(scaled(x) - scaled(first)));
        let mut kept: Vec<(TokenId, f32, f64)> = sorted.iter().map(weigh).collect();
        if params.top_p < 1.0 {
            let total: f64 = kept.iter().map(|kept| kept.2).sum();
            let mut sum = 0.0;
            let mut count = 0;
            while count == 0 || sum < params.top_p * total {
                sum += kept[count].2;
                count += 1;
            }
            kept.truncate(count);
        }
        kept.retain(|kept| kept.2 >= params.min_p);
        kept
    }

    fn ranked(&self, noise: Noise, position: u32) -> Vec<Ranked> {
        let score = |&(token, x, _): &(TokenId, f32, f64)| {
            let perturbed = f64::from(x) / self.params.temperature
                + noise.gumbel(Domain::Draw, position, token);
            let greedy = self.params.temperature == 0.0;
            Ranked { token, score: if greedy { f64::from(x) } else { perturbed } }
        };
        let mut ranked: Vec<Ranked> = self.survivors().iter().map(score).collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.token.cmp(&b.token)));
        ranked
    }

    fn check(&self, noise: Noise, position: u32) -> Result<(), TestCaseError> {
        let mut sampler = self.sampler(noise);
        let survivors = self.survivors();
        let mut law = Distribution::new();
        let result = sampler.distribution(&self.row, &self.path, &mut law);
        if survivors.is_empty() {
            prop_assert_eq!(result, Err(SampleError::EverythingBanned));
            return Ok(());
        }
        prop_assert_eq!(result, Ok(()));
        let tokens: Vec<_> = survivors.iter().map(|kept| kept.0).collect();
        prop_assert_eq!(law.tokens(), &tokens);
        let total: f64 = survivors.iter().map(|kept| kept.2).sum();
        let probabilities: Vec<_> = survivors.iter().map(|kept| kept.2 / total).collect();
        prop_assert_eq!(law.probabilities(), &probabilities);

        let expected = self.ranked(noise, position);
        let drawn = sampler.draw(&self.row, &self.path, position);
        prop_assert_eq!(drawn, Ok(expected[0].token));
        let mut ranked = Vec::new();
        for k in [1, 2, 5, self.row.len()] {
            sampler.rank(&self.row, &self.path, position, k, &mut ranked).expect("it was drawn");
            let greedy = self.params.temperature == 0.0;
            // Greedy drafting ranks more than the one token that can be drawn.
            prop_assert_eq!(ranked[0], expected[0]);
            prop_assert!(greedy || ranked == expected[..k.min(expected.len())], "k = {}", k);
        }
        Ok(())
    }
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn params(vocab: u32) -> impl Strategy<Value = SamplingParams> {
    let bias = prop_oneof![Just(f32::NEG_INFINITY), Just(2.5_f32), -8.0_f32..8.0];
    let biases = prop::collection::btree_map(0..vocab, bias, 0..4);
    (
        one_of(&[0.0, 0.1, 0.7, 1.0, 1.0, 4.0, 50.0]),
        prop::option::of(one_of(&[1, 2, 3, 7, 40, 5000])),
        one_of(&[0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.0]),
        one_of(&[0.0, 0.0, 0.05, 0.3, 1.0]),
        one_of(&[0.5, 1.0, 1.0, 1.3]),
        one_of(&[-0.5, 0.0, 0.0, 1.0]),
        one_of(&[-0.25, 0.0, 0.0, 0.6]),
        biases,
    )
        .prop_map(
            |(temperature, top_k, top_p, min_p, repetition, presence, frequency, biases)| {
                SamplingParams {
                    temperature,
                    top_k,
                    top_p,
                    min_p,
                    repetition_penalty: repetition,
                    presence_penalty: presence,
                    frequency_penalty: frequency,
                    // Out of order on purpose: a sampler may not depend on it.
                    logit_bias: biases.into_iter().rev().collect(),
                }
            },
        )
}

/// Logits on a coarse grid (so that ties abound), smooth ones, and banned ones.
fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-6_i8..6).prop_map(|x| f32::from(x) / 2.0),
        3 => -20.0_f32..20.0,
        1 => Just(f32::NEG_INFINITY),
        1 => Just(-0.0_f32),
    ]
}

fn case(vocab: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    prop::collection::vec(logit(), vocab).prop_flat_map(|row| {
        let vocab = row.len() as u32;
        let tokens = || prop::collection::vec(0..vocab, 0..6);
        (Just(row), params(vocab), tokens(), tokens(), tokens()).prop_map(
            |(row, params, prompt, output, path)| Case { row, params, prompt, output, path },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_rows_match(case in case(1..24), seed: u64, choice: u32, position: u32) {
        case.check(Noise { seed, choice }, position)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Rows of several chunks, longer than the head that top-p sorts first.
    #[test]
    fn large_rows_match(
        case in case(1500..2000),
        (peak, at) in (0.0_f32..12.0, 0_usize..1500),
        seed: u64,
        position: u32,
    ) {
        let mut case = case;
        for (i, logit) in case.row[at..].iter_mut().take(30).enumerate() {
            *logit = peak - i as f32 / 8.0;
        }
        case.check(Noise { seed, choice: 0 }, position)?;
    }

    /// A token on the path counts exactly as one that was output, and is not recorded.
    #[test]
    fn a_path_is_output_that_is_not_recorded(case in case(1..40)) {
        let mut apart = case.sampler(Noise { seed: 0, choice: 0 });
        let before = law(&mut apart, &case.row, &[]);
        let on_path = law(&mut apart, &case.row, &case.path);
        prop_assert_eq!(law(&mut apart, &case.row, &[]), before);
        case.path.iter().for_each(|&token| apart.commit(token));
        prop_assert_eq!(law(&mut apart, &case.row, &[]), on_path);
    }

    /// After the end of a turn the output counts as prompt.
    #[test]
    fn an_ended_turn_is_prompt(case in case(1..40)) {
        let noise = Noise { seed: 0, choice: 0 };
        let mut ended = case.sampler(noise);
        ended.end_turn();
        let prompt = [case.prompt.clone(), case.output.clone()].concat();
        let mut whole = Case { prompt, output: Vec::new(), ..case.clone() }.sampler(noise);
        let expected = law(&mut whole, &case.row, &case.path);
        prop_assert_eq!(law(&mut ended, &case.row, &case.path), expected);
    }
}

/// Top-p set so that its goal is, to the last bit or so, the sum of the first tokens: there the
/// order of summation decides which token is the last.
#[test]
fn a_goal_on_the_border_is_met_as_by_the_sum_in_order() {
    let uniform = |token| Noise { seed: 9, choice: 0 }.uniform(Domain::Accept, 0, token);
    let row = (0..3000).map(|token| (12.0 * uniform(token)) as f32).collect();
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    let mut case = Case { row, params, prompt: vec![], output: vec![], path: vec![] };
    let weights: Vec<f64> = case.survivors().iter().map(|kept| kept.2).collect();
    let total: f64 = weights.iter().sum();
    for count in 1..300 {
        case.params.top_p = weights[..count].iter().sum::<f64>() / total;
        let mut sampler = case.sampler(Noise { seed: 0, choice: 0 });
        let law = law(&mut sampler, &case.row, &[]).expect("a sound row");
        let expected = case.survivors().len();
        assert!(expected.abs_diff(count) <= 1, "the goal is not on a border");
        assert_eq!(law.len(), expected, "top-p {}", case.params.top_p);
    }
}

fn law(sampler: &mut Sampler, row: &[f32], path: &[TokenId]) -> Result<Distribution, SampleError> {
    let mut law = Distribution::new();
    sampler.distribution(row, path, &mut law).map(|()| law)
}
