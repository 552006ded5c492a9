//! Block verification of a run of sampled tokens (Sun et al., *Block verification accelerates
//! speculative decoding*, 2024): never accepts fewer tokens than testing them one by one.
//!
//! For a run `x_1..x_K` with `q_i` the distribution `x_i` was drawn from:
//!
//! ```text
//! w_0 = 1        w_i = min(w_{i-1} * p_i(x_i) / q_i(x_i), 1)
//! h_i = S_i / (S_i + 1 - w_i)   with   S_i = sum over x of max(w_i * p_{i+1}(x) - q_{i+1}(x), 0)
//! h_K = w_K
//! ```
//!
//! The accepted length is the largest i whose own uniform number lies below `h_i`, or 0. The token
//! after it is drawn from `norm(max(w_i * p_{i+1} - q_{i+1}, 0))`; after the whole run verification
//! goes on from its last node. A run ends where a node has no single sampled child. That is known
//! before anything is drawn there, so the end does not depend on what it follows: testing as a block
//! only if the *whole* tree is a chain would be biased where a drafter hangs something below some
//! drawn tokens and not below others.

use super::chance::{Chance, Key};
use super::rejection::draw;
use super::weights::{Weight, Weights};
use super::{Accepted, Step};
use crate::{Domain, DraftTree, NodeId, Proposal, SampleError, Sampler, TokenId};

/// The only candidate child of a node, with the distribution it was drawn from.
pub(super) fn single_sampled_child(tree: &DraftTree, node: NodeId) -> Option<(NodeId, &[Weight])> {
    let mut children = tree.candidate_children(node);
    match (tree.proposal(node), children.next(), children.next()) {
        (Proposal::Sampled(q), Some(child), None) => Some((child, q)),
        _ => None,
    }
}

/// Verifies the run below the last accepted node and adds what is accepted of it to `out`; returns
/// the token after that, or none when the whole run is accepted.
pub(super) fn verify(
    weights: &mut Weights,
    step: &Step<'_>,
    sampler: &mut Sampler,
    chance: &mut impl Chance,
    out: &mut Accepted,
) -> Result<Option<TokenId>, SampleError> {
    let (start, mut weight) = (out.drafted, 1.0);
    let (mut longest, mut longest_weight) = (start, weight);
    loop {
        let node = out.last_node();
        let Link { keep, next } = follow(weights, (step, node, weight), sampler, &out.tokens);
        if out.drafted > start {
            let position = step.position_after(node) - 1;
            let key = Key { domain: Domain::Accept, position, index: step.tree.token(node) };
            if chance.bernoulli(key, keep) {
                (longest, longest_weight) = (out.drafted, weight);
            }
        }
        let Some((child, child_weight)) = next else { break };
        out.descend(child, step.tree.token(child));
        weight = child_weight;
    }
    out.keep_drafted(longest);
    let node = out.last_node();
    let Some((_, q)) = single_sampled_child(step.tree, node) else { return Ok(None) };
    weights.read((step, node), &out.tokens, sampler)?;
    weights.set_draft(q);
    weights.subtract(longest_weight, 1.0);
    weights.clear_draft(q);
    draw((step, node), weights, chance).map(Some)
}

/// A node of the run: its h, and the next node with its w.
struct Link {
    keep: f64,
    next: Option<(NodeId, f64)>,
}

/// A node whose row cannot be read ends the run as its last node does; nothing follows a token that
/// p excludes.
fn follow(
    weights: &mut Weights,
    (step, node, weight): (&Step<'_>, NodeId, f64),
    sampler: &mut Sampler,
    path: &[TokenId],
) -> Link {
    let child = single_sampled_child(step.tree, node);
    let readable = child.filter(|_| weights.read((step, node), path, sampler).is_ok());
    let Some((child, q)) = readable else { return Link { keep: weight, next: None } };
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
