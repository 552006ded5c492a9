//! Which tokens the text has, and what that does to a row of logits.

use std::collections::HashMap;

use super::params::SamplingParams;
use crate::TokenId;

/// Occurrences of one token in the committed text.
#[derive(Debug, Clone, Copy, Default)]
struct Occurrences {
    in_prompt: bool,
    in_output: u32,
}

/// The distinct tokens of the committed text of one sequence.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    seen: HashMap<TokenId, Occurrences>,
}

impl History {
    pub(super) fn add_prompt(&mut self, tokens: &[TokenId]) {
        for &token in tokens {
            self.seen.entry(token).or_default().in_prompt = true;
        }
    }

    pub(super) fn add_output(&mut self, token: TokenId) {
        self.seen.entry(token).or_default().in_output += 1;
    }

    /// Makes the output so far part of the prompt.
    pub(super) fn end_turn(&mut self) {
        for occurrences in self.seen.values_mut() {
            *occurrences = Occurrences { in_prompt: true, in_output: 0 };
        }
    }

    /// Writes `row` with bans, bias and penalties applied to `logits`, as if `path` had been output
    /// after the committed text.
    ///
    /// Every logit is computed from the raw one, so a token that is biased, committed and on the
    /// path may be visited several times, and the last visit, which knows most, counts. A token
    /// beyond the row (a drafter's row may be shorter) has no logit and is skipped. The biases must
    /// be in order of their tokens; `sorted` is scratch.
    pub(super) fn adjust(
        &self,
        params: &SamplingParams,
        row: &[f32],
        path: &[TokenId],
        sorted: &mut Vec<TokenId>,
        logits: &mut Vec<f32>,
    ) {
        logits.clear();
        logits.extend_from_slice(row);
        let bias_of = |token| {
            let found = params.logit_bias.binary_search_by_key(&token, |&(named, _)| named);
            found.map_or(0.0, |index| params.logit_bias[index].1)
        };
        let mut set = |token: TokenId, occurrences| {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = adjusted(params, row[token as usize], bias_of(token), occurrences);
            }
        };
        for &(token, _) in &params.logit_bias {
            set(token, Occurrences::default());
        }
        if !params.penalizes() {
            return;
        }
        for (&token, &occurrences) in &self.seen {
            set(token, occurrences);
        }
        sorted.clear();
        sorted.extend_from_slice(path);
        sorted.sort_unstable();
        for run in sorted.chunk_by(|a, b| a == b) {
            let mut occurrences = self.seen.get(&run[0]).copied().unwrap_or_default();
            occurrences.in_output += run.len() as u32;
            set(run[0], occurrences);
        }
    }
}

/// One logit after bias and penalties, computed in `f64` and rounded once to `f32`.
///
/// What is not a number of the model (NaN, an infinity) stays as it is, to be judged with the row;
/// nothing but a bias of negative infinity makes a finite logit infinite.
fn adjusted(params: &SamplingParams, raw: f32, bias: f32, occurrences: Occurrences) -> f32 {
    if !raw.is_finite() {
        return raw;
    }
    if bias == f32::NEG_INFINITY {
        return bias;
    }
    let mut logit = f64::from(raw) + f64::from(bias);
    if occurrences.in_prompt || occurrences.in_output > 0 {
        let penalty = params.repetition_penalty;
        logit = if logit < 0.0 { logit * penalty } else { logit / penalty };
    }
    if occurrences.in_output > 0 {
        logit -= params.presence_penalty;
        logit -= params.frequency_penalty * f64::from(occurrences.in_output);
    }
    logit.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}
