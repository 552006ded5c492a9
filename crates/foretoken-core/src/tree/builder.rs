//! Growing a tree in the order in which a drafter finds its nodes.

use super::{DraftTree, MAX_NODES, NO_NODE, Role, Span, TreeError, bounded, probability};
use crate::{NodeId, TokenId};

/// A node of the tree being built; [`TreeBuilder::node`] tells which node of the frozen tree it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BuildId(u32);

impl BuildId {
    /// The root of every tree.
    pub const ROOT: Self = Self(0);
}

/// Grows a tree in any order in which parents come before children, then freezes it in preorder.
///
/// The order of pushing is kept as the order of merit ([`DraftTree::order`]). A builder is reused by
/// [`reset`](Self::reset) and allocates nothing once it has seen its largest tree.
#[derive(Debug, Clone)]
pub struct TreeBuilder {
    nodes: Vec<Growing>,
    weights: Vec<(TokenId, f64)>,
    /// Frozen node by build id, as of the last freeze.
    frozen: Vec<u32>,
}

/// Children are a linked list in the order of pushing.
#[derive(Debug, Clone, Copy)]
struct Growing {
    token: TokenId,
    role: Role,
    estimate: Option<f32>,
    parent: u32,
    first_child: u32,
    last_child: u32,
    next_sibling: u32,
    /// The q of the children in `weights`; empty for point masses.
    span: Span,
}

impl TreeBuilder {
    /// A tree of the root alone.
    pub fn new(root: TokenId) -> Self {
        let mut builder = Self { nodes: Vec::new(), weights: Vec::new(), frozen: Vec::new() };
        builder.reset(root);
        builder
    }

    /// Starts a new tree; all build ids but [`BuildId::ROOT`] become invalid.
    pub fn reset(&mut self, root: TokenId) {
        self.nodes.clear();
        self.weights.clear();
        self.frozen.clear();
        self.add(NO_NODE, root, Role::Candidate);
    }

    /// Number of nodes so far, the root included.
    #[expect(clippy::len_without_is_empty, reason = "a tree has a root and is never empty")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a child to `parent` and returns it.
    ///
    /// Equal siblings are one node, a candidate when either is. A candidate pushed after
    /// [`push_sampled`](Self::push_sampled) on the same parent turns the children into point masses,
    /// whether or not it repeats one of them.
    pub fn push(
        &mut self,
        parent: BuildId,
        token: TokenId,
        role: Role,
    ) -> Result<BuildId, TreeError> {
        let above = self.get(parent)?;
        if role == Role::Candidate {
            if above.role == Role::Probe {
                return Err(TreeError::BelowProbe(token));
            }
            // Whether the drawn tokens count as drawn must not depend on which tokens they are.
            self.nodes[parent.0 as usize].span = Span::default();
        }
        let twin = self.children(parent.0).find(|&child| self.nodes[child as usize].token == token);
        if let Some(child) = twin {
            if role == Role::Candidate {
                self.nodes[child as usize].role = role;
            }
            return Ok(BuildId(child));
        }
        if self.len() == MAX_NODES {
            return Err(TreeError::Full);
        }
        Ok(self.add(parent.0, token, role))
    }

    /// Adds a candidate as [`push`](Self::push) does, with the drafter's estimate, from 0 to 1, that it is
    /// accepted if its parent is.
    ///
    /// Estimates need a right order more than a right size: where drafts are merged they are calibrated by
    /// what was accepted. One above 1 counts as 1, one that is no number as 0. A candidate pushed twice
    /// keeps the larger one.
    pub fn propose(
        &mut self,
        parent: BuildId,
        token: TokenId,
        estimate: f32,
    ) -> Result<BuildId, TreeError> {
        let id = self.push(parent, token, Role::Candidate)?;
        let estimate = bounded(estimate);
        let kept = &mut self.nodes[id.0 as usize].estimate;
        *kept = Some(kept.map_or(estimate, |other| other.max(estimate)));
        Ok(id)
    }

    /// Adds the tokens `drawn` from `q`, in the order of drawing and without replacement, as the
    /// first children of `parent`, and returns them in that order. Their estimates are those of `q`.
    ///
    /// `q` is the distribution that the tokens were really drawn from, as [`Distribution::iter`] gives
    /// it: no token twice, probabilities summing to 1. What is drawn, where and how often, may depend
    /// on what was drawn before, but nothing that was drawn may be left out: the law of `rejection`
    /// rests on it. [`crate::DraftSampler`] draws so.
    ///
    /// [`Distribution::iter`]: crate::Distribution::iter
    pub fn push_sampled<Q: IntoIterator<Item = (TokenId, f64)>>(
        &mut self,
        parent: BuildId,
        q: Q,
        drawn: &[TokenId],
    ) -> Result<impl ExactSizeIterator<Item = BuildId> + use<Q>, TreeError> {
        let above = self.get(parent)?;
        let span = self.add_weights(q);
        if let Err(error) = self.check_drawn(above, span, drawn) {
            self.weights.truncate(span.start as usize);
            return Err(error);
        }
        let first = self.nodes.len() as u32;
        for &token in drawn {
            self.add(parent.0, token, Role::Candidate);
        }
        if !drawn.is_empty() {
            self.nodes[parent.0 as usize].span = span;
        }
        Ok((first..self.nodes.len() as u32).map(BuildId))
    }

    fn add_weights(&mut self, q: impl IntoIterator<Item = (TokenId, f64)>) -> Span {
        let start = self.weights.len() as u32;
        self.weights.extend(q);
        Span { start, end: self.weights.len() as u32 }
    }

    fn check_drawn(&self, above: Growing, span: Span, drawn: &[TokenId]) -> Result<(), TreeError> {
        let q = &self.weights[span.range()];
        for (i, &token) in drawn.iter().enumerate() {
            if above.role == Role::Probe {
                return Err(TreeError::BelowProbe(token));
            }
            if probability(q, token) <= 0.0 {
                return Err(TreeError::Undrawable(token));
            }
            if drawn[..i].contains(&token) {
                return Err(TreeError::DrawnTwice(token));
            }
        }
        if above.first_child != NO_NODE {
            return Err(TreeError::NotFirst);
        }
        if self.len() + drawn.len() > MAX_NODES { Err(TreeError::Full) } else { Ok(()) }
    }

    /// Writes the tree in preorder over `out`; the builder may grow on and freeze again.
    pub fn freeze(&mut self, out: &mut DraftTree) {
        out.clear();
        self.frozen.clear();
        self.frozen.resize(self.len(), NO_NODE);
        let mut id = 0;
        loop {
            let node = self.nodes[id as usize];
            self.frozen[id as usize] = out.len() as u32;
            let parent = if id == 0 { NO_NODE } else { self.frozen[node.parent as usize] };
            let depth = if id == 0 { 0 } else { out.depths[parent as usize] + 1 };
            out.append(node.token, parent, depth, node.role, node.span);
            out.subtree_ends.push(NO_NODE);
            out.estimates[self.frozen[id as usize] as usize] = node.estimate;
            match self.next_in_preorder(id, out) {
                Some(next) => id = next,
                None => break,
            }
        }
        out.weights.extend_from_slice(&self.weights);
        out.order.extend_from_slice(&self.frozen);
    }

    /// The node visited after `id`; the subtrees that end between the two are closed.
    fn next_in_preorder(&self, mut id: u32, out: &mut DraftTree) -> Option<u32> {
        let first_child = self.nodes[id as usize].first_child;
        if first_child != NO_NODE {
            return Some(first_child);
        }
        loop {
            out.subtree_ends[self.frozen[id as usize] as usize] = out.tokens.len() as u32;
            let node = self.nodes[id as usize];
            if node.next_sibling != NO_NODE {
                return Some(node.next_sibling);
            }
            if node.parent == NO_NODE {
                return None;
            }
            id = node.parent;
        }
    }

    /// The node of the last frozen tree that a build id became.
    pub fn node(&self, id: BuildId) -> Result<NodeId, TreeError> {
        let node = self.frozen.get(id.0 as usize).ok_or(TreeError::UnknownNode(id.0 as usize))?;
        Ok(*node as NodeId)
    }

    fn get(&self, id: BuildId) -> Result<Growing, TreeError> {
        self.nodes.get(id.0 as usize).copied().ok_or(TreeError::UnknownNode(id.0 as usize))
    }

    fn children(&self, parent: u32) -> impl Iterator<Item = u32> + '_ {
        let link = |id: u32| (id != NO_NODE).then_some(id);
        std::iter::successors(link(self.nodes[parent as usize].first_child), move |&child| {
            link(self.nodes[child as usize].next_sibling)
        })
    }

    fn add(&mut self, parent: u32, token: TokenId, role: Role) -> BuildId {
        let id = self.nodes.len() as u32;
        self.nodes.push(Growing {
            token,
            role,
            estimate: None,
            parent,
            first_child: NO_NODE,
            last_child: NO_NODE,
            next_sibling: NO_NODE,
            span: Span::default(),
        });
        if parent != NO_NODE {
            let last = self.nodes[parent as usize].last_child;
            match self.nodes.get_mut(last as usize) {
                Some(sibling) => sibling.next_sibling = id,
                None => self.nodes[parent as usize].first_child = id,
            }
            self.nodes[parent as usize].last_child = id;
        }
        BuildId(id)
    }
}
