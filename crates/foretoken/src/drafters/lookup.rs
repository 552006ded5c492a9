//! `lookup`: what followed the last tokens before, in the prompt or in the output (prompt lookup).
//!
//! An index of token pairs finds the earlier places where the text's last two tokens stood. The
//! places with the longest common history win, the most recent first among equals, and their
//! continuations are merged into one tree. Memory is eight bytes and a table entry per token of the
//! text; a proposal looks at a bounded number of places.

use std::collections::HashMap;

use foretoken_core::{BuildId, Role, TokenId, TreeBuilder};

use super::{DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey};
use crate::DraftOptions;

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "lookup",
    summary: "what followed the last tokens earlier in the prompt and the output",
    source: "prompt lookup decoding (Saxena 2023); LLMA (Yang et al. 2023)",
    needs: Needs::Nothing,
    build: |Parts { options, .. }| {
        Ok(Box::new(Lookup {
            options,
            sequences: HashMap::new(),
            found: Vec::new(),
            builder: TreeBuilder::new(0),
        }))
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
    options: DraftOptions,
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
        let nodes = task.room.nodes.min(self.options.tokens);
        self.builder.reset(root);
        for place in self.found.iter().take(BRANCHES) {
            let length = (place.agreeing * TRUST).min(task.room.depth);
            let mut parent = BuildId::ROOT;
            for &token in task.text[place.next..].iter().take(length) {
                if self.builder.len() > nodes {
                    break;
                }
                let Ok(child) = self.builder.push(parent, token, Role::Candidate) else { break };
                parent = child;
            }
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
