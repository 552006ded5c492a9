//! How often a drafter's nodes are accepted, learned from the text that was emitted.
//!
//! Drafters estimate in units of their own, or not at all. Nodes are sorted by their estimate, or by
//! their place among their siblings where they have none, and by their depth; each sort counts how often the
//! target agreed. The text tells of every node whose parent is part of it, sent or not, so what is rarely
//! sent is judged as well as what always is.

use foretoken_core::{DraftTree, NodeId, Role, TokenId};

use crate::drafters::confidence::Rate;

/// Upper ends of all buckets of estimates but the last.
const ENDS: [f32; 13] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98];
const BUCKETS: usize = ENDS.len() + 1;
/// Places among siblings that are told apart.
const RANKS: usize = 6;
/// Depths that are told apart.
const DEPTHS: usize = 4;

/// The place of a node in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    kind: u8,
    depth: u8,
}

/// A drafter's rates for one sequence.
#[derive(Debug, Clone)]
pub(super) struct Calibration {
    rates: [[Rate; DEPTHS]; BUCKETS + RANKS],
}

impl Calibration {
    /// Rates that believe every estimate.
    pub(super) fn new() -> Self {
        let estimated = (0..BUCKETS).map(|bucket| {
            let low = if bucket == 0 { 0.0 } else { ENDS[bucket - 1] };
            let high = ENDS.get(bucket).copied().unwrap_or(1.0);
            f64::from(low + high) / 2.0
        });
        let ranked = (0..RANKS).map(|rank| 0.4 / (1 + rank) as f64);
        let mut rates = [[Rate::new(0.0); DEPTHS]; BUCKETS + RANKS];
        for (row, prior) in rates.iter_mut().zip(estimated.chain(ranked)) {
            *row = [Rate::new(prior); DEPTHS];
        }
        Self { rates }
    }

    /// Replaces the estimates of a draft by rates, and notes where they came from.
    pub(super) fn rate(&self, tree: &mut DraftTree, cells: &mut Vec<Cell>) {
        cells.clear();
        cells.extend((0..tree.len()).map(|node| Cell::of(tree, node)));
        for (node, &cell) in cells.iter().enumerate() {
            tree.set_estimate(node, self.at(cell).estimate() as f32);
        }
    }

    /// Counts which nodes of a draft the text agreed with.
    pub(super) fn learn(&mut self, tree: &DraftTree, cells: &[Cell], emitted: &[TokenId]) {
        let mut at = 0;
        for &token in emitted {
            let mut next = None;
            for child in tree.candidate_children(at) {
                let agrees = tree.token(child) == token;
                let Cell { kind, depth } = cells[child];
                self.rates[kind as usize][depth as usize].learn(agrees);
                next = next.or(agrees.then_some(child));
            }
            let Some(child) = next else { return };
            at = child;
        }
    }

    fn at(&self, cell: Cell) -> Rate {
        self.rates[cell.kind as usize][cell.depth as usize]
    }
}

impl Cell {
    fn of(tree: &DraftTree, node: NodeId) -> Self {
        let depth = (tree.depth(node) as usize).clamp(1, DEPTHS) - 1;
        let kind = match tree.estimate(node) {
            Some(estimate) => ENDS.partition_point(|&end| end <= estimate),
            None => BUCKETS + rank(tree, node).min(RANKS - 1),
        };
        Self { kind: kind as u8, depth: depth as u8 }
    }
}

/// How many candidates were proposed before a node below the same parent.
fn rank(tree: &DraftTree, node: NodeId) -> usize {
    let Some(parent) = tree.parent(node).filter(|_| tree.role(node) == Role::Candidate) else {
        return 0;
    };
    tree.candidate_children(parent).take_while(|&other| other != node).count()
}
