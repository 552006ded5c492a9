//! Drafters for the enumeration, honest ones and two that are not.

use super::law::{Drafting, Plan};
use crate::{BuildId, Distribution, DraftTree, Role, TokenId, TreeBuilder};

pub(super) fn nothing(_: &mut Drafting<'_>) {}

pub(super) fn chain<const K: usize>(drafting: &mut Drafting<'_>) {
    let (mut node, mut path) = (BuildId::ROOT, Vec::new());
    for _ in 0..K {
        (node, path) = drafting.sample(node, &path, 1).remove(0);
    }
}

/// Stops after a token that was unlikely; the token itself stays.
pub(super) fn chain_until_unsure(drafting: &mut Drafting<'_>) {
    let (mut node, mut path) = (BuildId::ROOT, Vec::new());
    for _ in 0..3 {
        let q = drafting.q(&path);
        (node, path) = drafting.sample(node, &path, 1).remove(0);
        if q.probability(path[path.len() - 1]) < 0.4 {
            return;
        }
    }
}

/// Stops before a draw from a flat distribution.
pub(super) fn chain_while_peaked(drafting: &mut Drafting<'_>) {
    let (mut node, mut path) = (BuildId::ROOT, Vec::new());
    while path.len() < 3 && best(&drafting.q(&path), 1)[0].1 > 0.45 {
        (node, path) = drafting.sample(node, &path, 1).remove(0);
    }
}

pub(super) fn chain_with_probes(drafting: &mut Drafting<'_>) {
    let (first, path) = drafting.sample(BuildId::ROOT, &[], 1).remove(0);
    drafting.sample(first, &path, 1);
    for parent in [BuildId::ROOT, first] {
        for token in 0..3 {
            let probe = drafting.builder.push(parent, token, Role::Probe).unwrap();
            drafting.builder.push(probe, 0, Role::Probe).unwrap();
        }
    }
}

/// Hangs a point mass below one drawn token and nothing below others: had the whole tree to be a
/// chain to be verified as a block, the rule would depend on the last draw.
pub(super) fn chain_with_a_lucky_end(drafting: &mut Drafting<'_>) {
    let (first, path) = drafting.sample(BuildId::ROOT, &[], 1).remove(0);
    let (second, path) = drafting.sample(first, &path, 1).remove(0);
    if path[1] == 0 {
        drafting.point(second, 1);
    }
}

pub(super) fn siblings<const K: usize>(drafting: &mut Drafting<'_>) {
    drafting.sample(BuildId::ROOT, &[], K);
}

/// Two children, each with one child.
pub(super) fn fork(drafting: &mut Drafting<'_>) {
    for (child, path) in drafting.sample(BuildId::ROOT, &[], 2) {
        drafting.sample(child, &path, 1);
    }
}

/// A child with two children and a child with none.
pub(super) fn comb(drafting: &mut Drafting<'_>) {
    let children = drafting.sample(BuildId::ROOT, &[], 2);
    drafting.sample(children[0].0, &children[0].1, 2);
}

/// A chain below a likely token, two more children otherwise: the shape depends on the draws.
pub(super) fn shape_by_draws(drafting: &mut Drafting<'_>) {
    let q = drafting.q(&[]);
    let drawn = drafting.draw(&q, 1);
    if q.probability(drawn[0]) > 0.4 {
        let child = drafting.push_drawn(&q, &drawn)[0];
        drafting.sample(child, &drawn, 1);
    } else {
        let mut left = Distribution::new();
        left.set(q.iter().filter(|&(token, _)| token != drawn[0]));
        let more = drafting.draw(&left, 1);
        let drawn = [drawn, more].concat();
        drafting.push_drawn(&q, &drawn);
    }
}

/// Sampled children with point masses and samples below them.
pub(super) fn mixed(drafting: &mut Drafting<'_>) {
    let children = drafting.sample(BuildId::ROOT, &[], 2);
    let (child, path) = &children[0];
    for (token, _) in best(&drafting.q(path), 2) {
        drafting.point(*child, token);
    }
    if let Some((child, path)) = children.get(1) {
        drafting.sample(*child, path, 1);
    }
}

/// A point mass with sampled children.
pub(super) fn point_then_sampled(drafting: &mut Drafting<'_>) {
    let (token, _) = best(&drafting.q(&[]), 1)[0];
    let child = drafting.point(BuildId::ROOT, token);
    drafting.sample(child, &[token], 2);
}

/// The best tokens, each proposed twice; one child goes on, and is proposed again after that.
pub(super) fn duplicated_points(drafting: &mut Drafting<'_>) {
    let root = BuildId::ROOT;
    let two = best(&drafting.q(&[]), 2);
    for &(token, _) in &[&two[..], &two[..]].concat() {
        drafting.point(root, token);
    }
    let child = drafting.point(root, two[0].0);
    drafting.point(child, 1);
    assert_eq!(drafting.point(root, two[0].0), child);
    assert_eq!(drafting.builder.len(), 2 + two.len());
}

/// Two drawn children, then a proposal that may repeat one of them.
pub(super) fn sampled_then_point(drafting: &mut Drafting<'_>) {
    drafting.sample(BuildId::ROOT, &[], 2);
    drafting.point(BuildId::ROOT, 0);
}

/// A sampled chain merged with a fixed one, under a budget that may cut either.
pub(super) fn union_with_lookup<const BUDGET: usize>(drafting: &mut Drafting<'_>) {
    chain::<3>(drafting);
    drafting.with = Some((DraftTree::chain(&[drafting.root(), 1, 0]).unwrap(), BUDGET));
}

/// Two sampled trees of different shape, under a budget.
pub(super) fn union_of_samples<const BUDGET: usize>(drafting: &mut Drafting<'_>) {
    let root = drafting.root();
    let mut other = DraftTree::single(root);
    let (child, _) = drafting.sample(BuildId::ROOT, &[], 1).remove(0);
    drafting.point(child, 0);
    drafting.builder.freeze(&mut other);
    *drafting.builder = TreeBuilder::new(root);
    comb(drafting);
    drafting.with = Some((other, BUDGET));
}

/// A draft of another vocabulary, which lacks token 2: what it can draw has all the probability.
pub(super) fn chain_among_shared(drafting: &mut Drafting<'_>) {
    let (mut node, mut path) = (BuildId::ROOT, Vec::new());
    for _ in 0..2 {
        let shared = shared(&drafting.q(&path));
        let drawn = drafting.draw(&shared, 1);
        let Some(&token) = drawn.first() else { return };
        let mut ids = drafting.builder.push_sampled(node, shared.iter(), &drawn).unwrap();
        node = ids.next().unwrap();
        path.push(token);
    }
}

/// Not honest: draws among the tokens that both vocabularies have and says that any could be drawn.
pub(super) fn shared_as_all(drafting: &mut Drafting<'_>) {
    let q = drafting.q(&[]);
    let drawn = drafting.draw(&shared(&q), 1);
    drafting.push_drawn(&q, &drawn);
}

/// The part of `q` on the tokens of another vocabulary.
fn shared(q: &Distribution) -> Distribution {
    let mut shared = Distribution::new();
    shared.set(q.iter().filter(|&(token, _)| token != 2));
    shared
}

/// Draws below the second child, and below the first, which may be the likelier one, only if that draw was
/// unlikely: taken by value alone, the budget would keep the first draw by what it was.
pub(super) fn union_by_luck<const BUDGET: usize>(drafting: &mut Drafting<'_>) {
    let children = drafting.sample(BuildId::ROOT, &[], 2);
    if let [(first, path), (second, below)] = &children[..] {
        let q = drafting.q(below);
        let (_, drawn) = drafting.sample(*second, below, 1).remove(0);
        if q.probability(drawn[1]) < 0.4 {
            drafting.sample(*first, path, 1);
        }
    }
    drafting.with = Some((DraftTree::single(drafting.root()), BUDGET));
}

/// A sampled tree beside a tree with estimates that is likelier than some of its draws.
pub(super) fn union_by_estimates<const BUDGET: usize>(drafting: &mut Drafting<'_>) {
    shape_by_draws(drafting);
    let mut other = TreeBuilder::new(drafting.root());
    let child = other.propose(BuildId::ROOT, 1, 0.5).unwrap();
    other.propose(child, 0, 0.6).unwrap();
    other.propose(child, 2, 0.3).unwrap();
    let mut tree = DraftTree::single(0);
    other.freeze(&mut tree);
    drafting.with = Some((tree, BUDGET));
}

/// A sampled chain whose first token another tree brings earlier and surer than its draw was.
pub(super) fn union_overtaken<const BUDGET: usize>(drafting: &mut Drafting<'_>) {
    chain::<3>(drafting);
    let mut other = TreeBuilder::new(drafting.root());
    for (token, estimate) in [(0, 0.9), (1, 0.8), (2, 0.7)] {
        other.propose(BuildId::ROOT, token, estimate).unwrap();
    }
    let mut tree = DraftTree::single(0);
    other.freeze(&mut tree);
    drafting.with = Some((tree, BUDGET));
}

/// Not honest: takes the best tokens and says that they were drawn.
pub(super) fn best_as_sampled<const K: usize>(drafting: &mut Drafting<'_>) {
    let q = drafting.q(&[]);
    let tokens: Vec<TokenId> = best(&q, K).iter().map(|&(token, _)| token).collect();
    drafting.push_drawn(&q, &tokens);
}

/// Not honest: leaves out a token because it was unlikely.
pub(super) fn unlikely_left_out(drafting: &mut Drafting<'_>) {
    let q = drafting.q(&[]);
    let drawn = drafting.draw(&q, 1);
    if q.probability(drawn[0]) > 0.4 {
        drafting.push_drawn(&q, &drawn);
    }
}

/// The `k` most probable tokens that are possible.
fn best(q: &Distribution, k: usize) -> Vec<(TokenId, f64)> {
    let mut tokens: Vec<_> = q.iter().filter(|&(_, p)| p > 0.0).collect();
    tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
    tokens.truncate(k);
    tokens
}

/// Every honest drafter, by name.
pub(super) const PLANS: [(&str, Plan); 25] = [
    ("nothing", nothing),
    ("chain of 1", chain::<1>),
    ("chain of 2", chain::<2>),
    ("chain of 3", chain::<3>),
    ("chain until unsure", chain_until_unsure),
    ("chain while peaked", chain_while_peaked),
    ("chain with probes", chain_with_probes),
    ("chain with a lucky end", chain_with_a_lucky_end),
    ("chain among shared", chain_among_shared),
    ("2 siblings", siblings::<2>),
    ("3 siblings", siblings::<3>),
    ("more siblings than tokens", siblings::<9>),
    ("fork", fork),
    ("comb", comb),
    ("shape by draws", shape_by_draws),
    ("mixed", mixed),
    ("point then sampled", point_then_sampled),
    ("duplicated points", duplicated_points),
    ("sampled then point", sampled_then_point),
    ("union with lookup", union_with_lookup::<3>),
    ("union of samples", union_of_samples::<9>),
    ("union of samples, cut", union_of_samples::<2>),
    ("union by luck", union_by_luck::<3>),
    ("union by estimates", union_by_estimates::<3>),
    ("union overtaken", union_overtaken::<3>),
];
