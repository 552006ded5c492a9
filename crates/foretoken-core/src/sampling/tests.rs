//! What the reference of the integration tests does not say: errors, ties, log-probabilities and the
//! ranges of parameters.

use super::*;
use crate::{Noise, TokenId};

fn sampler(params: SamplingParams, vocab: usize) -> Sampler {
    Sampler::new(params, Noise { seed: 1, choice: 0 }, vocab).unwrap()
}

fn every_temperature(test: impl Fn(SamplingParams)) {
    for temperature in [0.0, 0.7] {
        for top_p in [0.9, 1.0] {
            test(SamplingParams { temperature, top_p, ..SamplingParams::default() });
        }
    }
}

/// What every method says of a row; they must agree.
fn failure(params: SamplingParams, row: &[f32]) -> Option<SampleError> {
    let mut sampler = sampler(params, row.len());
    let drawn = sampler.draw(row, &[], 0).err();
    assert_eq!(sampler.rank(row, &[], 0, 3, &mut Vec::new()).err(), drawn);
    assert_eq!(sampler.distribution(row, &[], &mut Distribution::new()).err(), drawn);
    drawn
}

#[test]
fn a_nan_anywhere_is_an_error_that_names_the_token() {
    every_temperature(|params| {
        for vocab in [1, 255, 256, 257, 600] {
            for token in [0, vocab / 3, vocab - 1] {
                let mut row = vec![1.0; vocab];
                row[token] = -f32::NAN;
                let token = token as TokenId;
                assert_eq!(failure(params.clone(), &row), Some(SampleError::NotANumber { token }));
                assert!(LogProbabilities::new(&row).is_err());
                row[token as usize] = f32::INFINITY;
                assert_eq!(failure(params.clone(), &row), Some(SampleError::Infinite { token }));
            }
        }
    });
}

#[test]
fn a_ban_does_not_hide_a_nan() {
    let logit_bias = vec![(1, f32::NEG_INFINITY)];
    let params = SamplingParams { logit_bias, ..SamplingParams::default() };
    let error = failure(params, &[0.0, f32::NAN, 0.0]);
    assert_eq!(error, Some(SampleError::NotANumber { token: 1 }));
}

#[test]
fn a_row_without_candidates_is_an_error() {
    every_temperature(|params| {
        let banned = [f32::NEG_INFINITY; 300];
        assert_eq!(failure(params.clone(), &banned), Some(SampleError::EverythingBanned));
        assert_eq!(failure(params.clone(), &[]), Some(SampleError::EverythingBanned));
        let logit_bias = vec![(1, f32::NEG_INFINITY), (0, f32::NEG_INFINITY)];
        let banning = SamplingParams { logit_bias, ..params };
        assert_eq!(failure(banning, &[3.0, 4.0]), Some(SampleError::EverythingBanned));
    });
}

#[test]
fn greedy_ties_go_to_the_lowest_id() {
    let mut row = vec![-1.0; 1000];
    for token in [999, 613, 612, 300] {
        row[token] = if token == 612 { 0.0 } else { -0.0 };
        let mut sampler = sampler(SamplingParams::default(), row.len());
        assert_eq!(sampler.draw(&row, &[], 0), Ok(token as TokenId));
    }
    let mut ranked = Vec::new();
    sampler(SamplingParams::default(), 1000).rank(&row, &[], 0, 3, &mut ranked).unwrap();
    let tokens: Vec<_> = ranked.iter().map(|ranked| ranked.token).collect();
    assert_eq!(tokens, [300, 612, 613]);
}

/// Where the noise is lost to rounding, all scores are equal.
#[test]
fn ties_of_scores_go_to_the_lowest_id() {
    for (logit, temperature) in [(f32::MAX, 1e-6), (1e30, 1.0), (f32::MIN, 1.0)] {
        for (top_k, top_p) in [(None, 1.0), (None, 0.999), (Some(2), 1.0)] {
            let params = SamplingParams { temperature, top_k, top_p, ..SamplingParams::default() };
            let mut row = vec![f32::NEG_INFINITY; 700];
            row[300..].fill(logit);
            let mut ranked = Vec::new();
            sampler(params, row.len()).rank(&row, &[], 0, 2, &mut ranked).unwrap();
            let tokens: Vec<_> = ranked.iter().map(|ranked| ranked.token).collect();
            assert_eq!(tokens, [300, 301], "{logit} at {temperature}");
        }
    }
}

#[test]
fn logits_stay_finite_under_extreme_penalties() {
    let params = SamplingParams { repetition_penalty: 1e-300, ..SamplingParams::default() };
    let mut sampler = sampler(params, 3);
    sampler.prompt(&[0, 1]);
    assert_eq!(sampler.draw(&[1.0, 2.0, 5.0], &[], 0), Ok(0), "both penalised logits saturate");
}

#[test]
fn a_row_shorter_than_the_text_is_adjusted_where_it_can_be() {
    let params = SamplingParams {
        presence_penalty: 5.0,
        logit_bias: vec![(40, 1.0)],
        ..SamplingParams::default()
    };
    let mut sampler = sampler(params, 50);
    sampler.commit(45);
    sampler.commit(1);
    assert_eq!(sampler.draw(&[0.0, 2.0, 1.0], &[48, 2], 0), Ok(0));
}

#[test]
fn noise_can_be_exchanged() {
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    let mut sampler = sampler(params, 500);
    let row = [0.0; 500];
    let first = sampler.draw(&row, &[], 3);
    sampler.set_noise(Noise { seed: 2, choice: 0 });
    assert_ne!(sampler.draw(&row, &[], 3), first);
    assert_eq!(sampler.noise().seed, 2);
}

#[test]
fn log_probabilities_are_those_of_the_softmax() {
    let row = [1.0, 3.0, f32::NEG_INFINITY, 3.0, -700.0];
    let log = LogProbabilities::new(&row).unwrap();
    let sum = 2.0 * 3.0_f64.exp() + 1.0_f64.exp();
    for (token, expected) in [(0, 1.0 - sum.ln()), (1, 3.0 - sum.ln()), (4, -700.0 - sum.ln())] {
        assert!((log.of(token) - expected).abs() < 1e-13, "token {token}");
    }
    assert_eq!(log.of(2), f64::NEG_INFINITY);
    assert_eq!(log.of(5), f64::NEG_INFINITY, "a token outside the row");
    let mut top = Vec::new();
    log.top(4, &mut top);
    assert_eq!(top, [(1, log.of(1)), (3, log.of(3)), (0, log.of(0)), (4, log.of(4))]);
    log.top(0, &mut top);
    assert!(top.is_empty());
    let banned = LogProbabilities::new(&[f32::NEG_INFINITY]);
    assert_eq!(banned.err(), Some(SampleError::EverythingBanned));
}

#[test]
fn a_distribution_is_normalised_and_keeps_its_order() {
    let mut law = Distribution::new();
    law.set([(7, 1.0), (2, 0.0), (5, 3.0)]);
    assert_eq!(law.iter().collect::<Vec<_>>(), [(7, 0.25), (2, 0.0), (5, 0.75)]);
    assert_eq!((law.probability(5), law.probability(2), law.probability(6)), (0.75, 0.0, 0.0));
    law.set_point_mass(3);
    assert_eq!((law.tokens(), law.probabilities()), (&[3][..], &[1.0][..]));
    law.set([]);
    assert!(law.is_empty());
}

#[test]
fn parameters_out_of_range_are_named() {
    let ok = SamplingParams::default;
    let nan = f64::NAN;
    let invalid = [
        (SamplingParams { temperature: -0.1, ..ok() }, "temperature is -0.1"),
        (SamplingParams { temperature: nan, ..ok() }, "temperature is NaN"),
        (SamplingParams { temperature: f64::INFINITY, ..ok() }, "temperature is inf"),
        (SamplingParams { temperature: 1e-9, ..ok() }, "temperature is 0.000000001"),
        (SamplingParams { top_k: Some(0), ..ok() }, "top-k is 0"),
        (SamplingParams { top_p: 1.1, ..ok() }, "top-p is 1.1"),
        (SamplingParams { top_p: nan, ..ok() }, "top-p is NaN"),
        (SamplingParams { min_p: -1.0, ..ok() }, "min-p is -1"),
        (SamplingParams { min_p: nan, ..ok() }, "min-p is NaN"),
        (SamplingParams { repetition_penalty: 0.0, ..ok() }, "repetition penalty is 0"),
        (SamplingParams { repetition_penalty: nan, ..ok() }, "repetition penalty is NaN"),
        (SamplingParams { presence_penalty: nan, ..ok() }, "presence penalty is NaN"),
        (SamplingParams { frequency_penalty: -f64::INFINITY, ..ok() }, "frequency penalty is -inf"),
        (SamplingParams { logit_bias: vec![(10, 0.0)], ..ok() }, "names token 10, but"),
        (SamplingParams { logit_bias: vec![(1, f32::NAN)], ..ok() }, "of token 1 is NaN"),
        (SamplingParams { logit_bias: vec![(1, f32::INFINITY)], ..ok() }, "of token 1 is inf"),
        (
            SamplingParams { logit_bias: vec![(4, 1.0), (2, 1.0), (4, 1.0)], ..ok() },
            "names token 4 twice",
        ),
    ];
    for (params, message) in invalid {
        let error = params.validate(10).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(Sampler::new(params, Noise { seed: 0, choice: 0 }, 10).is_err());
    }
    let extreme = SamplingParams {
        temperature: 1e-6,
        top_k: Some(u32::MAX),
        top_p: 0.0,
        min_p: 1.0,
        logit_bias: vec![(9, f32::NEG_INFINITY)],
        ..ok()
    };
    assert_eq!(extreme.validate(10), Ok(()));
}
