//! `lookup`: what followed the last tokens before, in the prompt or in the output (prompt lookup).
//!
//! An index of token pairs finds the earlier places where the text's last two tokens stood. The
//! places with the longest common history win, the most recent first among equals, and their
//! continuations are merged into one tree. Memory is eight bytes and a table entry per token of the
//! text; a proposal looks at a bounded number of places.

use std::collections::HashMap;

use foretoken_core::{TokenId, TreeBuilder};

use super::{
    Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, Room, SequenceKey, Sight,
    hang_chain,
};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "lookup",
    summary: "what followed the last tokens earlier in the prompt and the output",
    source: "prompt lookup decoding (Saxena 2023); LLMA (Yang et al. 2023)",
    needs: Needs::Nothing,
    sight: Sight::Text,
    nodes: 8,
    build: |Parts { ceilings: Ceilings { nodes, .. }, .. }| {
        let (sequences, found, builder) = (HashMap::new(), Vec::new(), TreeBuilder::new(0));
        Ok(Built::new(Lookup { nodes, sequences, found, builder }, nodes))
    },
};

/// Earlier places looked at per proposal.
const PLACES: usize = 64;
/// Places whose continuations are merged.
const BRANCHES: usize = 4;
/// Tokens of common history that are told apart.
const HISTORY: usize = 16;
/// Tokens drafted per token of common history.
const TRUST: usize = 2;
const NOWHERE: u32 = u32::MAX;

struct Lookup {
    /// Most nodes of a draft.
    nodes: usize,
    sequences: HashMap<SequenceKey, PairIndex>,
    found: Vec<Place>,
    builder: TreeBuilder,
}

/// Where each pair of neighbouring tokens stands in a text.
#[derive(Default)]
struct PairIndex {
    /// Index of the second token of the newest occurrence.
    newest: HashMap<(TokenId, TokenId), u32>,
    /// By index of the second token: the occurrence before it.
    earlier: Vec<u32>,
}

/// An earlier place where the text's last tokens stand.
#[derive(Clone, Copy)]
struct Place {
    /// Index of the token after them.
    next: usize,
    /// How many tokens before it agree with the end of the text.
    agreeing: usize,
}

impl PairIndex {
    /// Takes in the tokens before the last, which would only find itself.
    fn extend(&mut self, text: &[TokenId]) {
        for index in self.earlier.len()..text.len().saturating_sub(1) {
            let before = index
                .checked_sub(1)
                .and_then(|first| self.newest.insert((text[first], text[index]), index as u32));
            self.earlier.push(before.unwrap_or(NOWHERE));
        }
    }

    /// The places that agree with the end of the text, best first.
    fn find(&self, text: &[TokenId], found: &mut Vec<Place>) {
        found.clear();
        let [.., second_last, last] = *text else { return };
        let mut at = self.newest.get(&(second_last, last)).copied().unwrap_or(NOWHERE);
        while at != NOWHERE && found.len() < PLACES {
            let next = at as usize + 1;
            let pairs = text[..next].iter().rev().zip(text.iter().rev()).take(HISTORY);
            let agreeing = pairs.take_while(|(a, b)| a == b).count();
            found.push(Place { next, agreeing });
            at = self.earlier[at as usize];
        }
        // A stable sort keeps the most recent first among equals.
        found.sort_by_key(|place| std::cmp::Reverse(place.agreeing));
    }
}

impl Lookup {
    /// Merges the best places' continuations into the task's tree.
    fn fill(&mut self, task: &mut DraftTask) {
        let Some(&root) = task.text.last() else { return };
        let nodes = task.room.nodes.min(self.nodes);
        self.builder.reset(root);
        for place in self.found.iter().take(BRANCHES) {
            let room = Room { nodes, depth: task.room.depth.min(place.agreeing * TRUST) };
            hang_chain(
                &mut self.builder,
                room,
                place.agreeing,
                task.text[place.next..].iter().copied(),
            );
        }
        self.builder.freeze(&mut task.tree);
    }
}

impl Drafter for Lookup {
    fn begin(&mut self, key: SequenceKey, _: &[TokenId]) {
        self.sequences.insert(key, PairIndex::default());
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks.iter_mut().filter(|task| task.room.fits_a_node()) {
            let Some(index) = self.sequences.get_mut(&task.key) else { continue };
            index.extend(&task.text);
            index.find(&task.text, &mut self.found);
            self.fill(task);
        }
    }

    fn observe(&mut self, _: &[DraftTask]) {}

    fn end(&mut self, key: SequenceKey) {
        self.sequences.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use foretoken_core::{Noise, Rule, Sampler, SamplingParams};

    use super::*;

    /// What is proposed after a text: the tree's tokens and parents, in preorder.
    fn propose(text: &[TokenId], nodes: usize, depth: usize) -> Vec<(TokenId, Option<usize>)> {
        let (builder, sequences) = (TreeBuilder::new(0), HashMap::new());
        let mut lookup = Lookup { nodes: 64, sequences, found: Vec::new(), builder };
        let key = SequenceKey(1);
        lookup.begin(key, text);
        let noise = Noise { seed: 0, choice: 0 };
        let sampler = Sampler::new(SamplingParams::default(), noise, 100).unwrap();
        let task = DraftTask::new(key, text.to_vec(), sampler, Rule::default());
        let mut tasks = [DraftTask { room: Room { nodes, depth }, ..task }];
        lookup.propose(&mut tasks);
        let tree = &tasks[0].tree;
        (1..tree.len()).map(|node| (tree.token(node), tree.parent(node))).collect()
    }

    #[test]
    fn what_followed_the_last_pair_is_proposed_and_trusted_by_the_common_history() {
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2];
        let chain = |tokens: &[TokenId]| -> Vec<_> {
            tokens.iter().copied().zip((0..).map(Some)).collect()
        };
        assert_eq!(propose(&text, 9, 9), chain(&[3, 4, 5, 6]));
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3];
        assert_eq!(propose(&text, 9, 9), chain(&[4, 5, 6, 7, 8, 9]));
        assert_eq!(propose(&text, 9, 2), chain(&[4, 5]));
        assert_eq!(propose(&text, 3, 9), chain(&[4, 5, 6]));
        assert_eq!(propose(&[1, 2, 3, 1], 9, 9), []);
        assert_eq!(propose(&[1], 9, 9), []);
    }

    #[test]
    fn longer_histories_come_first_and_the_most_recent_among_equals() {
        // After 5 1 2 came 11, after 6 1 2 came 12, after 7 1 2 came 13.
        let text = [5, 1, 2, 11, 6, 1, 2, 12, 7, 1, 2, 13, 0, 1, 2];
        let children = |text: &[TokenId]| -> Vec<TokenId> {
            let all = propose(text, 9, 1);
            all.into_iter().map(|(token, _)| token).collect()
        };
        assert_eq!(children(&text), [13, 12, 11]);
        let text = [5, 1, 2, 11, 6, 1, 2, 12, 7, 1, 2, 13, 5, 1, 2];
        assert_eq!(children(&text), [11, 13, 12]);
    }
}
