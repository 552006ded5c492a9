//! The laws of trees: storage against the definition by parents, and what the builder refuses.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The tokens from the root to a node, the root's left out: what makes a node that node.
type Path = Vec<TokenId>;

type Model = BTreeMap<Path, Role>;

/// A push: picks the parent among the nodes so far, a token, and whether it is a candidate.
type Push = (usize, TokenId, bool);

fn pushes() -> impl Strategy<Value = Vec<Push>> {
    prop::collection::vec((any::<usize>(), 0u32..5, prop::bool::weighted(0.75)), 0..60)
}

/// Builds a tree and, beside it, the same tree as a map from the tokens of a path to a role.
///
/// A candidate that the builder refuses below a probe is pushed as a probe.
fn build(pushes: &[Push]) -> (DraftTree, Model, Vec<(NodeId, Path)>) {
    let mut builder = TreeBuilder::new(9);
    let mut nodes = vec![(BuildId::ROOT, Vec::new())];
    let mut model = BTreeMap::from([(Vec::new(), Role::Candidate)]);
    for &(pick, token, candidate) in pushes {
        let (parent, path) = nodes[pick % nodes.len()].clone();
        let mut role = if candidate { Role::Candidate } else { Role::Probe };
        let mut pushed = builder.push(parent, token, role);
        if role == Role::Candidate && model[&path] == Role::Probe {
            assert_eq!(pushed, Err(TreeError::BelowProbe(token)));
            role = Role::Probe;
            pushed = builder.push(parent, token, role);
        }
        let path = [&path[..], &[token]].concat();
        let merged = model.entry(path.clone()).or_insert(role);
        if role == Role::Candidate {
            *merged = role;
        }
        nodes.push((pushed.unwrap(), path));
    }
    assert_eq!(builder.len(), model.len());
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    let ids = nodes.into_iter().map(|(id, path)| (builder.node(id).unwrap(), path)).collect();
    (tree, model, ids)
}

fn tokens_to(tree: &DraftTree, node: NodeId) -> Vec<TokenId> {
    let mut path = Vec::new();
    tree.path(node, &mut path);
    assert_eq!((path[0], path[path.len() - 1]), (0, node));
    for pair in path.windows(2) {
        assert_eq!(tree.parent(pair[1]), Some(pair[0]));
    }
    path[1..].iter().map(|&node| tree.token(node)).collect()
}

/// By the chain of parents, as the word is defined.
fn is_ancestor_or_self(tree: &DraftTree, a: NodeId, b: NodeId) -> bool {
    std::iter::successors(Some(b), |&node| tree.parent(node)).any(|node| node == a)
}

proptest! {
    #[test]
    fn a_frozen_tree_holds_what_was_pushed(pushes in pushes()) {
        let (tree, model, ids) = build(&pushes);
        prop_assert_eq!(tree.check_integrity(), Ok(()));
        prop_assert_eq!(tree.len(), model.len());
        for (node, path) in ids {
            prop_assert_eq!(tokens_to(&tree, node), path);
        }
        for node in 0..tree.len() {
            let path = tokens_to(&tree, node);
            prop_assert_eq!(Some(&tree.role(node)), model.get(&path), "{:?}", path);
        }
        let candidates = model.values().filter(|&&role| role == Role::Candidate).count() - 1;
        prop_assert_eq!((tree.candidates(), tree.probes()), (candidates, model.len() - 1 - candidates));
    }

    #[test]
    fn ranges_and_depths_are_those_of_the_parents(pushes in pushes()) {
        let (tree, ..) = build(&pushes);
        for a in 0..tree.len() {
            let descendants = (0..tree.len()).filter(|&b| is_ancestor_or_self(&tree, a, b));
            prop_assert_eq!(tree.subtree_end(a), a + descendants.count());
            let parents = std::iter::successors(tree.parent(a), |&node| tree.parent(node));
            prop_assert_eq!(tree.depth(a) as usize, parents.count());
            for b in 0..tree.len() {
                prop_assert_eq!(tree.is_ancestor_or_self(a, b), is_ancestor_or_self(&tree, a, b));
            }
            let children: Vec<_> = tree.children(a).collect();
            let expected: Vec<_> = (0..tree.len()).filter(|&b| tree.parent(b) == Some(a)).collect();
            prop_assert_eq!(&children, &expected);
            for token in 0..6 {
                let has = |&b: &NodeId| tree.token(b) == token;
                prop_assert_eq!(tree.child_with_token(a, token), children.iter().copied().find(has));
            }
        }
    }

    #[test]
    fn the_order_is_that_of_the_first_pushes(pushes in pushes()) {
        let (tree, _, ids) = build(&pushes);
        let mut first_pushes: Vec<NodeId> = Vec::new();
        for (node, _) in ids {
            if !first_pushes.contains(&node) {
                first_pushes.push(node);
            }
        }
        prop_assert_eq!(tree.order().collect::<Vec<_>>(), first_pushes);
    }

    #[test]
    fn a_reused_tree_is_a_new_one(first in pushes(), length in 1usize..30) {
        let (mut tree, ..) = build(&first);
        let tokens: Vec<TokenId> = (0..length as u32).collect();
        tree.set_chain(&tokens).unwrap();
        prop_assert_eq!(&tree, &DraftTree::chain(&tokens).unwrap());
        let mut builder = TreeBuilder::new(0);
        let mut node = BuildId::ROOT;
        for &token in &tokens[1..] {
            node = builder.push(node, token, Role::Candidate).unwrap();
        }
        let mut grown = DraftTree::single(7);
        builder.freeze(&mut grown);
        prop_assert_eq!(&tree, &grown);
        tree.set_single(4);
        prop_assert_eq!(tree, DraftTree::single(4));
    }
}

#[test]
fn the_smallest_trees() {
    let tree = DraftTree::single(5);
    assert_eq!((tree.len(), tree.token(0), tree.parent(0), tree.subtree_end(0)), (1, 5, None, 1));
    assert_eq!((tree.candidates(), tree.probes(), tree.children(0).count()), (0, 0, 0));
    assert_eq!(tree.check_integrity(), Ok(()));
    assert_eq!(DraftTree::chain(&[]), Err(TreeError::NoRoot));
    assert_eq!(DraftTree::chain(&[5]), Ok(tree));
    assert_eq!(DraftTree::chain(&[1; MAX_NODES]).unwrap().check_integrity(), Ok(()));
    let mut kept = DraftTree::chain(&[1, 2]).unwrap();
    assert_eq!(kept.set_chain(&[1; MAX_NODES + 1]), Err(TreeError::Full));
    assert_eq!(kept, DraftTree::chain(&[1, 2]).unwrap());
}

#[test]
fn a_full_builder_still_merges() {
    let mut builder = TreeBuilder::new(0);
    for token in 1..MAX_NODES as u32 {
        builder.push(BuildId::ROOT, token, Role::Probe).unwrap();
    }
    assert_eq!(builder.push(BuildId::ROOT, 0, Role::Probe), Err(TreeError::Full));
    assert!(builder.push(BuildId::ROOT, 77, Role::Candidate).is_ok());
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    assert_eq!((tree.len(), tree.candidates()), (MAX_NODES, 1));
    assert_eq!(tree.check_integrity(), Ok(()));
}

#[test]
fn a_candidate_beats_a_probe_and_keeps_its_place() {
    let mut builder = TreeBuilder::new(0);
    let first = builder.push(BuildId::ROOT, 1, Role::Probe).unwrap();
    builder.push(first, 2, Role::Probe).unwrap();
    assert_eq!(builder.push(first, 3, Role::Candidate), Err(TreeError::BelowProbe(3)));
    builder.push(BuildId::ROOT, 4, Role::Candidate).unwrap();
    assert_eq!(builder.push(BuildId::ROOT, 1, Role::Candidate), Ok(first));
    assert_eq!(builder.push(BuildId::ROOT, 1, Role::Probe), Ok(first));
    assert!(builder.push(first, 3, Role::Candidate).is_ok());
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    assert_eq!(tree.tokens(), [0, 1, 2, 3, 4]);
    let probes: Vec<_> = (0..5).filter(|&node| tree.role(node) == Role::Probe).collect();
    assert_eq!(probes, [2]);
}

const Q: [(TokenId, f64); 4] = [(3, 0.5), (1, 0.3), (0, 0.0), (2, 0.2)];

#[test]
fn sampled_children_keep_their_distribution_and_their_order() {
    let mut builder = TreeBuilder::new(0);
    let mut tree = DraftTree::single(0);
    let ids: Vec<_> = builder.push_sampled(BuildId::ROOT, Q, &[2, 3]).unwrap().collect();
    let below = builder.push_sampled(ids[1], Q, &[1]).unwrap().next().unwrap();
    builder.push(BuildId::ROOT, 2, Role::Probe).unwrap();
    builder.push(BuildId::ROOT, 5, Role::Probe).unwrap();
    builder.freeze(&mut tree);
    assert_eq!(tree.tokens(), [0, 2, 3, 1, 5]);
    assert_eq!(tree.candidate_children(0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        (tree.proposal(0), tree.proposal(2)),
        (Proposal::Sampled(&Q), Proposal::Sampled(&Q))
    );
    assert_eq!(tree.proposal(1), Proposal::PointMass);
    assert_eq!([ids[0], ids[1], below].map(|id| builder.node(id)), [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(tree.check_integrity(), Ok(()));
}

#[test]
fn another_candidate_makes_sampled_children_point_masses_even_when_it_repeats_one() {
    for token in [2, 9] {
        let mut builder = TreeBuilder::new(0);
        let mut tree = DraftTree::single(0);
        let _ = builder.push_sampled(BuildId::ROOT, Q, &[2, 3]).unwrap();
        builder.push(BuildId::ROOT, token, Role::Candidate).unwrap();
        builder.freeze(&mut tree);
        assert_eq!(tree.proposal(0), Proposal::PointMass, "token {token}");
    }
}

#[test]
fn what_was_drawn_is_estimated_by_its_distribution() {
    let mut builder = TreeBuilder::new(0);
    let _ = builder.push_sampled(BuildId::ROOT, Q, &[2, 3]).unwrap();
    builder.push(BuildId::ROOT, 1, Role::Probe).unwrap();
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    let estimates = |tree: &DraftTree| [0, 1, 2, 3].map(|node| tree.estimate(node));
    assert_eq!(estimates(&tree), [None, Some(0.2), Some(0.5), None]);
    tree.set_estimate(2, 0.9);
    assert_eq!(estimates(&tree), [None, Some(0.2), Some(0.9), None]);
    builder.propose(BuildId::ROOT, 7, 0.4).unwrap();
    builder.freeze(&mut tree);
    assert_eq!(estimates(&tree), [None; 4], "nothing counts as drawn beside a point mass");
}

#[test]
fn estimates_are_bounded() {
    let (mut builder, mut tree) = (TreeBuilder::new(0), DraftTree::single(0));
    for (estimate, kept) in [
        (f32::NAN, 0.0),
        (f32::NEG_INFINITY, 0.0),
        (-0.1, 0.0),
        (0.3, 0.3),
        (1.1, 1.0),
        (f32::INFINITY, 1.0),
    ] {
        builder.reset(0);
        builder.propose(BuildId::ROOT, 1, estimate).unwrap();
        builder.freeze(&mut tree);
        assert_eq!(tree.estimate(1), Some(kept), "{estimate} proposed");
        builder.propose(BuildId::ROOT, 1, 0.2).unwrap();
        builder.freeze(&mut tree);
        assert_eq!(tree.estimate(1), Some(kept.max(0.2)), "{estimate} and 0.2 proposed");
        tree.set_estimate(1, estimate);
        assert_eq!(tree.estimate(1), Some(kept), "{estimate} set");
    }
}

#[test]
fn what_was_not_drawn_without_replacement_is_refused() {
    let mut builder = TreeBuilder::new(0);
    let refused = |builder: &mut TreeBuilder, parent, drawn: &[TokenId]| {
        let before = builder.clone();
        let error = builder.push_sampled(parent, Q, drawn).err();
        assert!(error.is_none() || format!("{before:?}") == format!("{builder:?}"));
        error
    };
    assert_eq!(refused(&mut builder, BuildId::ROOT, &[3, 3]), Some(TreeError::DrawnTwice(3)));
    assert_eq!(refused(&mut builder, BuildId::ROOT, &[0]), Some(TreeError::Undrawable(0)));
    assert_eq!(refused(&mut builder, BuildId::ROOT, &[8]), Some(TreeError::Undrawable(8)));
    assert_eq!(refused(&mut builder, BuildId::ROOT, &[]), None);
    let probe = builder.push(BuildId::ROOT, 1, Role::Probe).unwrap();
    assert_eq!(refused(&mut builder, BuildId::ROOT, &[3]), Some(TreeError::NotFirst));
    assert_eq!(refused(&mut builder, probe, &[3]), Some(TreeError::BelowProbe(3)));
}

#[test]
fn an_id_of_another_tree_is_refused() {
    let mut builder = TreeBuilder::new(0);
    let id = builder.push(BuildId::ROOT, 1, Role::Candidate).unwrap();
    builder.reset(0);
    assert_eq!(builder.push(id, 1, Role::Candidate), Err(TreeError::UnknownNode(1)));
    assert_eq!(builder.node(BuildId::ROOT), Err(TreeError::UnknownNode(0)), "nothing is frozen");
}

#[test]
fn every_broken_law_is_named() {
    let mut builder = TreeBuilder::new(0);
    let _ = builder.push_sampled(BuildId::ROOT, Q, &[3, 1]).unwrap();
    let probe = builder.push(BuildId::ROOT, 7, Role::Probe).unwrap();
    builder.push(probe, 7, Role::Probe).unwrap();
    let mut sound = DraftTree::single(0);
    builder.freeze(&mut sound);
    let broken = |law: &str, damage: fn(&mut DraftTree)| {
        let mut tree = sound.clone();
        damage(&mut tree);
        let found = tree.check_integrity();
        assert!(
            matches!(found, Err(TreeError::Broken { law: l, .. }) if l == law),
            "{law}: {found:?}"
        );
    };
    broken("a range is its subtree's size", |tree| tree.subtree_ends[1] = 3);
    broken("only the root has no parent", |tree| tree.parents[4] = NO_NODE);
    broken("only the root has no parent", |tree| tree.depths.iter_mut().for_each(|d| *d += 1));
    broken("the root is a candidate", |tree| tree.roles[0] = Role::Probe);
    broken("a parent precedes its children", |tree| tree.parents[4] = 4);
    broken("subtrees nest", |tree| {
        (tree.parents[4], tree.subtree_ends[1], tree.subtree_ends[3]) = (1, 3, 4);
    });
    broken("a child is one deeper", |tree| tree.depths[4] = 1);
    broken("siblings carry different tokens", |tree| tree.tokens[2] = 3);
    broken("no candidate hangs below a probe", |tree| tree.roles[4] = Role::Candidate);
    broken("a sampled proposal has children", |tree| tree.spans[4] = tree.spans[0]);
    broken("what is drawn is possible", |tree| tree.tokens[2] = 0);
    broken("a node is proposed after its parent", |tree| tree.order.swap(3, 4));
    broken("a node is proposed once", |tree| tree.order[2] = 1);
    broken("every node is in the order", |tree| tree.order.truncate(4));
}

proptest! {
    #[test]
    fn other_tokens_leave_the_shape(pushes in pushes()) {
        let (tree, ..) = build(&pushes);
        let mut other = tree.clone();
        other.respell(|node, token| if node == 0 { 7 } else { token + 100 });
        other.check_integrity().unwrap();
        prop_assert_eq!(other.token(0), 7);
        for node in 0..tree.len() {
            prop_assert_eq!(other.parent(node), tree.parent(node));
            prop_assert_eq!(other.role(node), tree.role(node));
            prop_assert!(node == 0 || other.token(node) == tree.token(node) + 100);
        }
    }
}

#[test]
fn other_tokens_were_not_drawn_from_what_is_known_of_the_old_ones() {
    let mut builder = TreeBuilder::new(0);
    let drawn = builder.push_sampled(BuildId::ROOT, [(1, 0.5), (2, 0.5)], &[2]).unwrap();
    assert_eq!(drawn.len(), 1);
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    assert_ne!(tree.proposal(0), Proposal::PointMass);
    tree.respell(|_, token| token + 1);
    assert_eq!(tree.proposal(0), Proposal::PointMass);
    tree.check_integrity().unwrap();
}
