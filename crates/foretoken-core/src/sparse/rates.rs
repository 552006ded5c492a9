//! How often paths of guesses are right, for choosing trees of them.

use std::collections::HashMap;

use super::SparseTree;

/// Rates of paths: those of whole paths where they are known, and products of the rates of single guesses
/// otherwise, as if depths were independent of each other.
///
/// Depths are not independent: where one guess is right the next is right more often than on average. So a
/// tree chosen by products is too wide, and promises too little.
#[derive(Debug, Clone, PartialEq)]
pub struct PathRates {
    ranks: Vec<Vec<f64>>,
    paths: HashMap<Vec<u32>, f64>,
    /// The least rate among `paths`, which hold whatever is right more often.
    least: f64,
}

impl PathRates {
    /// From the rate of each rank at each depth, and the rates of the paths that are right most often. No
    /// path may be right more often than its beginning, which must be listed with it.
    pub fn new(ranks: Vec<Vec<f64>>, paths: impl IntoIterator<Item = (Vec<u32>, f64)>) -> Self {
        let paths: HashMap<_, _> = paths.into_iter().collect();
        let least = paths.values().copied().fold(1.0, f64::min);
        Self { ranks, paths, least }
    }

    /// How often a path is right; never more often than its beginning.
    pub fn rate(&self, path: &[u32]) -> f64 {
        let Some((&rank, above)) = path.split_last() else { return 1.0 };
        if let Some(&known) = self.paths.get(path) {
            return known;
        }
        let rates = self.ranks.get(above.len());
        let alone = rates.and_then(|rates| rates.get(rank as usize)).copied().unwrap_or(0.0);
        (self.rate(above) * alone).min(self.least)
    }

    /// The best tree of at most `nodes` nodes.
    pub fn best(&self, nodes: usize) -> SparseTree {
        self.best_within(self.depth(), nodes)
    }

    /// The best tree of at most `nodes` nodes, none of them deeper than `depth`.
    pub fn best_within(&self, depth: usize, nodes: usize) -> SparseTree {
        let ranks: Vec<usize> = self.ranks.iter().take(depth).map(Vec::len).collect();
        SparseTree::best(&ranks, nodes, |path| self.rate(path))
    }

    /// Depths that have guesses.
    pub fn depth(&self) -> usize {
        self.ranks.len()
    }

    /// Tokens that a step with this tree is expected to emit.
    pub fn expected(&self, tree: &SparseTree) -> f64 {
        tree.expected(|path| self.rate(path))
    }
}
