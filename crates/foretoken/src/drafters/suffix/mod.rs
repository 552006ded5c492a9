//! `suffix`: what followed the longest repeated end of the text before, in the prompt, in the output
//! and in earlier texts of the same session.
//!
//! A suffix automaton per sequence key finds the place with the longest common history, however far
//! back, and shorter histories that stood at other places more recently; their continuations are
//! merged into one tree, the longer the history the deeper. A key's texts are shown to no other key.
//! Beside them a static corpus may be searched, which all keys share.

mod automaton;
mod corpus;

use std::collections::HashMap;

use automaton::{Automaton, LONGEST};
use foretoken_core::{TokenId, TreeBuilder};
use foretoken_model::CorpusIndex;

use super::places::{Merger, Place, shared_prefix};
use super::{
    Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, Room, SequenceKey, Sight,
};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "suffix",
    summary: "what followed the longest repeated end of the text, also in the session's earlier texts",
    source: "SAM decoding (Hu et al. 2024); SuffixDecoding (Oliaro et al. 2024); REST (He et al. 2024)",
    needs: Needs::Nothing,
    sight: Sight::TEXT,
    nodes: 16,
    build: |Parts { ceilings: Ceilings { nodes, .. }, suffix_corpus, tokenizer, vocab, .. }| {
        let open = |file| CorpusIndex::open(file, tokenizer, vocab);
        let corpus = suffix_corpus.map(open).transpose()?;
        Ok(Built::new(SuffixDrafter { corpus, ..SuffixDrafter::new(nodes, CAPACITY) }, nodes))
    },
};

/// Tokens kept per key.
const CAPACITY: usize = 1 << 20;
/// Shortest common history that is worth rows.
const SHORTEST: usize = 2;
/// Places whose continuations are merged.
const BRANCHES: usize = 4;

/// The drafter `suffix`.
pub struct SuffixDrafter {
    /// Most nodes of a draft.
    nodes: usize,
    /// Most tokens kept per key.
    capacity: usize,
    stores: HashMap<SequenceKey, Store>,
    /// What is searched besides.
    corpus: Option<CorpusIndex>,
    /// What it has to say.
    quoted: Vec<Place>,
    merger: Merger,
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
        let shared = shared_prefix(&self.text, prompt);
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
        Self {
            nodes,
            capacity,
            stores: HashMap::new(),
            corpus: None,
            quoted: Vec::new(),
            merger: Merger::default(),
            builder: TreeBuilder::new(0),
        }
    }

    /// The same with a corpus to search besides.
    #[must_use]
    pub fn with_corpus(self, corpus: CorpusIndex) -> Self {
        Self { corpus: Some(corpus), ..self }
    }

    /// Merges what followed the best places into the task's tree.
    fn fill(&mut self, task: &mut DraftTask) {
        let Self { nodes, stores, corpus, quoted, merger, builder, .. } = self;
        let Some(Store { automaton, .. }) = stores.get(&task.key) else { return };
        let room = Room { nodes: task.room.nodes.min(*nodes), ..task.room };
        builder.reset(task.tree.token(0));
        quoted.clear();
        quoted.extend(corpus.iter().flat_map(|corpus| corpus::places(corpus, &task.text)));
        let own = || automaton.places().take_while(|place| place.agreeing >= SHORTEST);
        let agreeing = |place: Option<Place>| place.map_or(0, |place| place.agreeing);
        let quotes = agreeing(quoted.first().copied()) > agreeing(own().next());
        // The surer of the two goes first; the other gets the room that is left.
        for is_quote in [quotes, !quotes] {
            if is_quote {
                let follow = |place: Place, depth| corpus.as_ref()?.token(place.next + depth);
                merger.merge(quoted.iter().copied(), room, builder, follow);
            } else {
                // Ends of several lengths often stood last at the same place.
                let mut before = None;
                let apart = |place: &Place| before.replace(place.next) != Some(place.next);
                let places = own().filter(apart).take(BRANCHES);
                let follow = |place, depth| automaton.follow_up(place, depth);
                merger.merge(places, room, builder, follow);
            }
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
            self.fill(task);
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
