//! Several drafts of one continuation, merged into one tree under a budget.
//!
//! The trees take turns: in each round every tree contributes its next node, in the order in which
//! its drafter proposed them, until the budget is spent. What two trees share is one node and costs
//! once. Which method a tree came from, and how good it is, this module does not know.

use crate::{
    BuildId, DraftTree, MAX_NODES, NodeId, Proposal, Role, TokenId, TreeBuilder, TreeError,
};

/// Merges draft trees; reused, it allocates nothing once it has seen its largest input.
///
/// Children that one drafter sampled stay sampled when no other tree proposes below that parent, as
/// far as the budget reaches; they enter in one turn. Below a parent where several trees propose, all
/// children become point masses. Both are decided without looking at the drawn tokens themselves,
/// which is what keeps `rejection` exact on the merged tree.
#[derive(Debug, Clone)]
pub struct Union {
    builder: TreeBuilder,
    /// Where the nodes of each tree went, tree after tree; `None` for what the budget cut.
    placed: Vec<Option<BuildId>>,
    /// First entry of each tree in `placed`.
    starts: Vec<usize>,
    /// How far each tree has got in its order.
    cursors: Vec<usize>,
    drawn: Vec<TokenId>,
}

impl Default for Union {
    fn default() -> Self {
        Self {
            builder: TreeBuilder::new(0),
            placed: Vec::new(),
            starts: Vec::new(),
            cursors: Vec::new(),
            drawn: Vec::new(),
        }
    }
}

impl Union {
    /// Writes the union of `trees` over `out`: at most `budget` nodes besides the root, and at most
    /// [`MAX_NODES`] with it. All trees must have the same root token.
    pub fn merge(
        &mut self,
        trees: &[&DraftTree],
        budget: usize,
        out: &mut DraftTree,
    ) -> Result<(), TreeError> {
        let root = trees.first().ok_or(TreeError::NoRoot)?.token(0);
        if let Some(other) = trees.iter().find(|tree| tree.token(0) != root) {
            return Err(TreeError::RootsDiffer(root, other.token(0)));
        }
        let limit = budget.min(MAX_NODES - 1) + 1;
        self.start(root, trees);
        let mut active = true;
        while active && self.builder.len() < limit {
            active = false;
            for tree in 0..trees.len() {
                active |= self.take_turn(trees, tree, limit)?;
            }
        }
        self.builder.freeze(out);
        Ok(())
    }

    /// The node of the merged tree that a node of the `tree`-th input became; `None` when the budget
    /// cut it.
    pub fn node(&self, tree: usize, node: NodeId) -> Option<NodeId> {
        let placed = self.placed.get(self.starts.get(tree)? + node).copied().flatten()?;
        self.builder.node(placed).ok()
    }

    fn start(&mut self, root: TokenId, trees: &[&DraftTree]) {
        self.builder.reset(root);
        self.placed.clear();
        self.starts.clear();
        for tree in trees {
            self.starts.push(self.placed.len());
            self.placed.push(Some(BuildId::ROOT));
            self.placed.resize(self.placed.len() + tree.len() - 1, None);
        }
        self.cursors.clear();
        self.cursors.resize(trees.len(), 1);
    }

    /// Adds the next node of a tree, or the next sampled family; false when the tree has none left.
    ///
    /// Nodes that another tree brought already cost no turn.
    fn take_turn(
        &mut self,
        trees: &[&DraftTree],
        turn: usize,
        limit: usize,
    ) -> Result<bool, TreeError> {
        let tree = trees[turn];
        let before = self.builder.len();
        while self.builder.len() == before && before < limit {
            let Some(node) = tree.order().nth(self.cursors[turn]) else { return Ok(false) };
            self.cursors[turn] += 1;
            let start = self.starts[turn];
            let parent = tree.parent(node).unwrap_or(0);
            let (None, Some(above)) = (self.placed[start + node], self.placed[start + parent])
            else {
                continue;
            };
            match tree.proposal(parent) {
                Proposal::Sampled(q)
                    if tree.role(node) == Role::Candidate && !is_shared(trees, turn, parent) =>
                {
                    let drawn = tree.candidate_children(parent).take(limit - before);
                    self.drawn.clear();
                    self.drawn.extend(drawn.clone().map(|child| tree.token(child)));
                    let ids = self.builder.push_sampled(above, q.iter().copied(), &self.drawn)?;
                    for (child, id) in drawn.zip(ids) {
                        self.placed[start + child] = Some(id);
                    }
                }
                _ => {
                    let id = self.builder.push(above, tree.token(node), tree.role(node))?;
                    self.placed[start + node] = Some(id);
                }
            }
        }
        Ok(true)
    }
}

/// Whether another tree than the `of`-th has children, of any role, below the same text as its `node`.
fn is_shared(trees: &[&DraftTree], of: usize, node: NodeId) -> bool {
    trees.iter().enumerate().any(|(i, other)| {
        let has_children = |twin| other.children(twin).next().is_some();
        i != of && twin(trees[of], other, node).is_some_and(has_children)
    })
}

/// The node of `other` that ends the same text as `node` does in `tree`.
fn twin(tree: &DraftTree, other: &DraftTree, node: NodeId) -> Option<NodeId> {
    let Some(parent) = tree.parent(node) else { return Some(0) };
    let above = twin(tree, other, parent)?;
    other.children(above).find(|&child| other.token(child) == tree.token(node))
}

#[cfg(test)]
mod tests;
