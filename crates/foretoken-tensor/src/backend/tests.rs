//! The laws of a pass: every small tree keeps them, and no changed entry does.

use std::panic::catch_unwind;

use super::*;

/// Depths in preorder of every tree of `nodes` nodes.
fn trees(nodes: usize) -> Vec<Vec<u32>> {
    let mut trees = vec![vec![0]];
    for _ in 1..nodes {
        let longer = trees.iter().flat_map(|tree: &Vec<u32>| {
            (1..=tree[tree.len() - 1] + 1).map(move |depth| [tree.as_slice(), &[depth]].concat())
        });
        trees = longer.collect();
    }
    trees
}

fn subtree_ends(depth: &[u32]) -> Vec<u32> {
    let below = |i: usize| depth[i + 1..].iter().take_while(|&&d| d > depth[i]).count();
    (0..depth.len()).map(|i| (i + 1 + below(i)) as u32).collect()
}

/// A pass of one tree after a sequence with a single row.
fn check(depth: &[u32], subtree_end: &[u32]) {
    let nodes = depth.len() as u32;
    let range = |start, end| Range32 { start, end };
    let span = |rows, base, blocks| SpanLayout { rows, base, blocks };
    Pass {
        tokens: &vec![0; depth.len() + 1],
        input: &[],
        rotation: &[],
        subtree_end: &[&[1], subtree_end].concat(),
        depth: &[&[0], depth].concat(),
        blocks: &[BlockId(1), BlockId(0), BlockId(2)],
        spans: &[span(range(0, 1), 0, range(0, 1)), span(range(1, nodes + 1), CHUNK, range(1, 3))],
        wanted: &[0, nodes],
    }
    .assert_laws();
}

#[test]
fn every_tree_keeps_the_laws_and_no_other_numbers_do() {
    for depth in (1..=5).flat_map(trees) {
        let ends = subtree_ends(&depth);
        check(&depth, &ends);
        for i in 0..depth.len() {
            for wrong in (0..=depth.len() as u32 + 1).filter(|&end| end != ends[i]) {
                let mut ends = ends.clone();
                ends[i] = wrong;
                let kept = catch_unwind(|| check(&depth, &ends)).is_ok();
                assert!(!kept, "depths {depth:?} with subtree ends {ends:?}");
            }
            for wrong in (0..=depth.len() as u32).filter(|&d| d != depth[i]) {
                let mut depth = depth.clone();
                depth[i] = wrong;
                let kept = catch_unwind(|| check(&depth, &ends)).is_ok();
                assert!(!kept, "depths {depth:?} with subtree ends {ends:?}");
            }
        }
    }
}

#[test]
fn a_span_finds_its_slots() {
    let span = Span {
        rows: Range32 { start: 5, end: 9 },
        base: CHUNK - 1,
        blocks: &[BlockId(7), BlockId(3)],
        subtree_end: &[4, 3, 3, 4],
        depth: &[0, 1, 2, 1],
    };
    assert_eq!(span.slot(CHUNK - 1), Slot { block: BlockId(7), offset: CHUNK - 1 });
    assert_eq!(span.slot(CHUNK), Slot { block: BlockId(3), offset: 0 });
    assert_eq!([0, 1, 2, 3].map(|node| span.position(node)), [63, 64, 65, 64]);
    let seen = |node| (0..4).filter(|&other| span.sees(node, other)).collect::<Vec<_>>();
    assert_eq!([0, 1, 2, 3].map(seen), [vec![0], vec![0, 1], vec![0, 1, 2], vec![0, 3]]);
}
