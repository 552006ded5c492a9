//! Which guesses are sent: one tree, or the best one for each temperature that was measured.

use foretoken_core::{PathRates, SparseTree};
use foretoken_model::{MedusaCalibration, MedusaMeasurement};

use crate::CostCurve;

/// Nodes of the best tree where nobody chose and no cost was measured.
pub(super) const UNMEASURED: usize = 16;

/// How often one of the first 1, 2, .. 5 guesses of each head was right while the authors' heads for Vicuna
/// 7B were trained: the last row `7b` of `assets/medusa_acc.csv` in <https://github.com/FasterDecoding/Medusa>.
/// They stand in for heads nobody has measured.
const PUBLISHED: [[f64; 5]; 5] = [
    [0.56039, 0.67172, 0.72714, 0.75994, 0.77994],
    [0.31635, 0.42358, 0.48509, 0.52821, 0.56250],
    [0.20104, 0.28790, 0.34754, 0.38345, 0.41687],
    [0.14737, 0.22503, 0.27373, 0.31089, 0.33971],
    [0.11754, 0.18663, 0.23459, 0.27212, 0.29983],
];

/// How large the best tree is to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size<'a> {
    /// So many nodes.
    Nodes(usize),
    /// As many as give the most tokens per second, up to `most`.
    Pays {
        /// Of a pass of the target.
        cost: &'a CostCurve,
        /// Seconds that a head adds to a step; those deeper than the tree do not run.
        head: f64,
        /// The ceiling.
        most: usize,
    },
    /// That of this tree.
    Given(&'a SparseTree),
}

/// The trees of a drafter.
#[derive(Debug, Clone, PartialEq)]
pub struct MedusaTrees {
    /// With their temperatures; never empty.
    trees: Vec<(f64, SizedTree)>,
}

/// A tree with the lengths of the lists that it takes its guesses from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SizedTree {
    tree: SparseTree,
    lengths: Vec<usize>,
    /// By guess, how often it is right if the guess above it is.
    rates: Vec<f32>,
}

impl SizedTree {
    fn new(tree: SparseTree, rates: &PathRates) -> Self {
        let lengths = (1..=tree.depth()).map(|depth| tree.ranks(depth)).collect();
        let rate = |index| {
            let path = tree.path(index);
            rates.rate(&path) / rates.rate(&path[..path.len() - 1]).max(f64::MIN_POSITIVE)
        };
        let rates = (0..tree.len()).map(|index| rate(index) as f32).collect();
        Self { tree, lengths, rates }
    }

    pub(super) fn tree(&self) -> &SparseTree {
        &self.tree
    }

    /// By guess, how often it is right if the guess above it is.
    pub(super) fn rates(&self) -> &[f32] {
        &self.rates
    }

    /// By depth from 1, how many guesses the tree takes.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }
}

impl MedusaTrees {
    /// One tree, whatever the temperature.
    pub fn fixed(tree: &SparseTree) -> Self {
        Self::best(None, tree.depth(), Size::Given(tree))
    }

    /// The best trees of a size by measured rates of so many heads, or by published ones.
    pub(super) fn best(
        calibration: Option<&MedusaCalibration>,
        heads: usize,
        size: Size<'_>,
    ) -> Self {
        let best = |rates: &PathRates| SizedTree::new(size.best(rates), rates);
        let Some(calibration) = calibration else {
            return Self { trees: vec![(0.0, best(&published(heads)))] };
        };
        let at = |measured: &MedusaMeasurement| (measured.temperature, best(&measured.rates()));
        Self { trees: calibration.measurements.iter().map(at).collect() }
    }

    /// Nodes of the largest.
    pub(super) fn most_nodes(&self) -> usize {
        self.trees.iter().map(|(_, tree)| tree.tree.len()).max().unwrap_or(0)
    }

    /// Depth of the deepest.
    pub(super) fn depth(&self) -> usize {
        self.trees.iter().map(|(_, tree)| tree.lengths.len()).max().unwrap_or(0)
    }

    /// The tree for the temperature that is nearest.
    pub(super) fn nearest(&self, temperature: f64) -> &SizedTree {
        let distance = |&(measured, _): &(f64, SizedTree)| (measured - temperature).abs();
        let nearest = self.trees.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        &nearest.expect("there is a tree").1
    }
}

impl Size<'_> {
    fn best(self, rates: &PathRates) -> SparseTree {
        match self {
            Self::Nodes(nodes) => rates.best(nodes),
            Self::Given(tree) => tree.clone(),
            Self::Pays { cost, head, most } => {
                let grown = (1..=rates.depth()).map(|heads| {
                    let head_seconds = head * heads as f64;
                    let seconds = |nodes| cost.seconds(nodes + 1) + head_seconds;
                    grow(rates.best_within(heads, most), rates, seconds)
                });
                let fastest = grown.max_by(|a, b| a.0.total_cmp(&b.0));
                fastest.map_or_else(|| rates.best(most), |(_, tree)| tree)
            }
        }
    }
}

/// The first part of a tree that yields the most tokens per second, and how many, where a step with so many
/// nodes takes `seconds`.
fn grow(
    mut tree: SparseTree,
    rates: &PathRates,
    seconds: impl Fn(usize) -> f64,
) -> (f64, SparseTree) {
    let (mut expected, mut best) = (1.0, (0.0, 1));
    for nodes in 1..=tree.len() {
        expected += rates.rate(&tree.path(nodes - 1));
        let speed = expected / seconds(nodes);
        if speed > best.0 {
            best = (speed, nodes);
        }
    }
    tree.truncate(best.1);
    (best.0, tree)
}

/// The published rates, as far as they go; ranks behind the fifth count as never right.
fn published(heads: usize) -> PathRates {
    let single = |within: &[f64; 5]| {
        let before = [0.0].into_iter().chain(within.iter().copied());
        within.iter().zip(before).map(|(within, before)| within - before).collect()
    };
    PathRates::new(PUBLISHED.iter().take(heads).map(single).collect(), [])
}

#[cfg(test)]
mod tests;
