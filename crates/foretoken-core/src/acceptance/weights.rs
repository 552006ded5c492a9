//! The target's and the draft's distribution at one node, and the arithmetic of rejection on them.

use super::Step;
use crate::{Distribution, NodeId, SampleError, Sampler, TokenId};

/// A token and its probability, or a weight proportional to it.
pub(crate) type Weight = (TokenId, f64);

/// p and q at one node. p lists its survivors; q is looked up by token.
#[derive(Debug, Clone, Default)]
pub(super) struct Weights {
    distribution: Distribution,
    target: Vec<Weight>,
    draft: Vec<f64>,
}

impl Weights {
    /// Reads p at a node whose path from the root, itself excluded, carries the tokens `path`.
    pub(super) fn read(
        &mut self,
        (step, node): (&Step<'_>, NodeId),
        path: &[TokenId],
        sampler: &mut Sampler,
    ) -> Result<(), SampleError> {
        sampler.distribution(step.rows.row(node), path, &mut self.distribution)?;
        self.target.clear();
        self.target.extend(self.distribution.iter());
        Ok(())
    }

    /// p, or what subtractions have made of it; it sums to 1.
    pub(super) fn target(&self) -> &[Weight] {
        &self.target
    }

    /// p of one token.
    pub(super) fn target_of(&self, token: TokenId) -> f64 {
        self.target.iter().find(|&&(listed, _)| listed == token).map_or(0.0, |&(_, p)| p)
    }

    /// Sets q, of which nothing may be set; [`clear_draft`](Self::clear_draft) unsets it.
    pub(super) fn set_draft(&mut self, q: &[Weight]) {
        for &(token, weight) in q {
            let token = token as usize;
            if token >= self.draft.len() {
                self.draft.resize(token + 1, 0.0);
            }
            self.draft[token] = weight;
        }
    }

    /// Unsets all that `q` has set.
    pub(super) fn clear_draft(&mut self, q: &[Weight]) {
        for &(token, _) in q {
            self.draft[token as usize] = 0.0;
        }
    }

    /// q of one token.
    pub(super) fn draft_of(&self, token: TokenId) -> f64 {
        self.draft.get(token as usize).copied().unwrap_or(0.0)
    }

    /// Takes a drawn token out of q; what is left no longer sums to 1.
    pub(super) fn remove_from_draft(&mut self, token: TokenId) {
        self.draft[token as usize] = 0.0;
    }

    /// The sum over all tokens of `max(keep * p - q / total, 0)`.
    pub(super) fn excess(&self, keep: f64, total: f64) -> f64 {
        let over = |&(token, p): &Weight| (keep * p - self.draft_of(token) / total).max(0.0);
        self.target.iter().map(over).sum()
    }

    /// Replaces p by `max(keep * p - q / total, 0)`, normalised.
    ///
    /// Where that is zero everywhere p stays: p and q are equal then, nothing is ever rejected, and
    /// only rounding can lead here.
    pub(super) fn subtract(&mut self, keep: f64, total: f64) {
        let excess = self.excess(keep, total);
        if excess > 0.0 {
            for (token, p) in &mut self.target {
                let q = self.draft.get(*token as usize).copied().unwrap_or(0.0);
                *p = (keep * *p - q / total).max(0.0) / excess;
            }
        }
    }
}
