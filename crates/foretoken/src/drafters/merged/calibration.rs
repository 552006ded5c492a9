//! How often a drafter's nodes are accepted, learned from the text that was emitted.
//!
//! Drafters estimate in units of their own, or not at all. Nodes are sorted by their estimate, or by
//! their place among their siblings where they have none. Each sort counts how many of its nodes the text
//! agreed with and how many were to be expected; the ratio corrects the estimate, whose order within a sort
//! stays. The text tells of every node whose parent is part of it, sent or not, so what is rarely sent is
//! judged as well as what always is.

use foretoken_core::{DraftTree, NodeId, Role, TokenId};

/// Upper ends of all buckets of estimates but the last.
const ENDS: [f32; 13] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98];
const BUCKETS: usize = ENDS.len() + 1;
/// Places among siblings that are told apart.
const RANKS: usize = 6;
/// What is believed of a first child without an estimate.
const UNKNOWN: f32 = 0.03;
/// How many right nodes the belief in an estimate weighs.
const BELIEF: f32 = 4.0;
/// How many where there was none.
const GUESS: f32 = 0.5;
/// What an observation still weighs after the next one of its sort, so that a change of text is followed.
const MEMORY: f32 = 63.0 / 64.0;

/// A node's sort and what is believed of it before anything was seen.
#[derive(Debug, Clone, Copy, Default)]
struct Belief {
    sort: usize,
    estimate: f32,
}

impl Belief {
    fn of(tree: &DraftTree, node: NodeId) -> Self {
        if let Some(estimate) = tree.estimate(node) {
            return Self { sort: ENDS.partition_point(|&end| end <= estimate), estimate };
        }
        let siblings =
            tree.parent(node).into_iter().flat_map(|parent| tree.candidate_children(parent));
        let rank = siblings.take_while(|&other| other < node).count().min(RANKS - 1);
        Self { sort: BUCKETS + rank, estimate: UNKNOWN / (1 + rank) as f32 }
    }
}

/// Of one sort, how many nodes the text agreed with, and how many were to be expected.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    right: f32,
    expected: f32,
}

/// A drafter's counts for one sequence.
#[derive(Debug, Clone, Default)]
pub(super) struct Calibration {
    counts: [Count; BUCKETS + RANKS],
    /// By node of the newest draft; of the root and of probes nothing is believed.
    beliefs: Vec<Belief>,
}

impl Calibration {
    /// Corrects the estimates of a draft's candidates, and notes what they were.
    pub(super) fn correct(&mut self, tree: &mut DraftTree) {
        self.beliefs.clear();
        self.beliefs.resize(tree.len(), Belief::default());
        for node in 1..tree.len() {
            if tree.role(node) == Role::Probe {
                continue;
            }
            let belief = Belief::of(tree, node);
            self.beliefs[node] = belief;
            let Count { right, expected } = self.counts[belief.sort];
            let weight = if belief.sort < BUCKETS { BELIEF } else { GUESS };
            let ratio = (weight + right) / (weight + expected);
            tree.set_estimate(node, belief.estimate * ratio);
        }
    }

    /// Counts which nodes of the draft that was corrected the text agreed with.
    pub(super) fn learn(&mut self, tree: &DraftTree, emitted: &[TokenId]) {
        let mut at = 0;
        for &token in emitted {
            for child in tree.candidate_children(at) {
                let Belief { sort, estimate } = self.beliefs[child];
                let Count { right, expected } = &mut self.counts[sort];
                *right = *right * MEMORY + f32::from(u8::from(tree.token(child) == token));
                *expected = *expected * MEMORY + estimate;
            }
            let Some(child) = tree.child_with_token(at, token) else { return };
            at = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use foretoken_core::{BuildId, TreeBuilder};

    use super::*;

    const ROOT: TokenId = 9;

    /// Children 1 and 2 with an estimate of each, a child 3 without one, and 4 below 1.
    fn tree(first: f32, second: f32) -> DraftTree {
        let mut builder = TreeBuilder::new(ROOT);
        let child = builder.propose(BuildId::ROOT, 1, first).unwrap();
        builder.propose(BuildId::ROOT, 2, second).unwrap();
        builder.push(BuildId::ROOT, 3, Role::Candidate).unwrap();
        builder.propose(child, 4, first).unwrap();
        let mut tree = DraftTree::single(0);
        builder.freeze(&mut tree);
        tree
    }

    /// Corrected estimates of tokens, after seeing the same draft and text so many times.
    fn corrected(tree: &DraftTree, emitted: &[TokenId], times: usize) -> [f32; 4] {
        let mut calibration = Calibration::default();
        for _ in 0..times {
            let mut own = tree.clone();
            calibration.correct(&mut own);
            calibration.learn(&own, emitted);
        }
        let mut own = tree.clone();
        calibration.correct(&mut own);
        [1, 2, 3, 4].map(|token| {
            let node = own.tokens().iter().position(|&other| other == token).unwrap();
            own.estimate(node).unwrap()
        })
    }

    #[test]
    fn estimates_are_believed_until_something_was_seen() {
        let third = UNKNOWN / 3.0;
        assert_eq!(corrected(&tree(0.6, 0.25), &[1], 0), [0.6, 0.25, third, 0.6]);
    }

    #[test]
    fn the_root_and_probes_get_no_estimate() {
        let mut builder = TreeBuilder::new(ROOT);
        builder.push(BuildId::ROOT, 1, Role::Probe).unwrap();
        builder.push(BuildId::ROOT, 2, Role::Candidate).unwrap();
        let mut tree = DraftTree::single(0);
        builder.freeze(&mut tree);
        Calibration::default().correct(&mut tree);
        assert_eq!([0, 1, 2].map(|node| tree.estimate(node)), [None, None, Some(UNKNOWN)]);
    }

    #[test]
    fn rates_follow_the_text() {
        let seen = corrected(&tree(0.6, 0.25), &[2, 5], 300);
        assert!(seen[0] < 0.07 && seen[2] < UNKNOWN / 6.0, "never right: {seen:?}");
        assert!(seen[1] > 0.75, "always right: {seen:?}");
        assert!(seen[3] < 0.07, "nothing is known of it but its sort: {seen:?}");
        let seen = corrected(&tree(0.6, 0.25), &[1, 5], 300);
        assert!((0.4..0.6).contains(&seen[0]), "one of two of its sort is right: {seen:?}");
    }

    #[test]
    fn the_order_within_a_sort_stays() {
        let seen = corrected(&tree(0.34, 0.36), &[1], 300);
        assert!(seen[0] < seen[1] && seen[1] < 0.6, "{seen:?}");
    }

    #[test]
    fn nodes_that_the_text_left_are_not_judged() {
        let before = corrected(&tree(0.6, 0.25), &[2], 0)[3];
        // Its sort has a right node at the root, and its own parent is never part of the text.
        let mut builder = TreeBuilder::new(ROOT);
        let child = builder.propose(BuildId::ROOT, 1, 0.25).unwrap();
        builder.propose(child, 4, 0.6).unwrap();
        let mut tree = DraftTree::single(0);
        builder.freeze(&mut tree);
        let mut calibration = Calibration::default();
        calibration.correct(&mut tree.clone());
        calibration.learn(&tree, &[7, 4]);
        calibration.correct(&mut tree);
        assert_eq!(tree.estimate(2), Some(before));
        assert!(tree.estimate(1).unwrap() < 0.25);
    }
}
