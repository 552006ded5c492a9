//! Medusa's typical acceptance (Cai et al., *Medusa*, 2024): keep what the target finds plausible.
//!
//! A candidate x is kept when its parent is and `p(x) > min(threshold, alpha * exp(-H(p)))`, where
//! `H(p) = -sum of p ln(p + 1e-5)` as the authors' code computes it. The longest kept path wins; among
//! equally long ones the larger sum of ln p, then the lower node. The token after it is drawn as plain
//! decoding draws it. Kept tokens are not drawn at all, so the text does not follow p: **lossy**.

use super::{Accepted, Step};
use crate::{Distribution, NodeId, Sampler, TokenId};

#[derive(Debug, Clone, Default)]
pub(super) struct Verifier {
    distribution: Distribution,
    /// Sum of ln p from the root, for the nodes kept.
    scores: Vec<Option<f64>>,
    path: Vec<NodeId>,
    tokens: Vec<TokenId>,
}

impl Verifier {
    pub(super) fn verify(
        &mut self,
        constants: (f64, f64),
        step: &Step<'_>,
        sampler: &mut Sampler,
        out: &mut Accepted,
    ) {
        self.score(constants, step, sampler);
        step.tree.path(self.longest(step), &mut self.path);
        for &node in &self.path[1..] {
            out.descend(node, step.tree.token(node));
        }
        let last = out.last_node();
        let drawn = sampler.draw(step.rows.row(last), &out.tokens, step.position_after(last));
        out.finish(drawn);
    }

    /// Scores the nodes to keep; below a row that cannot be read none is.
    fn score(&mut self, constants: (f64, f64), step: &Step<'_>, sampler: &mut Sampler) {
        let tree = step.tree;
        self.scores.clear();
        self.scores.resize(tree.len(), None);
        self.scores[0] = Some(0.0);
        for node in 0..tree.len() {
            let Some(score) = self.scores[node] else { continue };
            if tree.candidate_children(node).next().is_none() {
                continue;
            }
            tree.path(node, &mut self.path);
            self.tokens.clear();
            self.tokens.extend(self.path[1..].iter().map(|&node| tree.token(node)));
            let row = step.rows.row(node);
            if sampler.distribution(row, &self.tokens, &mut self.distribution).is_err() {
                continue;
            }
            let bar = bar(&self.distribution, constants);
            for child in tree.candidate_children(node) {
                let p = self.distribution.probability(tree.token(child));
                self.scores[child] = (p > bar).then(|| score + libm::log(p));
            }
        }
    }

    fn longest(&self, step: &Step<'_>) -> NodeId {
        let mut best = (0, 0.0, 0);
        for (node, score) in self.scores.iter().enumerate() {
            let Some(score) = *score else { continue };
            let depth = step.tree.depth(node);
            if depth > best.0 || depth == best.0 && score > best.1 {
                best = (depth, score, node);
            }
        }
        best.2
    }
}

/// The probability that a token must exceed.
pub(super) fn bar(p: &Distribution, (threshold, alpha): (f64, f64)) -> f64 {
    let entropy: f64 = -p.probabilities().iter().map(|&p| p * libm::log(p + 1e-5)).sum::<f64>();
    threshold.min(alpha * libm::exp(-entropy))
}
