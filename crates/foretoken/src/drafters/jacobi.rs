//! `jacobi`: a block of guesses, each replaced by what the target chose in its place (Jacobi decoding,
//! Santilli et al. 2023, <https://arxiv.org/abs/2305.10427>).
//!
//! The block hangs below the root as a chain. A pass accepts its longest right beginning and tells for every
//! guess behind it what the target would write there after the guesses before it: the next block. Ordinary
//! models rarely put a right token into the right place ahead of time; models trained to converge do.

use std::collections::HashMap;

use foretoken_core::TokenId;

use super::scatter::Scatter;
use super::{Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey, Sight};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "jacobi",
    summary: "a block of guesses, each replaced by the target's own choice in its place",
    source: "Jacobi decoding (Santilli et al. 2023)",
    needs: Needs::Nothing,
    sight: Sight::CHOICES,
    nodes: 8,
    build: |Parts { ceilings: Ceilings { nodes, .. }, .. }| {
        Ok(Built::new(Jacobi { nodes, sequences: HashMap::new(), chain: Vec::new() }, nodes))
    },
};

struct Jacobi {
    /// Tokens of a block.
    nodes: usize,
    sequences: HashMap<SequenceKey, Block>,
    /// A root and its block.
    chain: Vec<TokenId>,
}

/// The guesses for the tokens that follow the root.
#[derive(Default)]
struct Block {
    guesses: Vec<TokenId>,
    scatter: Scatter,
}

impl Block {
    /// Replaces each guess by what the target chose behind the guess before it, and drops those whose
    /// places are taken. A guess that was not computed stays.
    fn renew(&mut self, task: &DraftTask) {
        let mut at = Some(0);
        for guess in &mut self.guesses {
            let Some(node) = at else { break };
            at = task.tree.child_with_token(node, *guess);
            *guess = task.choices.get(node).unwrap_or(*guess);
        }
        self.guesses.extend(at.and_then(|node| task.choices.get(node)));
        let emitted = task.accepted.tokens().len().min(self.guesses.len());
        self.guesses.drain(..emitted);
    }
}

impl Drafter for Jacobi {
    fn begin(&mut self, key: SequenceKey, _: &[TokenId]) {
        self.sequences.insert(key, Block::default());
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks.iter_mut().filter(|task| task.room.fits_a_node()) {
            let Some(block) = self.sequences.get_mut(&task.key) else { continue };
            let length = self.nodes.min(task.room.nodes).min(task.room.depth);
            while block.guesses.len() < length {
                block.guesses.push(block.scatter.draw(&task.text));
            }
            block.guesses.truncate(length);
            self.chain.clear();
            self.chain.push(task.tree.token(0));
            self.chain.extend_from_slice(&block.guesses);
            // A block in its room fits a tree; a refusal would leave the root alone.
            task.tree.set_chain(&self.chain).ok();
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            if let Some(block) = self.sequences.get_mut(&task.key) {
                block.renew(task);
            }
        }
    }

    fn end(&mut self, key: SequenceKey) {
        self.sequences.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use foretoken_core::{DraftTree, Noise, Rule, Sampler, SamplingParams};

    use super::*;
    use crate::drafters::verifying::{sure_of, verify};

    /// A block of guesses behind 10 after a pass over the first of them, by a target that counts up.
    fn renewed(guesses: &[TokenId], computed: usize) -> Vec<TokenId> {
        let noise = Noise { seed: 0, choice: 0 };
        let sampler = Sampler::new(SamplingParams::default(), noise, 99).unwrap();
        let mut task = DraftTask::new(SequenceKey(1), vec![10], sampler, Rule::Coupled);
        task.tree = DraftTree::chain(&[&[10], &guesses[..computed]].concat()).unwrap();
        verify(&mut task, |text| sure_of(text.last().unwrap() + 1, 99));
        let mut block = Block { guesses: guesses.to_vec(), ..Block::default() };
        block.renew(&task);
        block.guesses
    }

    #[test]
    fn a_block_becomes_what_the_target_chose_behind_what_is_taken() {
        // 11 is accepted and 12 follows; behind the wrong 50 and 60 stand 51 and 61.
        assert_eq!(renewed(&[11, 50, 60], 3), [51, 61]);
        assert_eq!(renewed(&[50, 60], 2), [51, 61]);
        assert!(renewed(&[11, 12], 2).is_empty());
    }

    #[test]
    fn guesses_that_were_not_computed_stay() {
        assert_eq!(renewed(&[11, 50, 60], 1), [60]);
        assert_eq!(renewed(&[50, 60, 70], 0), [60, 70]);
    }
}
