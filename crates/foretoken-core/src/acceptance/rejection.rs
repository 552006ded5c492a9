//! Speculative sampling of trees: the law of p from tokens drawn from q.
//!
//! A chain of sampled tokens is verified as a block ([`super::block`]). Any other tree is walked from
//! the root. Where a node's children were drawn without replacement from one q, they are tested in
//! the order of drawing; each one rejected leaves
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

/// What a node decides.
enum Decision {
    Descend(NodeId),
    Emit(TokenId),
}

impl Verifier {
    pub(super) fn verify(
        &mut self,
        step: &Step<'_>,
        sampler: &mut Sampler,
        chance: &mut impl Chance,
        out: &mut Accepted,
    ) {
        if block::applies_to(step.tree) {
            return block::verify(&mut self.weights, step, sampler, chance, out);
        }
        let mut node = 0;
        loop {
            match self.decide((step, node), sampler, chance, &out.tokens) {
                Ok(Decision::Descend(child)) => {
                    out.descend(child, step.tree.token(child));
                    node = child;
                }
                Ok(Decision::Emit(token)) => return out.finish(Ok(token)),
                Err(error) => return out.finish(Err(error)),
            }
        }
    }

    fn decide(
        &mut self,
        (step, node): (&Step<'_>, NodeId),
        sampler: &mut Sampler,
        chance: &mut impl Chance,
        path: &[TokenId],
    ) -> Result<Decision, SampleError> {
        self.weights.read((step, node), path, sampler)?;
        if let Proposal::Sampled(q) = step.tree.proposal(node) {
            self.weights.set_draft(q);
            let kept = self.test_children((step, node), q, chance);
            self.weights.clear_draft(q);
            if let Some(child) = kept {
                return Ok(Decision::Descend(child));
            }
        }
        let token = draw((step, node), &self.weights, chance)?;
        let agreeing = match step.tree.proposal(node) {
            Proposal::PointMass => step.tree.child_with_token(node, token),
            Proposal::Sampled(_) => None,
        };
        Ok(agreeing.map_or(Decision::Emit(token), Decision::Descend))
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
