//! What heads guess, as a list of tokens per depth.
//!
//! It knows no tree: whoever has heads, also those of a draft model, ranks their guesses here.

use foretoken_core::{Ranked, Rule, TokenId};
use foretoken_model::Heads;

use crate::drafters::DraftTask;

/// The best guesses at each depth, and the buffers for finding them.
#[derive(Debug)]
pub(crate) struct Lists {
    depths: Vec<Vec<Ranked>>,
    /// The best guess of each depth so far: the text that the next depth is ranked behind.
    chain: Vec<TokenId>,
    /// A row of all tokens, for heads that leave some out: those stay at negative infinity.
    row: Vec<f32>,
}

impl Lists {
    /// Lists of tokens of a target with `vocab` of them.
    pub(crate) fn new(vocab: usize) -> Self {
        let row = vec![f32::NEG_INFINITY; vocab];
        Self { depths: Vec::new(), chain: Vec::new(), row }
    }

    /// Ranks the guesses of heads, given with their row of the last pass, for the tokens behind a task's
    /// text: `lengths[d]` guesses at depth `d + 1`, fewer where fewer survive the sampler.
    ///
    /// Where the target draws under its noise of the position, guesses are ranked under the same noise; for
    /// rules that draw otherwise, by likelihood. Penalties see the best guesses of the depths above, whatever
    /// is accepted in the end.
    pub(crate) fn rank(
        &mut self,
        (heads, row): (&dyn Heads, usize),
        task: &mut DraftTask,
        lengths: &[usize],
    ) {
        self.chain.clear();
        self.depths.resize_with(lengths.len().max(self.depths.len()), Vec::new);
        self.depths.iter_mut().for_each(Vec::clear);
        let first = task.position();
        for (head, (&length, list)) in lengths.iter().zip(&mut self.depths).enumerate() {
            let logits = spread(heads.logits(head, row), heads.tokens(), &mut self.row);
            let (sampler, path, position) = (&mut task.sampler, &self.chain, first + head as u32);
            let ranked = match task.rule {
                Rule::Coupled => sampler.rank(logits, path, position, length, list),
                Rule::Rejection | Rule::Typical { .. } => {
                    sampler.likeliest(logits, path, length, list)
                }
            };
            // Heads that cannot be read guess nothing; the text is none of their business.
            let (Ok(()), Some(best)) = (ranked, list.first()) else { return };
            self.chain.push(best.token);
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
