//! `lookup`: what followed the last tokens before, in the prompt or in the output (prompt lookup).
//!
//! An index of token pairs finds the earlier places where the text's last two tokens stood. The
//! places with the longest common history win, among equals what followed more often, and the
//! continuations are merged into one tree. Memory has a limit; a proposal looks at a bounded number
//! of places.

use std::collections::HashMap;

use foretoken_core::{TokenId, TreeBuilder};

use super::places::{Merger, Place};
use super::{
    Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, Room, SequenceKey, Sight,
};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "lookup",
    summary: "what followed the last tokens earlier in the prompt and the output",
    source: "prompt lookup decoding (Saxena 2023); LLMA (Yang et al. 2023)",
    needs: Needs::Nothing,
    sight: Sight::TEXT,
    nodes: 8,
    build: |Parts { ceilings: Ceilings { nodes, .. }, .. }| {
        Ok(Built::new(LookupDrafter::new(nodes, CAPACITY), nodes))
    },
};

/// Tokens indexed per key.
const CAPACITY: usize = 1 << 20;
/// Earlier places looked at per proposal.
const PLACES: usize = 64;
/// Tokens of common history that are told apart.
const HISTORY: usize = 16;
const NOWHERE: u32 = u32::MAX;

/// The drafter `lookup`.
pub struct LookupDrafter {
    /// Most nodes of a draft.
    nodes: usize,
    /// Most tokens indexed per key.
    capacity: usize,
    sequences: HashMap<SequenceKey, PairIndex>,
    found: Vec<Place>,
    merger: Merger,
    builder: TreeBuilder,
}

/// Where each pair of neighbouring tokens stands in a text.
#[derive(Default)]
struct PairIndex {
    /// Index of the first token that is kept.
    start: usize,
    /// Index of the second token of the newest occurrence.
    newest: HashMap<(TokenId, TokenId), u32>,
    /// By index of the second token, counted from `start`: the occurrence before it.
    earlier: Vec<u32>,
    /// Where the best place of the last proposal was, and the length of the text.
    followed: Option<(usize, usize)>,
}

impl PairIndex {
    /// Takes in the tokens before the last, which would only find itself. At the limit the older half is
    /// forgotten.
    fn extend(&mut self, text: &[TokenId], capacity: usize) {
        let end = text.len().saturating_sub(1);
        if end - self.start > capacity {
            *self = Self { start: end - capacity / 2, followed: self.followed, ..Self::default() };
        }
        for index in self.start + self.earlier.len()..end {
            let before = (index > self.start)
                .then(|| self.newest.insert((text[index - 1], text[index]), index as u32));
            self.earlier.push(before.flatten().unwrap_or(NOWHERE));
        }
    }

    /// The places that agree with the end of the text: first the one that the text follows already, however
    /// many places its last pair has had since, then the most recent ones.
    fn find(&mut self, text: &[TokenId], found: &mut Vec<Place>) {
        found.clear();
        let [.., second_last, last] = *text else { return };
        let place = |next| Place::before(text, next, text, HISTORY);
        let followed = self.followed.map(|(next, length)| next + (text.len() - length));
        found.extend(followed.map(place).filter(|place| place.agreeing > 1));
        let mut at = self.newest.get(&(second_last, last)).copied().unwrap_or(NOWHERE);
        while at != NOWHERE && found.len() < PLACES {
            let next = at as usize + 1;
            if Some(next) != followed {
                found.push(place(next));
            }
            at = self.earlier[at as usize - self.start];
        }
        // The last of the largest is the first by `rev`.
        let best = found.iter().rev().max_by_key(|place| place.agreeing);
        self.followed = best.map(|place| (place.next, text.len()));
    }
}

impl LookupDrafter {
    /// A drafter of at most `nodes` nodes per draft that indexes at most `capacity` tokens per key.
    pub fn new(nodes: usize, capacity: usize) -> Self {
        let (found, merger, builder) = (Vec::new(), Merger::default(), TreeBuilder::new(0));
        Self { nodes, capacity, sequences: HashMap::new(), found, merger, builder }
    }
}

impl Drafter for LookupDrafter {
    fn begin(&mut self, key: SequenceKey, _: &[TokenId]) {
        self.sequences.insert(key, PairIndex::default());
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let Self { nodes, capacity, sequences, found, merger, builder } = self;
        for task in tasks.iter_mut().filter(|task| task.room.fits_a_node()) {
            let Some(index) = sequences.get_mut(&task.key) else { continue };
            index.extend(&task.text, *capacity);
            index.find(&task.text, found);
            let room = Room { nodes: task.room.nodes.min(*nodes), ..task.room };
            builder.reset(task.tree.token(0));
            merger.merge(found.iter().copied(), room, builder, |place, depth| {
                task.text.get(place.next + depth).copied()
            });
            builder.freeze(&mut task.tree);
        }
    }

    fn observe(&mut self, _: &[DraftTask]) {}

    fn end(&mut self, key: SequenceKey) {
        self.sequences.remove(&key);
    }
}

#[cfg(test)]
mod tests;
