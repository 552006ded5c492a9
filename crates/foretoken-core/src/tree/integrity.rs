//! The laws of a stored tree, checked one by one. Tests and debugging call it; nothing else needs to.

use super::{DraftTree, Proposal, Role, TreeError, probability};
use crate::NodeId;

impl DraftTree {
    /// Checks every law of the tree; the first one found broken is named.
    pub fn check_integrity(&self) -> Result<(), TreeError> {
        self.check_ranges()?;
        (0..self.len()).try_for_each(|node| self.check_children(node))?;
        self.check_order()
    }

    /// The laws of preorder: each range `node..subtree_end` is exactly the node's subtree.
    ///
    /// Every subtree lies in its parent's range, so it suffices that ranges are as long as subtrees
    /// are large.
    fn check_ranges(&self) -> Result<(), TreeError> {
        let mut sizes = vec![1; self.len()];
        for node in (0..self.len()).rev() {
            let ensure = |holds, law| ensure(holds, node, law);
            ensure(self.subtree_end(node) == node + sizes[node], "a range is its subtree's size")?;
            let Some(parent) = self.parent(node) else {
                ensure(node == 0 && self.depth(0) == 0, "only the root has no parent")?;
                ensure(self.role(0) == Role::Candidate, "the root is a candidate")?;
                continue;
            };
            ensure(parent < node, "a parent precedes its children")?;
            ensure(self.subtree_end(node) <= self.subtree_end(parent), "subtrees nest")?;
            ensure(self.depth(node) == self.depth(parent) + 1, "a child is one deeper")?;
            sizes[parent] += sizes[node];
        }
        Ok(())
    }

    fn check_children(&self, node: NodeId) -> Result<(), TreeError> {
        let ensure = |holds, law| ensure(holds, node, law);
        for child in self.children(node) {
            let twin = self.children(node).find(|&c| self.token(c) == self.token(child));
            ensure(twin == Some(child), "siblings carry different tokens")?;
            let below_probe = self.role(node) == Role::Probe;
            let is_candidate = self.role(child) == Role::Candidate;
            ensure(!(below_probe && is_candidate), "no candidate hangs below a probe")?;
        }
        if let Proposal::Sampled(q) = self.proposal(node) {
            let mut drawn = self.candidate_children(node).map(|child| self.token(child)).peekable();
            ensure(drawn.peek().is_some(), "a sampled proposal has children")?;
            ensure(drawn.all(|token| probability(q, token) > 0.0), "what is drawn is possible")?;
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), TreeError> {
        let mut proposed = vec![false; self.len()];
        for node in self.order() {
            let after_parent = self.parent(node).is_none_or(|parent| proposed[parent]);
            ensure(after_parent, node, "a node is proposed after its parent")?;
            ensure(!proposed[node], node, "a node is proposed once")?;
            proposed[node] = true;
        }
        let missing = proposed.iter().position(|&proposed| !proposed);
        ensure(missing.is_none(), missing.unwrap_or(0), "every node is in the order")
    }
}

fn ensure(holds: bool, node: NodeId, law: &'static str) -> Result<(), TreeError> {
    if holds { Ok(()) } else { Err(TreeError::Broken { node, law }) }
}
