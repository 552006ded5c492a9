//! Block verification of a sampled chain (Sun et al., *Block verification accelerates speculative
//! decoding*, 2024): never accepts fewer tokens than testing them one by one.
//!
//! For a chain `x_1..x_K` with `q_i` the distribution `x_i` was drawn from:
//!
//! ```text
//! w_0 = 1        w_i = min(w_{i-1} * p_i(x_i) / q_i(x_i), 1)
//! h_i = S_i / (S_i + 1 - w_i)   with   S_i = sum over x of max(w_i * p_{i+1}(x) - q_{i+1}(x), 0)
//! h_K = w_K
//! ```
//!
//! The accepted length is the largest i whose own uniform number lies below `h_i`, or 0. The token
//! after it is drawn from `norm(max(w_i * p_{i+1} - q_{i+1}, 0))`, after the whole chain from
//! `p_{K+1}`.

use super::chance::{Chance, Key};
use super::weights::Weights;
use super::{Accepted, Step, rejection};
use crate::{Domain, DraftTree, NodeId, Proposal, SampleError, Sampler, TokenId};

/// Whether the candidates of a tree are a chain of sampled tokens.
pub(super) fn applies_to(tree: &DraftTree) -> bool {
    std::iter::successors(Some(0), |&node| first_child(tree, node)).all(|node| {
        let children = tree.candidate_children(node).count();
        children == 0 || children == 1 && tree.proposal(node) != Proposal::PointMass
    })
}

fn first_child(tree: &DraftTree, node: NodeId) -> Option<NodeId> {
    tree.candidate_children(node).next()
}

pub(super) fn verify(
    weights: &mut Weights,
    step: &Step<'_>,
    sampler: &mut Sampler,
    chance: &mut impl Chance,
    out: &mut Accepted,
) {
    let (mut node, mut weight) = (0, 1.0);
    let (mut longest, mut longest_weight) = (0, 1.0);
    loop {
        let Link { keep, next } = follow(weights, (step, node, weight), sampler, &out.tokens);
        if let Some(parent) = step.tree.parent(node) {
            let position = step.position_after(parent);
            let key = Key { domain: Domain::Accept, position, index: step.tree.token(node) };
            if chance.bernoulli(key, keep) {
                (longest, longest_weight) = (out.drafted, weight);
            }
        }
        let Some((child, child_weight)) = next else { break };
        out.descend(child, step.tree.token(child));
        (node, weight) = (child, child_weight);
    }
    out.keep_drafted(longest);
    let correction = correct(weights, (step, longest_weight), sampler, chance, out);
    out.finish(correction);
}

/// A node of the chain: its h, and the next node with its w.
struct Link {
    keep: f64,
    next: Option<(NodeId, f64)>,
}

/// A node whose row cannot be read ends the chain, as a leaf does; so does one that p excludes.
fn follow(
    weights: &mut Weights,
    (step, node, weight): (&Step<'_>, NodeId, f64),
    sampler: &mut Sampler,
    path: &[TokenId],
) -> Link {
    let leaf = Link { keep: weight, next: None };
    let Proposal::Sampled(q) = step.tree.proposal(node) else { return leaf };
    let Some(child) = first_child(step.tree, node) else { return leaf };
    if weights.read((step, node), path, sampler).is_err() {
        return leaf;
    }
    weights.set_draft(q);
    let token = step.tree.token(child);
    let child_weight = (weight * weights.target_of(token) / weights.draft_of(token)).min(1.0);
    let excess = weights.excess(weight, 1.0);
    weights.clear_draft(q);
    Link {
        keep: if excess > 0.0 { excess / (excess + 1.0 - weight) } else { 0.0 },
        next: (child_weight > 0.0).then_some((child, child_weight)),
    }
}

/// Draws the token after the accepted part of the chain.
fn correct(
    weights: &mut Weights,
    (step, weight): (&Step<'_>, f64),
    sampler: &mut Sampler,
    chance: &mut impl Chance,
    out: &Accepted,
) -> Result<TokenId, SampleError> {
    let node = out.path[out.drafted];
    weights.read((step, node), &out.tokens, sampler)?;
    if let Proposal::Sampled(q) = step.tree.proposal(node) {
        weights.set_draft(q);
        weights.subtract(weight, 1.0);
        weights.clear_draft(q);
    }
    rejection::draw((step, node), weights, chance)
}
