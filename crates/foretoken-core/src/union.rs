//! Several drafts of one continuation, merged into one tree under a budget.
//!
//! The budget goes to the nodes that are most likely to become text. A node's value is the probability
//! of its whole path: the value of the node above it in the merged tree, times its own estimate. The
//! best node whose parent is placed comes next, of equals the one that its drafter proposed earlier. A
//! node that several trees propose is one node, costs once, and has the best of their values. Trees
//! without estimates take turns, node by node. Which method a tree came from this module does not know.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::{
    BuildId, DraftTree, MAX_NODES, NodeId, Proposal, Role, TokenId, TreeBuilder, TreeError,
};

/// The value of a probe: what it is expected to earn later, in tokens. It earns nothing in this step, so
/// candidates that are likelier come first; what is hardly ever right leaves its rows to those who learn
/// from them.
///
/// Windows of `lookahead` make its steps longer by 0.003 to 0.02 tokens per probe (`docs/lookahead.md`).
const PROBE: f32 = 0.01;

/// Merges draft trees; reused, it allocates nothing once it has seen its largest input.
///
/// Children that one drafter sampled stay sampled when no other tree proposes below that parent, as
/// far as the budget reaches: they enter together, with the value of their parent. Below a parent where
/// several trees propose, all children become point masses. A tree with sampled children is taken in
/// the order in which it was proposed, one node after the other. So neither whether children enter nor
/// how many depends on which tokens were drawn, there or later, which is what keeps `rejection` exact
/// on the merged tree.
#[derive(Debug, Clone)]
pub struct Union {
    builder: TreeBuilder,
    offers: BinaryHeap<Offer>,
    sources: Vec<Source>,
    /// By node of each tree, tree after tree.
    places: Vec<Place>,
    drawn: Vec<TokenId>,
}

/// A tree to be merged.
#[derive(Debug, Clone, Copy)]
struct Source {
    /// First entry of its nodes in `places`.
    start: usize,
    /// The newest node that is offered, at first the root, if it is taken in order.
    offered: Option<NodeId>,
}

/// What became of a node.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where it went; `None` for what the budget cut.
    id: Option<BuildId>,
    /// Its value there.
    value: f32,
    /// Its place in its tree's order.
    turn: usize,
}

/// A node whose parent is placed; the greatest is the next.
#[derive(Debug, Clone, Copy)]
struct Offer {
    value: f32,
    turn: usize,
    tree: usize,
    node: NodeId,
}

impl Ord for Offer {
    fn cmp(&self, other: &Self) -> Ordering {
        let earlier = || (other.turn, other.tree).cmp(&(self.turn, self.tree));
        self.value.total_cmp(&other.value).then_with(earlier)
    }
}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Offer {}

impl Default for Union {
    fn default() -> Self {
        Self {
            builder: TreeBuilder::new(0),
            offers: BinaryHeap::new(),
            sources: Vec::new(),
            places: Vec::new(),
            drawn: Vec::new(),
        }
    }
}

impl Union {
    /// Writes the union of `trees` over `out`: at most `budget` nodes besides the root, and at most
    /// [`MAX_NODES`] with it. All trees must have the same root token. A node without an estimate counts
    /// as certain. Nodes of the union have none but what q says of those that stay drawn.
    pub fn merge(
        &mut self,
        trees: &[DraftTree],
        budget: usize,
        out: &mut DraftTree,
    ) -> Result<(), TreeError> {
        let root = trees.first().ok_or(TreeError::NoRoot)?.token(0);
        if let Some(other) = trees.iter().find(|tree| tree.token(0) != root) {
            return Err(TreeError::RootsDiffer(root, other.token(0)));
        }
        let limit = budget.min(MAX_NODES - 1) + 1;
        self.start(root, trees);
        while self.builder.len() < limit
            && let Some(offer) = self.offers.pop()
        {
            self.take(trees, offer, limit)?;
            self.offer_in_order(trees);
        }
        self.builder.freeze(out);
        Ok(())
    }

    /// The node of the merged tree that a node of the `tree`-th input became; `None` when the budget
    /// cut it.
    pub fn node(&self, tree: usize, node: NodeId) -> Option<NodeId> {
        let place = self.places.get(self.sources.get(tree)?.start + node)?;
        self.builder.node(place.id?).ok()
    }

    fn start(&mut self, root: TokenId, trees: &[DraftTree]) {
        self.builder.reset(root);
        self.offers.clear();
        self.sources.clear();
        self.places.clear();
        for tree in trees {
            let sampled = |node| matches!(tree.proposal(node), Proposal::Sampled(_));
            let offered = (0..tree.len()).any(sampled).then_some(0);
            let start = self.places.len();
            self.sources.push(Source { start, offered });
            self.places.resize(start + tree.len(), Place { id: None, value: 0.0, turn: 0 });
            for (turn, node) in tree.order().enumerate() {
                self.places[start + node].turn = turn;
            }
        }
        // How many are offered at once depends on more than the trees' sizes.
        self.offers.reserve(self.places.len());
        self.settle(trees, (0, 0), BuildId::ROOT, 1.0);
        self.offer_in_order(trees);
    }

    /// Adds what was offered, unless another tree has brought it already.
    fn take(&mut self, trees: &[DraftTree], offer: Offer, limit: usize) -> Result<(), TreeError> {
        let Offer { value, tree: of, node, .. } = offer;
        let (tree, start) = (&trees[of], self.sources[of].start);
        let parent = tree.parent(node).unwrap_or(0);
        let (None, Some(above)) = (self.places[start + node].id, self.places[start + parent].id)
        else {
            return Ok(());
        };
        let Some(q) = sampled_alone(trees, of, node) else {
            let id = self.builder.push(above, tree.token(node), role(trees, of, node))?;
            self.settle(trees, (of, node), id, value);
            return Ok(());
        };
        let drawn = tree.candidate_children(parent).take(limit - self.builder.len());
        self.drawn.clear();
        self.drawn.extend(drawn.clone().map(|child| tree.token(child)));
        let ids = self.builder.push_sampled(above, q.iter().copied(), &self.drawn)?;
        for (child, id) in drawn.zip(ids) {
            self.settle(trees, (of, child), id, value * estimate(tree, child));
        }
        Ok(())
    }

    /// Notes where a text went in all trees that have it, and offers what they propose below it.
    fn settle(
        &mut self,
        trees: &[DraftTree],
        (of, node): (usize, NodeId),
        id: BuildId,
        value: f32,
    ) {
        for (index, tree) in trees.iter().enumerate() {
            let Some(same) = twin(&trees[of], tree, node) else { continue };
            let Source { start, offered } = self.sources[index];
            let place = &mut self.places[start + same];
            (place.id, place.value) = (Some(id), value);
            if offered.is_none() {
                for child in tree.children(same) {
                    self.offer(trees, index, child);
                }
            }
        }
    }

    /// Offers the next node of every tree that is taken in order and waits for none, whoever brought the
    /// one before.
    fn offer_in_order(&mut self, trees: &[DraftTree]) {
        for (index, tree) in trees.iter().enumerate() {
            let Source { start, offered: Some(newest) } = self.sources[index] else { continue };
            let is_waiting = |node: NodeId| self.places[start + node].id.is_none();
            if is_waiting(newest) {
                continue;
            }
            let mut later = tree.order().skip(self.places[start + newest].turn + 1);
            if let Some(node) = later.find(|&node| is_waiting(node)) {
                self.sources[index].offered = Some(node);
                self.offer(trees, index, node);
            }
        }
    }

    /// Offers a node whose parent is placed.
    fn offer(&mut self, trees: &[DraftTree], index: usize, node: NodeId) {
        let (tree, start) = (&trees[index], self.sources[index].start);
        let above = self.places[start + tree.parent(node).unwrap_or(0)].value;
        let value = match tree.role(node) {
            Role::Probe => above.min(PROBE),
            Role::Candidate if sampled_alone(trees, index, node).is_some() => above,
            Role::Candidate => above * estimate(tree, node),
        };
        let turn = self.places[start + node].turn;
        self.offers.push(Offer { value, turn, tree: index, node });
    }
}

/// What a node counts as.
fn estimate(tree: &DraftTree, node: NodeId) -> f32 {
    tree.estimate(node).unwrap_or(1.0)
}

/// A candidate where any tree proposes the text of a node as one: a candidate is never below a probe, so
/// all above it are candidates too.
fn role(trees: &[DraftTree], of: usize, node: NodeId) -> Role {
    let tree = &trees[of];
    let is_candidate = |other: &DraftTree| {
        twin(tree, other, node).is_some_and(|same| other.role(same) == Role::Candidate)
    };
    if tree.role(node) == Role::Candidate || trees.iter().any(is_candidate) {
        Role::Candidate
    } else {
        Role::Probe
    }
}

/// The distribution that a candidate was drawn from, where no other tree than the `of`-th has children,
/// of any role, below the same text as its parent.
fn sampled_alone(trees: &[DraftTree], of: usize, node: NodeId) -> Option<&[(TokenId, f64)]> {
    let tree = &trees[of];
    let (q, parent) = (tree.drawn_from(node)?, tree.parent(node)?);
    let is_shared = trees.iter().enumerate().any(|(index, other)| {
        let has_children = |same| other.children(same).next().is_some();
        index != of && twin(tree, other, parent).is_some_and(has_children)
    });
    (!is_shared).then_some(q)
}

/// The node of `other` that ends the same text as `node` does in `tree`.
fn twin(tree: &DraftTree, other: &DraftTree, node: NodeId) -> Option<NodeId> {
    let Some(parent) = tree.parent(node) else { return Some(0) };
    let above = twin(tree, other, parent)?;
    other.child_with_token(above, tree.token(node))
}

#[cfg(test)]
mod tests;
