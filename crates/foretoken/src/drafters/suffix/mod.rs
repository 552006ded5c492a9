//! `suffix`: what followed the longest repeated end of the text before, in the prompt, in the output
//! and in earlier texts of the same session.
//!
//! A suffix automaton per sequence key finds the place with the longest common history, however far
//! back, and shorter histories that stood at other places more recently; their continuations are
//! merged into one tree, the longer the history the deeper. A key's texts are shown to no other key.

mod automaton;

use std::collections::HashMap;

use automaton::{Automaton, LONGEST};
use foretoken_core::{BuildId, Role, TokenId, TreeBuilder};

use super::{Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey, Sight};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "suffix",
    summary: "what followed the longest repeated end of the text, also in the session's earlier texts",
    source: "SAM decoding (Hu et al. 2024); SuffixDecoding (Oliaro et al. 2024)",
    needs: Needs::Nothing,
    sight: Sight::Text,
    nodes: 16,
    build: |Parts { ceilings: Ceilings { nodes, .. }, .. }| {
        Ok(Built::new(SuffixDrafter::new(nodes, CAPACITY), nodes))
    },
};

/// Tokens kept per key.
const CAPACITY: usize = 1 << 20;
/// Shortest common history that is worth rows.
const SHORTEST: usize = 2;
/// Places whose continuations are merged.
const BRANCHES: usize = 4;
/// Tokens drafted per token of common history.
const TRUST: usize = 2;

/// The drafter `suffix`.
pub struct SuffixDrafter {
    /// Most nodes of a draft.
    nodes: usize,
    /// Most tokens kept per key.
    capacity: usize,
    stores: HashMap<SequenceKey, Store>,
    builder: TreeBuilder,
}

/// What a key's texts have shown.
struct Store {
    automaton: Automaton,
    /// Index in the present text of the first token that the automaton keeps of it.
    origin: usize,
}

impl Store {
    /// How many tokens of the present text are taken in.
    fn known(&self) -> usize {
        self.origin + self.automaton.newest().len()
    }

    /// Goes on with a text: the present one, or one that parts from it, of which only the history of
    /// the parting is taken in again.
    fn resume(&mut self, prompt: &[TokenId]) {
        let kept = self.automaton.newest();
        let rest = prompt.get(self.origin..).unwrap_or_default();
        let shared = kept.iter().zip(rest).take_while(|(a, b)| a == b).count();
        if shared == kept.len() && shared > 0 {
            return;
        }
        if !kept.is_empty() {
            self.automaton.begin_text();
        }
        self.origin = if shared == 0 { 0 } else { (self.origin + shared).saturating_sub(LONGEST) };
    }

    /// Takes in the tokens that are new; at the limit the older half of all is forgotten.
    fn learn(&mut self, text: &[TokenId], capacity: usize) {
        for &token in text.get(self.known()..).unwrap_or_default() {
            if self.automaton.len() >= capacity {
                let known = self.known();
                self.automaton.keep(capacity / 2);
                self.origin = known - self.automaton.newest().len();
            }
            self.automaton.push(token);
        }
    }
}

impl SuffixDrafter {
    /// A drafter of at most `nodes` nodes per draft that keeps at most `capacity` tokens per key; no
    /// store keeps more than a billion.
    pub fn new(nodes: usize, capacity: usize) -> Self {
        // Twice as many states must have an index of 32 bits.
        let capacity = capacity.min(1_000_000_000);
        Self { nodes, capacity, stores: HashMap::new(), builder: TreeBuilder::new(0) }
    }

    /// Merges what followed the best places into the task's tree.
    fn fill(builder: &mut TreeBuilder, nodes: usize, store: &Store, task: &mut DraftTask) {
        let Some(&root) = task.text.last() else { return };
        let nodes = task.room.nodes.min(nodes);
        builder.reset(root);
        let (mut branches, mut before) = (0, None);
        for place in store.automaton.places() {
            if place.agreeing < SHORTEST || branches == BRANCHES {
                break;
            }
            // Ends of several lengths often stood last at the same place.
            if before.replace(place.next) == Some(place.next) {
                continue;
            }
            branches += 1;
            let length = (place.agreeing * TRUST).min(task.room.depth);
            let mut parent = BuildId::ROOT;
            for token in store.automaton.follow_up(place).take(length) {
                if builder.len() > nodes {
                    break;
                }
                let Ok(child) = builder.push(parent, token, Role::Candidate) else { break };
                parent = child;
            }
        }
        builder.freeze(&mut task.tree);
    }
}

impl Drafter for SuffixDrafter {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        let new = || Store { automaton: Automaton::new(), origin: 0 };
        self.stores.entry(key).or_insert_with(new).resume(prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks.iter_mut().filter(|task| task.room.fits_a_node()) {
            let Some(store) = self.stores.get_mut(&task.key) else { continue };
            store.learn(&task.text, self.capacity);
            Self::fill(&mut self.builder, self.nodes, store, task);
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            if let Some(store) = self.stores.get_mut(&task.key) {
                store.learn(&task.text, self.capacity);
            }
        }
    }

    fn end(&mut self, key: SequenceKey) {
        self.stores.remove(&key);
    }
}

#[cfg(test)]
mod tests;
