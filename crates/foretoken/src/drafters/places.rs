//! From places in texts to a draft: what followed them, merged into one tree.
//!
//! The longest common history comes first and is followed the furthest; among equals what followed more
//! often, and then what its drafter named first. So a place that nothing contradicts yields a chain, and
//! places that part yield branches in the order of their counts.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

use foretoken_core::{BuildId, TokenId, TreeBuilder};

use super::Room;

/// Tokens drafted per token of common history.
const TRUST: usize = 2;

/// How sure a token is that stood behind `agreeing` tokens which the text ends with too: the more, the surer.
/// How sure exactly is learned where it matters.
pub(super) fn surety(agreeing: usize) -> f32 {
    agreeing as f32 / (agreeing as f32 + 2.0)
}

/// Where the end of the text stands already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the token after it.
    pub(super) next: usize,
    /// How many tokens before that agree with the end of the text.
    pub(super) agreeing: usize,
}

impl Place {
    /// The place before token `next` of `text`, where another text ends with `end`; up to `most` tokens are
    /// told apart.
    pub(super) fn before(text: &[TokenId], next: usize, end: &[TokenId], most: usize) -> Self {
        let pairs = text[..next].iter().rev().zip(end.iter().rev()).take(most);
        Self { next, agreeing: pairs.take_while(|(a, b)| a == b).count() }
    }
}

/// How many tokens two texts begin with alike.
pub(crate) fn shared_prefix(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Merges what followed places.
#[derive(Default)]
pub(super) struct Merger {
    /// Those that a branch is about stand side by side.
    seen: Vec<Seen>,
    /// Nodes that the tree may get.
    branches: BinaryHeap<Branch>,
}

/// A place, and how far it is followed.
#[derive(Clone, Copy)]
struct Seen {
    place: Place,
    /// Its index in the order in which places were named.
    order: usize,
    /// What followed it at the depth that is looked at.
    token: TokenId,
}

/// A node below one that is in the tree.
struct Branch {
    /// Longest common history of its places.
    agreeing: usize,
    /// Its places in `seen`.
    places: Range<usize>,
    /// The first of them to be named.
    order: usize,
    /// Their share of the places that were followed to the node above.
    share: f32,
    above: BuildId,
    /// Edges from the root to the node above.
    depth: usize,
    token: TokenId,
}

impl Branch {
    /// The order of merit. No two branches have a place in common, so it is strict.
    fn merit(&self) -> (usize, usize, Reverse<usize>) {
        (self.agreeing, self.places.len(), Reverse(self.order))
    }
}

impl Ord for Branch {
    fn cmp(&self, other: &Self) -> Ordering {
        self.merit().cmp(&other.merit())
    }
}

impl PartialOrd for Branch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Branch {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Branch {}

impl Merger {
    /// Adds what followed the places to a draft as long as there is room. `follow` gives the token so many
    /// tokens behind a place, if there is one.
    pub(super) fn merge(
        &mut self,
        places: impl Iterator<Item = Place>,
        room: Room,
        builder: &mut TreeBuilder,
        follow: impl Fn(Place, usize) -> Option<TokenId>,
    ) {
        self.branches.clear();
        self.seen.clear();
        self.seen.extend(places.enumerate().map(|(order, place)| Seen { place, order, token: 0 }));
        self.part(0..self.seen.len(), BuildId::ROOT, 0, &follow);
        while builder.len() <= room.nodes
            && let Some(best) = self.branches.pop()
        {
            let estimate = best.share * surety(best.agreeing + best.depth);
            let Ok(node) = builder.propose(best.above, best.token, estimate) else { return };
            if best.depth + 1 < room.depth {
                self.part(best.places, node, best.depth + 1, &follow);
            }
        }
    }

    /// Parts places by what followed them at a depth; those that are followed no further drop out.
    fn part(
        &mut self,
        places: Range<usize>,
        above: BuildId,
        depth: usize,
        follow: &impl Fn(Place, usize) -> Option<TokenId>,
    ) {
        let mut end = places.start;
        for index in places.clone() {
            let seen = self.seen[index];
            if depth < TRUST * seen.place.agreeing
                && let Some(token) = follow(seen.place, depth)
            {
                self.seen[end] = Seen { token, ..seen };
                end += 1;
            }
        }
        let seen = &mut self.seen[places.start..end];
        seen.sort_unstable_by_key(|seen| (seen.token, seen.order));
        let mut start = places.start;
        for equal in seen.chunk_by(|a, b| a.token == b.token) {
            let end = start + equal.len();
            self.branches.push(Branch {
                agreeing: equal.iter().map(|seen| seen.place.agreeing).max().unwrap_or(0),
                places: start..end,
                order: equal[0].order,
                share: equal.len() as f32 / seen.len() as f32,
                above,
                depth,
                token: equal[0].token,
            });
            start = end;
        }
    }
}

#[cfg(test)]
mod tests;
