//! Trees of ranks: the best ones against all others, and what is no tree.

use proptest::prelude::*;

use super::*;

fn paths(tree: &SparseTree) -> Vec<Vec<u32>> {
    (0..tree.len()).map(|index| tree.path(index)).collect()
}

/// The product of the marginal rates along a path, as if depths were independent.
fn product(rates: &[Vec<f64>], path: &[u32]) -> f64 {
    path.iter().zip(rates).map(|(&rank, rates)| rates[rank as usize]).product()
}

#[test]
fn paths_keep_their_order_and_parents_come_first() {
    let tree = SparseTree::from_paths(&[vec![1, 0, 2], vec![0], vec![1, 0], vec![1]]).unwrap();
    assert_eq!(paths(&tree), [vec![1], vec![1, 0], vec![1, 0, 2], vec![0]]);
    assert_eq!((tree.depth(), tree.ranks(1), tree.ranks(2), tree.ranks(3)), (3, 2, 1, 3));
    assert_eq!(tree.ranks(4), 0);
    let parents: Vec<_> = tree.guesses().iter().map(|guess| guess.parent).collect();
    assert_eq!(parents, [None, Some(0), Some(1), None]);
}

#[test]
fn what_is_no_tree_is_refused_with_the_path() {
    let refused = |paths: &[Vec<u32>]| SparseTree::from_paths(paths).unwrap_err();
    assert_eq!(refused(&[]), SparseTreeError::Empty);
    assert_eq!(refused(&[vec![0], vec![]]), SparseTreeError::EmptyPath { index: 1 });
    let gap = SparseTreeError::Gap { path: vec![0, 1, 0], missing: vec![0, 1] };
    assert_eq!(refused(&[vec![0], vec![0, 1, 0]]), gap);
    assert_eq!(refused(&[vec![0], vec![0]]), SparseTreeError::Twice { path: vec![0] });
    let wide: Vec<Vec<u32>> = (0..MAX_NODES as u32).map(|rank| vec![rank]).collect();
    assert_eq!(refused(&wide), SparseTreeError::Full { nodes: MAX_NODES });
    assert!(SparseTree::from_paths(&wide[1..]).is_ok());
}

#[test]
fn cartesian_trees_have_every_path() {
    let tree = SparseTree::cartesian(&[2, 1, 2]).unwrap();
    let all = [
        vec![0],
        vec![1],
        vec![0, 0],
        vec![1, 0],
        vec![0, 0, 0],
        vec![0, 0, 1],
        vec![1, 0, 0],
        vec![1, 0, 1],
    ];
    assert_eq!(paths(&tree), all);
    assert_eq!(SparseTree::cartesian(&[]), Err(SparseTreeError::Empty));
    assert_eq!(SparseTree::cartesian(&[0, 2]), Err(SparseTreeError::Empty));
    let wide = SparseTree::cartesian(&[u32::MAX, u32::MAX, u32::MAX]);
    assert!(matches!(wide, Err(SparseTreeError::Full { .. })));
}

/// Every tree of a few nodes over the ranks `0..width` at up to three depths.
fn trees(nodes: usize, width: u32) -> Vec<Vec<Vec<u32>>> {
    let mut all = vec![Vec::<Vec<u32>>::new()];
    for _ in 0..nodes {
        let mut grown = Vec::new();
        for tree in &all {
            let roots = std::iter::once(Vec::new()).chain(tree.iter().cloned());
            for parent in roots.filter(|path| path.len() < 3) {
                for rank in 0..width {
                    let child = [&parent[..], &[rank]].concat();
                    if tree.last().is_none_or(|last| (last.len(), last) < (child.len(), &child)) {
                        grown.push([&tree[..], &[child]].concat());
                    }
                }
            }
        }
        all = grown;
    }
    all
}

proptest! {
    #[test]
    fn no_tree_of_as_many_nodes_expects_more(
        rates in prop::collection::vec(prop::collection::vec(0.0..0.5f64, 2), 3),
        nodes in 1usize..5,
    ) {
        let rate = |path: &[u32]| product(&rates, path);
        let best = SparseTree::best(&[2; 3], nodes, rate);
        prop_assert_eq!(SparseTree::from_paths(&paths(&best)).unwrap(), best.clone());
        for other in trees(nodes, 2) {
            let other = SparseTree::from_paths(&other).unwrap();
            prop_assert!(other.expected(rate) <= best.expected(rate) + 1e-12);
        }
    }
}

#[test]
fn the_best_trees_of_growing_size_contain_one_another() {
    let rates = [vec![0.6, 0.2, 0.1], vec![0.4, 0.2, 0.0], vec![0.5, 0.1, 0.1]];
    let rate = |path: &[u32]| product(&rates, path);
    let large = SparseTree::best(&[3; 3], 20, rate);
    assert_eq!(paths(&large)[..3], [vec![0], vec![0, 0], vec![1]]);
    assert!(!paths(&large).contains(&vec![0, 2]), "a rank that is never right is left out");
    for nodes in 0..large.len() {
        let mut first = large.clone();
        first.truncate(nodes);
        assert_eq!(SparseTree::best(&[3; 3], nodes, rate), first);
    }
    assert!((SparseTree::best(&[3; 3], 2, rate).expected(rate) - 1.84).abs() < 1e-12);
}

#[test]
fn known_rates_of_paths_come_before_products() {
    let ranks = vec![vec![0.5, 0.25], vec![0.5, 0.25]];
    let independent = PathRates::new(ranks.clone(), []);
    assert_eq!([0.5, 0.125], [&[0][..], &[1, 0]].map(|path| independent.rate(path)));
    assert_eq!(independent.rate(&[]), 1.0);
    assert_eq!([0.0; 2], [&[2][..], &[0, 0, 0]].map(|path| independent.rate(path)));
    // Right together more often than apart.
    let paths = [(vec![0], 0.5), (vec![0, 0], 0.4), (vec![1], 0.1)];
    let joint = PathRates::new(ranks, paths);
    assert_eq!([0.4, 0.1, 0.05], [&[0, 0][..], &[1], &[1, 0]].map(|path| joint.rate(path)));
    assert_eq!(joint.rate(&[0, 1]), 0.1, "what is not listed is right no more often than what is");
    assert_eq!(independent.expected(&independent.best(2)), 1.75);
    assert_eq!(joint.expected(&joint.best(2)), 1.9);
    assert_eq!(joint.best(2).path(1), [0, 0]);
}

#[test]
fn paths_are_counted_with_their_beginnings() {
    let mut counts = PathCounts::default();
    assert_eq!((counts.positions(), counts.rate(&[0])), (0, 0.0));
    // Behind a guess that is wrong, or too far down to count, the next helps nobody.
    for right in [&[0][..], &[0, 10], &[99, 0], &[1, 1, 10, 0]] {
        counts.add(right.iter().copied());
    }
    let all: Vec<_> = counts.iter().collect();
    assert_eq!(all, [(&[0][..], 2), (&[1], 1), (&[1, 1], 1)]);
    assert_eq!((counts.positions(), counts.rate(&[0]), counts.rate(&[1, 1])), (4, 0.5, 0.25));
    let expected = |nodes| {
        let rate = |path: &[u32]| counts.rate(path);
        SparseTree::best(&[PathCounts::RANKS; 3], nodes, rate).expected(rate)
    };
    assert_eq!(expected(1), 1.5, "the best guess of the first depth");
    assert_eq!(expected(2), 1.75, "its second guess too");
    assert_eq!(expected(9), 2.0, "and the second depth's second behind that");
    counts.add([9, 9]);
    assert_eq!(counts.rate(&[9, 9]), 0.2, "the last rank that counts");
}
