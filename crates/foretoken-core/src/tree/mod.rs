//! The tree of new tokens that one forward pass computes, in the one form every method shares.
//!
//! Plain decoding is the tree with one node, prefill is a chain, and every drafter proposes a tree.
//! Nodes are stored in preorder, so the descendants of a node are a contiguous range and "is `a` an
//! ancestor of `b`" is two comparisons: attention needs no mask matrix. A tree holds tokens only. It
//! does not know which method drafted it, where its rows of the KV cache are, or what the target
//! thinks of it.

mod builder;
mod integrity;

use std::ops::Range;

use thiserror::Error;

pub use builder::{BuildId, TreeBuilder};

use crate::{NodeId, TokenId};

/// Most nodes a tree may have, the root included.
pub const MAX_NODES: usize = 1024;

/// The parent of the root.
const NO_NODE: u32 = u32::MAX;

/// Why a node is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Proposed for the text: verified, and committed when accepted. The root counts as one.
    Candidate,
    /// Computed for the drafter (Lookahead's window). No rule tests it, but a walk that draws each token
    /// from the target may pass through it, since its row is one of the text's like any other.
    Probe,
}

/// How the candidate children of one node were chosen, which decides how `rejection` verifies them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Proposal<'a> {
    /// By any means; nothing is known about their probability.
    PointMass,
    /// Drawn one after the other, without replacement and in the order of the children, from this
    /// distribution q: pairs of token and probability, no token twice, probabilities summing to 1.
    Sampled(&'a [(TokenId, f64)]),
}

/// A frozen tree of draft tokens in preorder; node 0 is the root.
///
/// The root is the newest committed token: its KV row is computed together with the draft. A node's
/// position in the text is the root's plus its [`depth`](Self::depth). Trees are built by
/// [`TreeBuilder`] or as a chain, are never empty, and can be refilled without allocating.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftTree {
    tokens: Vec<TokenId>,
    parents: Vec<u32>,
    subtree_ends: Vec<u32>,
    depths: Vec<u32>,
    roles: Vec<Role>,
    estimates: Vec<Option<f32>>,
    /// Range in `weights` of the q of a node's children; empty for point masses.
    spans: Vec<Span>,
    weights: Vec<(TokenId, f64)>,
    /// The nodes in the order in which the drafter proposed them.
    order: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl DraftTree {
    /// The tree that drafts nothing: the root alone.
    pub fn single(root: TokenId) -> Self {
        let mut tree = Self {
            tokens: Vec::new(),
            parents: Vec::new(),
            subtree_ends: Vec::new(),
            depths: Vec::new(),
            roles: Vec::new(),
            estimates: Vec::new(),
            spans: Vec::new(),
            weights: Vec::new(),
            order: Vec::new(),
        };
        tree.set_single(root);
        tree
    }

    /// A chain of candidates; `tokens[0]` is the root.
    pub fn chain(tokens: &[TokenId]) -> Result<Self, TreeError> {
        let mut tree = Self::single(0);
        tree.set_chain(tokens)?;
        Ok(tree)
    }

    /// Makes this the tree with only a root.
    pub fn set_single(&mut self, root: TokenId) {
        self.clear();
        self.append(root, NO_NODE, 0, Role::Candidate, Span::default());
        self.subtree_ends.push(1);
        self.order.push(0);
    }

    /// Makes this a chain of candidates, `tokens[0]` being the root; unchanged when refused.
    pub fn set_chain(&mut self, tokens: &[TokenId]) -> Result<(), TreeError> {
        if tokens.is_empty() {
            return Err(TreeError::NoRoot);
        }
        if tokens.len() > MAX_NODES {
            return Err(TreeError::Full);
        }
        self.clear();
        for (depth, &token) in (0u32..).zip(tokens) {
            let parent = depth.checked_sub(1).unwrap_or(NO_NODE);
            self.append(token, parent, depth, Role::Candidate, Span::default());
            self.order.push(depth);
        }
        self.subtree_ends.resize(tokens.len(), tokens.len() as u32);
        Ok(())
    }

    /// Becomes a chain of `stem` with the topology of `draft` below its end: what a pass is fed when
    /// tokens before the draft's root are still missing from a cache. Node `n` of the draft becomes
    /// node `stem.len() + n`. Proposals are not copied: verification is about the draft itself.
    pub fn set_below(&mut self, stem: &[TokenId], draft: &Self) -> Result<(), TreeError> {
        let (shift, total) = (stem.len() as u32, stem.len() + draft.len());
        if total > MAX_NODES {
            return Err(TreeError::Full);
        }
        self.clear();
        for (depth, &token) in (0u32..).zip(stem) {
            let parent = depth.checked_sub(1).unwrap_or(NO_NODE);
            self.append(token, parent, depth, Role::Candidate, Span::default());
            self.subtree_ends.push(total as u32);
        }
        for node in 0..draft.len() {
            let above =
                if node == 0 { shift.checked_sub(1) } else { Some(draft.parents[node] + shift) };
            let depth = draft.depths[node] + shift;
            let parent = above.unwrap_or(NO_NODE);
            self.append(draft.tokens[node], parent, depth, draft.roles[node], Span::default());
            self.subtree_ends.push(draft.subtree_ends[node] + shift);
        }
        self.order.extend(0..total as u32);
        Ok(())
    }

    /// Replaces every token by what `respell` says, as for a model of another vocabulary. Siblings must stay
    /// different. What is known of proposals is about the old tokens and is dropped.
    pub fn respell(&mut self, mut respell: impl FnMut(NodeId, TokenId) -> TokenId) {
        for (node, token) in self.tokens.iter_mut().enumerate() {
            *token = respell(node, *token);
        }
        self.spans.fill(Span::default());
        self.weights.clear();
    }

    fn clear(&mut self) {
        self.tokens.clear();
        self.parents.clear();
        self.subtree_ends.clear();
        self.depths.clear();
        self.roles.clear();
        self.estimates.clear();
        self.spans.clear();
        self.weights.clear();
        self.order.clear();
    }

    /// Adds the next node in preorder. Its subtree's end and its place in the order are the caller's.
    fn append(&mut self, token: TokenId, parent: u32, depth: u32, role: Role, span: Span) {
        self.tokens.push(token);
        self.parents.push(parent);
        self.depths.push(depth);
        self.roles.push(role);
        self.estimates.push(None);
        self.spans.push(span);
    }

    /// Number of nodes, the root included; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a tree has a root and is never empty")]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token of a node.
    pub fn token(&self, node: NodeId) -> TokenId {
        self.tokens[node]
    }

    /// The parent of a node; `None` for the root.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        let parent = self.parents[node];
        (parent != NO_NODE).then_some(parent as NodeId)
    }

    /// One past the last descendant of a node: its subtree is `node..subtree_end(node)`.
    pub fn subtree_end(&self, node: NodeId) -> NodeId {
        self.subtree_ends[node] as NodeId
    }

    /// Edges between the root and a node.
    pub fn depth(&self, node: NodeId) -> u32 {
        self.depths[node]
    }

    /// Why a node is in the tree.
    pub fn role(&self, node: NodeId) -> Role {
        self.roles[node]
    }

    /// The drafter's estimate, from 0 to 1, that a node is accepted if its parent is: of a drawn node what q
    /// says, unless it was replaced; none where the drafter gave none.
    pub fn estimate(&self, node: NodeId) -> Option<f32> {
        let drawn = || Some(bounded(probability(self.drawn_from(node)?, self.token(node)) as f32));
        self.estimates[node].or_else(drawn)
    }

    /// The distribution that a node was drawn from.
    pub(crate) fn drawn_from(&self, node: NodeId) -> Option<&[(TokenId, f64)]> {
        let parent = self.parent(node).filter(|_| self.role(node) == Role::Candidate)?;
        let Proposal::Sampled(q) = self.proposal(parent) else { return None };
        Some(q)
    }

    /// Replaces the estimate of a node, within the bounds of [`TreeBuilder::propose`].
    pub fn set_estimate(&mut self, node: NodeId, estimate: f32) {
        self.estimates[node] = Some(bounded(estimate));
    }

    /// All tokens by node.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// All depths by node.
    pub fn depths(&self) -> &[u32] {
        &self.depths
    }

    /// All subtree ends by node.
    pub fn subtree_ends(&self) -> &[u32] {
        &self.subtree_ends
    }

    /// All roles by node.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// All nodes in the order in which the drafter proposed them, parents before children: where a
    /// budget cuts, what was proposed first is kept.
    pub fn order(&self) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        self.order.iter().map(|&node| node as NodeId)
    }

    /// Whether `b` lies in the subtree of `a`: what the row of `b` may attend to.
    pub fn is_ancestor_or_self(&self, a: NodeId, b: NodeId) -> bool {
        a <= b && b < self.subtree_end(a)
    }

    /// The children of a node, in the order in which they were proposed.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + Clone + '_ {
        let end = self.subtree_end(node);
        let within = move |child: NodeId| (child < end).then_some(child);
        std::iter::successors(within(node + 1), move |&child| within(self.subtree_end(child)))
    }

    /// The children of a node that are candidates.
    pub fn candidate_children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + Clone + '_ {
        self.children(node).filter(|&child| self.role(child) == Role::Candidate)
    }

    /// The child of `node` that carries `token`, whatever its role.
    pub fn child_with_token(&self, node: NodeId, token: TokenId) -> Option<NodeId> {
        self.children(node).find(|&child| self.token(child) == token)
    }

    /// Writes the nodes from the root to `node`, both included, over `out`.
    pub fn path(&self, node: NodeId, out: &mut Vec<NodeId>) {
        out.clear();
        out.extend(std::iter::successors(Some(node), |&n| self.parent(n)));
        out.reverse();
    }

    /// How the candidate children of a node were chosen.
    pub fn proposal(&self, node: NodeId) -> Proposal<'_> {
        match &self.weights[self.spans[node].range()] {
            [] => Proposal::PointMass,
            q => Proposal::Sampled(q),
        }
    }

    /// Number of candidates, the root not counted.
    pub fn candidates(&self) -> usize {
        self.roles[1..].iter().filter(|&&role| role == Role::Candidate).count()
    }

    /// Number of probes.
    pub fn probes(&self) -> usize {
        self.len() - 1 - self.candidates()
    }
}

/// An estimate from 0 to 1: what is above is 1, what is below or no number is 0.
fn bounded(estimate: f32) -> f32 {
    if estimate > 0.0 { estimate.min(1.0) } else { 0.0 }
}

/// The probability of a token under weights that name it at most once.
fn probability(weights: &[(TokenId, f64)], token: TokenId) -> f64 {
    weights.iter().find(|&&(t, _)| t == token).map_or(0.0, |&(_, p)| p)
}

/// What cannot be made into a draft tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A chain without tokens, or a union of no trees.
    #[error("a draft tree needs a root token")]
    NoRoot,
    /// One node more than [`MAX_NODES`].
    #[error("a draft tree holds at most {MAX_NODES} nodes")]
    Full,
    /// A build id that this builder did not return since its last reset.
    #[error("node {0} is not in the tree being built")]
    UnknownNode(usize),
    /// A candidate pushed under a probe.
    #[error("token {0} is a candidate below a probe, so it could never be accepted")]
    BelowProbe(TokenId),
    /// Sampled children pushed under a parent that already has children.
    #[error("sampled children must be the first children of their parent")]
    NotFirst,
    /// Sampled children of which one repeats: they were drawn with replacement.
    #[error("token {0} was drawn twice; children are drawn without replacement")]
    DrawnTwice(TokenId),
    /// A sampled child to which q gives no probability.
    #[error("token {0} has probability 0 in the distribution it is said to be drawn from")]
    Undrawable(TokenId),
    /// Trees to be merged do not continue the same text.
    #[error("trees with the root tokens {0} and {1} cannot be merged")]
    RootsDiffer(TokenId, TokenId),
    /// A law of the stored tree that does not hold; a defect of this crate.
    #[error("draft tree node {node} breaks the law that {law}")]
    Broken {
        /// The node at which it was noticed.
        node: NodeId,
        /// The law.
        law: &'static str,
    },
}

#[cfg(test)]
mod tests;
