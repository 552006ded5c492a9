//! Speculative sampling of trees: the law of p from tokens drawn from q.
//!
//! The tree is walked from the root. A run of single sampled children is verified as a block
//! ([`super::block`]). Where several children of a node were drawn without replacement from one q,
//! they are tested in the order of drawing; each one rejected leaves
//!
//! ```text
//! p <- norm(max(p - q, 0))        q <- norm(q without the rejected token)
//! ```
//!
//! and when all are rejected the next token is drawn from p (Chen et al., *Sequoia*, 2024). Both
//! must be renormalised, or the law changes. Where children are point masses the token is drawn
//! from p and the walk descends if a child carries it. The kinds may be mixed in one tree, since each
//! node emits by the law of its own p whatever is below it.

use super::chance::{Chance, Key};
use super::weights::{Weight, Weights};
use super::{Accepted, Step, block};
use crate::{Domain, NodeId, Proposal, SampleError, Sampler, TokenId};

#[derive(Debug, Clone, Default)]
pub(super) struct Verifier {
    weights: Weights,
}

impl Verifier {
    pub(super) fn verify(
        &mut self,
        step: &Step<'_>,
        sampler: &mut Sampler,
        chance: &mut impl Chance,
        out: &mut Accepted,
    ) {
        loop {
            let emitted = match block::single_sampled_child(step.tree, out.last_node()) {
                Some(_) => block::verify(&mut self.weights, step, sampler, chance, out),
                None => self.verify_node(step, sampler, chance, out),
            };
            if let Some(next) = emitted.transpose() {
                return out.finish(next);
            }
        }
    }

    /// Decides below the last accepted node: accepts a child, or returns the token that follows.
    fn verify_node(
        &mut self,
        step: &Step<'_>,
        sampler: &mut Sampler,
        chance: &mut impl Chance,
        out: &mut Accepted,
    ) -> Result<Option<TokenId>, SampleError> {
        let node = out.last_node();
        self.weights.read((step, node), &out.tokens, sampler)?;
        if let Proposal::Sampled(q) = step.tree.proposal(node) {
            self.weights.set_draft(q);
            let kept = self.test_children((step, node), q, chance);
            self.weights.clear_draft(q);
            return match kept {
                Some(child) => {
                    out.descend(child, step.tree.token(child));
                    Ok(None)
                }
                None => draw((step, node), &self.weights, chance).map(Some),
            };
        }
        let token = draw((step, node), &self.weights, chance)?;
        match step.tree.child_with_token(node, token) {
            Some(child) => {
                out.descend(child, token);
                Ok(None)
            }
            None => Ok(Some(token)),
        }
    }

    /// The first child that survives its test; when none does, p is what the rejections left.
    fn test_children(
        &mut self,
        (step, node): (&Step<'_>, NodeId),
        q: &[Weight],
        chance: &mut impl Chance,
    ) -> Option<NodeId> {
        let weights = &mut self.weights;
        let position = step.position_after(node);
        for child in step.tree.candidate_children(node) {
            let token = step.tree.token(child);
            let left: f64 = q.iter().map(|&(token, _)| weights.draft_of(token)).sum();
            let ratio = weights.target_of(token) * left / weights.draft_of(token);
            if chance.bernoulli(Key { domain: Domain::Accept, position, index: token }, ratio) {
                return Some(child);
            }
            weights.subtract(1.0, left);
            weights.remove_from_draft(token);
        }
        None
    }
}

/// Draws the token after a node from what is left of p.
pub(super) fn draw(
    (step, node): (&Step<'_>, NodeId),
    weights: &Weights,
    chance: &mut impl Chance,
) -> Result<TokenId, SampleError> {
    let key = Key { domain: Domain::Residual, position: step.position_after(node), index: 0 };
    chance.categorical(key, weights.target()).ok_or(SampleError::EverythingBanned)
}
