//! What a tree of drafts would yield, from the ranks that heads gave to the tokens that came.

use std::collections::HashMap;

use foretoken_core::SparseTree;

/// Guesses per head that count.
const RANKS: usize = 10;

/// How often the tokens that came were these guesses of the heads, together.
#[derive(Debug, Default)]
pub(super) struct PathRates {
    positions: u64,
    heads: usize,
    paths: HashMap<Vec<u32>, u64>,
}

impl PathRates {
    /// Counts a position at which the heads' tokens had these ranks.
    pub(super) fn add(&mut self, ranks: &[u32]) {
        self.positions += 1;
        self.heads = ranks.len();
        for end in 1..=ranks.iter().take_while(|rank| **rank < RANKS as u32).count() {
            *self.paths.entry(ranks[..end].to_vec()).or_default() += 1;
        }
    }

    /// Tokens per step of the best tree of so many nodes beside the root; none where nothing was counted.
    pub(super) fn tokens_per_step(&self, nodes: usize) -> Option<f64> {
        let rate = |path: &[u32]| {
            self.paths.get(path).map_or(0.0, |count| *count as f64 / self.positions as f64)
        };
        let tree =
            (self.positions > 0).then(|| SparseTree::best(&vec![RANKS; self.heads], nodes, rate));
        tree.map(|tree| tree.expected(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::PathRates;

    #[test]
    fn ranks_count_together() {
        let mut rates = PathRates::default();
        assert_eq!(rates.tokens_per_step(3), None);
        // The second head is right where the first is wrong, which helps nobody.
        for ranks in [[0, 99], [0, 99], [99, 0], [1, 1]] {
            rates.add(&ranks);
        }
        let expected = |nodes| rates.tokens_per_step(nodes).expect("positions were counted");
        assert_eq!(expected(1), 1.5, "the best guess of the first head");
        assert_eq!(expected(2), 1.75, "its second guess too");
        assert_eq!(expected(9), 2.0, "and the second head's second behind that");
    }
}
