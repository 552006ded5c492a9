//! `suffix`: what followed the longest repeated end of the text before, in the prompt, in the output
//! and in earlier texts of the same session.
//!
//! A suffix automaton per sequence key finds the place with the longest common history, however far
//! back, and shorter histories that stood at other places more recently; their continuations are
//! merged into one tree, the longer the history the deeper. A key's texts are shown to no other key.

mod automaton;

use std::collections::HashMap;

use automaton::{Automaton, LONGEST};
use foretoken_core::{TokenId, TreeBuilder};

use super::{
    Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, Room, SequenceKey, Sight,
    hang_chain,
};

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
    /// What is taken in of the present text.
    text: Vec<TokenId>,
}

impl Store {
    /// Goes on with a text: the present one, or one that parts from it, of which only the history of
    /// the parting is taken in again.
    fn resume(&mut self, prompt: &[TokenId]) {
        let shared = self.text.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        if shared < self.text.len() {
            self.automaton.begin_text();
            self.text.truncate(shared.saturating_sub(LONGEST));
        }
    }

    /// Takes in the tokens that are new; at the limit the older half of all is forgotten.
    fn learn(&mut self, text: &[TokenId], capacity: usize) {
        let new = text.get(self.text.len()..).unwrap_or_default();
        for &token in new {
            if self.automaton.len() >= capacity {
                self.automaton.keep(capacity / 2);
            }
            self.automaton.push(token);
        }
        self.text.extend_from_slice(new);
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
            let room = Room { nodes, depth: task.room.depth.min(place.agreeing * TRUST) };
            hang_chain(builder, room, place.agreeing, store.automaton.follow_up(place));
        }
        builder.freeze(&mut task.tree);
    }
}

impl Drafter for SuffixDrafter {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        let new = || Store { automaton: Automaton::new(), text: Vec::new() };
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
