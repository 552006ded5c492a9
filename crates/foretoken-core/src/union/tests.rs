//! The laws of merging: what goes in comes out, the likeliest first, until the budget is spent.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ROOT: TokenId = 9;

/// Trees with the same root from pushes: pick of the parent, token, and tenths of an estimate, 11 being
/// none and 12 a probe.
fn trees() -> impl Strategy<Value = Vec<DraftTree>> {
    let push = (any::<usize>(), 0u32..4, 0u8..13);
    let tree = prop::collection::vec(push, 0..16).prop_map(|pushes| {
        let mut builder = TreeBuilder::new(ROOT);
        let mut nodes = vec![BuildId::ROOT];
        for (pick, token, kind) in pushes {
            let parent = nodes[pick % nodes.len()];
            nodes.extend(match kind {
                12 => builder.push(parent, token, Role::Probe),
                11 => builder.push(parent, token, Role::Candidate),
                tenths => builder.propose(parent, token, f32::from(tenths) / 10.0),
            });
        }
        let mut tree = DraftTree::single(0);
        builder.freeze(&mut tree);
        tree
    });
    prop::collection::vec(tree, 1..4)
}

fn paths(tree: &DraftTree) -> BTreeMap<Vec<TokenId>, Role> {
    (0..tree.len()).map(|node| (path_to(tree, node), tree.role(node))).collect()
}

fn path_to(tree: &DraftTree, node: NodeId) -> Vec<TokenId> {
    let mut path = Vec::new();
    tree.path(node, &mut path);
    path[1..].iter().map(|&node| tree.token(node)).collect()
}

/// A value, the earlier of equal ones first, and the text.
type Offer = (f32, std::cmp::Reverse<(usize, usize)>, Vec<TokenId>);

/// The texts of a union in the order in which they enter, by trying all nodes of all trees each time.
fn by_definition(trees: &[DraftTree], budget: usize) -> Vec<Vec<TokenId>> {
    let mut values = BTreeMap::from([(Vec::new(), 1.0f32)]);
    let mut placed = Vec::new();
    while placed.len() < budget {
        let mut best: Option<Offer> = None;
        for (t, tree) in trees.iter().enumerate() {
            for (turn, node) in tree.order().enumerate().skip(1) {
                let text = path_to(tree, node);
                let above = values.get(&text[..text.len() - 1]);
                let Some(&above) = above.filter(|_| !values.contains_key(&text)) else { continue };
                let value = match tree.role(node) {
                    Role::Candidate => above * tree.estimate(node).unwrap_or(1.0),
                    Role::Probe => above.min(PROBE),
                };
                let offer = (value, std::cmp::Reverse((turn, t)), text);
                best = Some(
                    best.map_or(offer.clone(), |best| if offer > best { offer } else { best }),
                );
            }
        }
        let Some((value, _, text)) = best else { break };
        values.insert(text.clone(), value);
        placed.push(text);
    }
    placed
}

fn merge(trees: &[DraftTree], budget: usize) -> (Union, DraftTree) {
    let mut union = Union::default();
    let mut out = DraftTree::single(0);
    union.merge(trees, budget, &mut out).unwrap();
    out.check_integrity().unwrap();
    (union, out)
}

proptest! {
    #[test]
    fn a_union_holds_every_path_while_the_budget_lasts(trees in trees(), budget in 0usize..40) {
        let (union, out) = merge(&trees, budget);
        let mut all = BTreeMap::new();
        for (path, role) in trees.iter().flat_map(paths) {
            let merged = all.entry(path).or_insert(role);
            if role == Role::Candidate {
                *merged = role;
            }
        }
        prop_assert_eq!(out.len(), all.len().min(budget + 1), "the budget is spent and kept");
        for (path, role) in paths(&out) {
            prop_assert_eq!(all.get(&path), Some(&role), "a candidate beats a probe");
        }
        for (t, tree) in trees.iter().enumerate() {
            for node in 0..tree.len() {
                let Some(merged) = union.node(t, node) else { continue };
                prop_assert_eq!(path_to(tree, node), path_to(&out, merged));
                let parent = tree.parent(node).map(|parent| union.node(t, parent).unwrap());
                prop_assert_eq!(out.parent(merged), parent, "parents come first");
                let candidate = tree.role(node) == Role::Candidate;
                prop_assert!(!candidate || out.role(merged) == Role::Candidate);
            }
        }
    }

    #[test]
    fn the_likeliest_node_is_always_the_next(trees in trees(), budget in 0usize..40) {
        let placed = by_definition(&trees, budget);
        let (_, out) = merge(&trees, budget);
        let order: Vec<_> = out.order().skip(1).map(|node| path_to(&out, node)).collect();
        prop_assert_eq!(order, placed);
    }

    #[test]
    fn a_union_of_one_tree_is_that_tree(trees in trees()) {
        for several in [&trees[..1], &[trees[0].clone(), trees[0].clone()]] {
            let (_, out) = merge(several, 1000);
            prop_assert_eq!(paths(&out), paths(&trees[0]));
        }
    }

    #[test]
    fn trees_take_turns(first in 1u32..8, second in 1u32..8, budget in 0usize..16) {
        // Two chains with nothing in common.
        let chain = |length: u32, base: u32| {
            let tokens: Vec<TokenId> = (base..base + length).collect();
            DraftTree::chain(&[&[ROOT], &tokens[..]].concat()).unwrap()
        };
        let (first, second) = (chain(first, 100), chain(second, 200));
        let (_, out) = merge(&[first.clone(), second.clone()], budget);
        let of = |base: u32| out.tokens().iter().filter(|&&t| t / base == 1 && t / 100 == base / 100).count();
        let (a, b) = (of(100), of(200));
        let exhausted = a == first.len() - 1 || b == second.len() - 1;
        prop_assert!(exhausted || a == b || a == b + 1, "{} and {}", a, b);
    }
}

const Q: [(TokenId, f64); 3] = [(1, 0.5), (2, 0.3), (3, 0.2)];

/// A root with the sampled children 1 and 2 and a sampled child 3 below the first.
fn sampled() -> DraftTree {
    let mut builder = TreeBuilder::new(ROOT);
    let first = builder.push_sampled(BuildId::ROOT, Q, &[1, 2]).unwrap().next().unwrap();
    let _ = builder.push_sampled(first, Q, &[3]).unwrap();
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    tree
}

#[test]
fn sampled_children_stay_sampled_where_no_other_tree_proposes() {
    let (_, alone) = merge(&[sampled()], 9);
    assert_eq!(alone, sampled());
    // The other tree proposes at the root only, and goes on below another token.
    let other = DraftTree::chain(&[ROOT, 7, 7]).unwrap();
    for trees in [[sampled(), other.clone()], [other.clone(), sampled()]] {
        let (_, out) = merge(&trees, 9);
        assert_eq!(out.proposal(0), Proposal::PointMass, "the root is shared");
        let first = out.child_with_token(0, 1).unwrap();
        assert_eq!(out.proposal(first), Proposal::Sampled(&Q), "the child is not");
    }
    let below = DraftTree::chain(&[ROOT, 1, 3]).unwrap();
    let (_, out) = merge(&[sampled(), below], 9);
    assert_eq!(out.proposal(out.child_with_token(0, 1).unwrap()), Proposal::PointMass);
}

#[test]
fn whether_children_stay_sampled_does_not_depend_on_the_budget_or_the_tokens() {
    // The other tree's proposal is beyond the budget, or equals what was drawn.
    for token in [1, 7] {
        let other = DraftTree::chain(&[ROOT, token]).unwrap();
        for budget in 1..4 {
            let (_, out) = merge(&[sampled(), other.clone()], budget);
            assert_eq!(out.proposal(0), Proposal::PointMass, "token {token}, budget {budget}");
        }
    }
    // A probe of another tree at the same place.
    let mut builder = TreeBuilder::new(ROOT);
    builder.push(BuildId::ROOT, 5, Role::Probe).unwrap();
    let mut probes = DraftTree::single(0);
    builder.freeze(&mut probes);
    for trees in [[sampled(), probes.clone()], [probes.clone(), sampled()]] {
        assert_eq!(merge(&trees, 9).1.proposal(0), Proposal::PointMass);
    }
}

#[test]
fn draws_below_a_node_that_another_tree_brought_wait_for_nothing() {
    let mut builder = TreeBuilder::new(ROOT);
    let q = [(1, 0.05), (5, 0.95)];
    let drawn = builder.push_sampled(BuildId::ROOT, q, &[1]).unwrap().next().unwrap();
    let _ = builder.push_sampled(drawn, Q, &[3]).unwrap();
    let mut draws = DraftTree::single(0);
    builder.freeze(&mut draws);
    builder.reset(ROOT);
    builder.propose(BuildId::ROOT, 1, 0.9).unwrap();
    builder.propose(BuildId::ROOT, 2, 0.5).unwrap();
    let mut other = DraftTree::single(0);
    builder.freeze(&mut other);
    for trees in [[draws.clone(), other.clone()], [other.clone(), draws.clone()]] {
        let (_, out) = merge(&trees, 2);
        assert_eq!(out.tokens(), [ROOT, 1, 3], "0.9 of the draw comes before 0.5 of the other");
    }
}

#[test]
fn a_budget_keeps_the_first_draws() {
    let (_, out) = merge(&[sampled()], 1);
    assert_eq!((out.tokens(), out.proposal(0)), (&[ROOT, 1][..], Proposal::Sampled(&Q)));
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let mut out = DraftTree::single(0);
    let mut union = Union::default();
    assert_eq!(union.merge(&[], 5, &mut out), Err(TreeError::NoRoot));
    let (one, two) = (DraftTree::single(1), DraftTree::single(2));
    assert_eq!(union.merge(&[one, two], 5, &mut out), Err(TreeError::RootsDiffer(1, 2)));
}

#[test]
fn a_union_never_exceeds_the_largest_tree() {
    let chain = |token: TokenId| DraftTree::chain(&[&[ROOT], &[token; 900][..]].concat()).unwrap();
    assert_eq!(merge(&[chain(1), chain(2)], usize::MAX).1.len(), MAX_NODES);
}
