//! What heads guess, as a list of tokens per depth.
//!
//! It knows no tree: whoever has heads, also those of a draft model, ranks their guesses here.

use foretoken_core::{Ranked, TokenId};
use foretoken_model::Heads;

use crate::drafters::DraftTask;

/// The best guesses at each depth, and the buffers for finding them.
#[derive(Debug)]
pub(crate) struct Lists {
    depths: Vec<Vec<Ranked>>,
    /// What is drafted already and the best guess of each depth so far: the path that the next depth is
    /// ranked behind.
    path: Vec<TokenId>,
    /// A row of all tokens, for heads that leave some out: those stay at negative infinity.
    row: Vec<f32>,
}

impl Lists {
    /// Lists of tokens of a target with `vocab` of them.
    pub(crate) fn new(vocab: usize) -> Self {
        let row = vec![f32::NEG_INFINITY; vocab];
        Self { depths: Vec::new(), path: Vec::new(), row }
    }

    /// Ranks the guesses of heads, given with their row of the last pass, for the tokens behind a task's
    /// text and the `drafted` ones that follow it: `lengths[d]` guesses at depth `d + 1`, fewer where fewer
    /// survive the sampler.
    ///
    /// Guesses are ranked as the task's rule wants them. Penalties see the best guesses of the depths above, whatever
    /// is accepted in the end.
    pub(crate) fn rank(
        &mut self,
        (heads, row): (&dyn Heads, usize),
        task: &mut DraftTask,
        drafted: &[TokenId],
        lengths: &[usize],
    ) {
        self.path.clear();
        self.path.extend_from_slice(drafted);
        self.depths.resize_with(lengths.len().max(self.depths.len()), Vec::new);
        self.depths.iter_mut().for_each(Vec::clear);
        let first = task.position() + drafted.len() as u32;
        for (head, (&length, list)) in lengths.iter().zip(&mut self.depths).enumerate() {
            let logits = spread(heads.logits(head, row), heads.tokens(), &mut self.row);
            let (sampler, path, position) = (&mut task.sampler, &self.path, first + head as u32);
            let ranked = sampler.rank_under(task.rule, logits, path, position, length, list);
            // Heads that cannot be read guess nothing; the text is none of their business.
            let (Ok(()), Some(best)) = (ranked, list.first()) else { return };
            self.path.push(best.token);
        }
    }

    /// The guess of a rank at a depth, from 1.
    pub(crate) fn token(&self, depth: u32, rank: u32) -> Option<TokenId> {
        let list = self.depths.get((depth as usize).checked_sub(1)?)?;
        list.get(rank as usize).map(|guess| guess.token)
    }

    /// The guesses at a depth, from 1, best first.
    pub(crate) fn tokens(&self, depth: u32) -> Vec<TokenId> {
        let list = (depth as usize).checked_sub(1).and_then(|index| self.depths.get(index));
        list.into_iter().flatten().map(|guess| guess.token).collect()
    }
}

/// The logits of all tokens; `row` holds no other than those of `tokens`.
fn spread<'a>(logits: &'a [f32], tokens: Option<&[TokenId]>, row: &'a mut [f32]) -> &'a [f32] {
    let Some(tokens) = tokens else { return &logits[..logits.len().min(row.len())] };
    for (&token, &logit) in tokens.iter().zip(logits) {
        if let Some(place) = row.get_mut(token as usize) {
            *place = logit;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use foretoken_core::{Noise, Rule, Sampler, SamplingParams};

    use super::super::fixed::Fixed;
    use super::*;
    use crate::drafters::SequenceKey;

    const VOCAB: usize = 8;

    /// Three guesses at three depths.
    fn ranked(heads: &Fixed, params: SamplingParams, rule: Rule) -> Vec<Vec<TokenId>> {
        ranked_behind(&[], (heads, rule), params)
    }

    fn ranked_behind(
        drafted: &[TokenId],
        (heads, rule): (&Fixed, Rule),
        params: SamplingParams,
    ) -> Vec<Vec<TokenId>> {
        let noise = Noise { seed: 3, choice: 0 };
        let sampler = Sampler::new(params, noise, VOCAB).unwrap();
        let mut task = DraftTask::new(SequenceKey(1), vec![7, 0], sampler, rule);
        let mut lists = Lists::new(VOCAB);
        lists.rank((heads, 0), &mut task, drafted, &[3; 3]);
        assert_eq!(lists.token(1, 0), lists.tokens(1).first().copied());
        assert_eq!((lists.token(0, 0), lists.token(4, 0), lists.token(1, 3)), (None, None, None));
        (1..=3).map(|depth| lists.tokens(depth)).collect()
    }

    fn descending() -> Fixed {
        let logits = (0..VOCAB).map(|token| 1.0 - 0.1 * token as f32).collect();
        Fixed::new(logits)
    }

    #[test]
    fn penalties_see_the_best_guesses_above() {
        let greedy = SamplingParams::default();
        assert_eq!(ranked(&descending(), greedy.clone(), Rule::Coupled), [[0, 1, 2]; 3]);
        let shy = SamplingParams { presence_penalty: 1.0, ..greedy };
        let lists = ranked(&descending(), shy, Rule::Coupled);
        assert_eq!(lists, [[0, 1, 2], [1, 2, 3], [2, 3, 4]]);
    }

    #[test]
    fn only_coupled_ranks_under_the_noise_of_each_position() {
        let warm = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
        let coupled = ranked(&descending(), warm.clone(), Rule::Coupled);
        assert!(coupled[0] != coupled[1] && coupled[1] != coupled[2], "{coupled:?}");
        for rule in [Rule::Rejection, Rule::TYPICAL] {
            assert_eq!(ranked(&descending(), warm.clone(), rule), [[0, 1, 2]; 3]);
        }
    }

    #[test]
    fn guesses_behind_drafted_tokens_are_those_of_their_positions() {
        let warm = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
        let params = SamplingParams { presence_penalty: 2.0, ..warm };
        let ranked =
            |drafted: &[_]| ranked_behind(drafted, (&descending(), Rule::Coupled), params.clone());
        let all = ranked(&[]);
        let behind = ranked(&[all[0][0]]);
        assert_eq!(behind[..2], all[1..]);
    }

    #[test]
    fn tokens_that_heads_leave_out_are_never_guessed_and_others_keep_their_ids() {
        let heads = Fixed { tokens: Some(vec![4, 6]), ..Fixed::new(vec![0.5, 2.0]) };
        let greedy = SamplingParams::default();
        assert_eq!(ranked(&heads, greedy.clone(), Rule::Coupled), [[6, 4]; 3]);
        let banned = SamplingParams { logit_bias: vec![(6, f32::NEG_INFINITY)], ..greedy };
        assert_eq!(ranked(&heads, banned, Rule::Coupled), [[4]; 3]);
        // The noise is that of the token, not of its place among the heads'.
        let warm = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
        let mut logits = vec![-1e9; VOCAB];
        (logits[4], logits[6]) = (0.5, 2.0);
        let whole = Fixed::new(logits);
        let (some, all) =
            (ranked(&heads, warm.clone(), Rule::Coupled), ranked(&whole, warm, Rule::Coupled));
        assert!(some.iter().zip(&all).all(|(some, all)| some[..] == all[..2]), "{some:?} {all:?}");
    }

    #[test]
    fn heads_that_cannot_be_read_guess_nothing() {
        let heads = Fixed::new(vec![f32::NAN; VOCAB]);
        let lists = ranked(&heads, SamplingParams::default(), Rule::Coupled);
        assert!(lists.iter().all(Vec::is_empty), "{lists:?}");
    }
}
