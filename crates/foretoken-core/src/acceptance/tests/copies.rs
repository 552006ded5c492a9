//! Second, plain implementations of the two rejection rules, with defects that can be switched on.
//!
//! Without a defect they must pass the check that they fail with one: this is what shows that the
//! check can see.

use super::super::chance::{Chance, Key};
use super::super::{Accepted, Step};
use super::enumerator::Branch;
use crate::{Distribution, Domain, NodeId, Proposal, Sampler, TokenId};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Defect {
    None,
    /// A rejected token is replaced from p, not from the residual.
    ResidualIsTarget,
    /// Nothing follows a fully accepted draft.
    NoBonus,
    /// q keeps the probability of tokens already drawn.
    DraftNotRenormalised,
    /// Block verification subtracts q from p without its weight.
    ResidualNotWeighted,
    /// Block verification stops at the first test that fails.
    StopsEarly,
}

fn dense(vocab: usize, weights: impl IntoIterator<Item = (TokenId, f64)>) -> Vec<f64> {
    let mut dense = vec![0.0; vocab];
    for (token, weight) in weights {
        dense[token as usize] = weight;
    }
    dense
}

fn target(step: &Step<'_>, node: NodeId, path: &[TokenId], sampler: &mut Sampler) -> Vec<f64> {
    let mut p = Distribution::new();
    let row = step.rows.row(node);
    sampler.distribution(row, path, &mut p).unwrap();
    dense(row.len(), p.iter())
}

fn residual(p: &[f64], q: &[f64]) -> Vec<f64> {
    let over: Vec<f64> = p.iter().zip(q).map(|(p, q)| (p - q).max(0.0)).collect();
    let total: f64 = over.iter().sum();
    if total > 0.0 { over.iter().map(|over| over / total).collect() } else { p.to_vec() }
}

fn draw(branch: &mut Branch, position: u32, p: &[f64]) -> TokenId {
    let weights: Vec<_> = (0..).zip(p.iter().copied()).collect();
    let key = Key { domain: Domain::Residual, position, index: 0 };
    branch.categorical(key, &weights).unwrap()
}

/// Tests sampled children one by one, at every node.
pub(super) fn recursive(
    defect: Defect,
    step: &Step<'_>,
    sampler: &mut Sampler,
    branch: &mut Branch,
    out: &mut Accepted,
) {
    let mut node = 0;
    'walk: loop {
        let mut p = target(step, node, &out.tokens, sampler);
        let position = step.position + step.tree.depth(node);
        let children: Vec<NodeId> = step.tree.candidate_children(node).collect();
        if defect == Defect::NoBonus && node != 0 && children.is_empty() {
            return;
        }
        let Proposal::Sampled(q) = step.tree.proposal(node) else {
            let token = draw(branch, position, &p);
            let Some(child) = step.tree.child_with_token(node, token) else {
                return out.tokens.push(token);
            };
            out.descend(child, token);
            node = child;
            continue;
        };
        let mut q = dense(p.len(), q.iter().copied());
        for child in children {
            let token = step.tree.token(child);
            let key = Key { domain: Domain::Accept, position, index: token };
            if branch.bernoulli(key, p[token as usize] / q[token as usize]) {
                out.descend(child, token);
                node = child;
                continue 'walk;
            }
            if defect != Defect::ResidualIsTarget {
                p = residual(&p, &q);
            }
            q[token as usize] = 0.0;
            let left: f64 = q.iter().sum();
            if defect != Defect::DraftNotRenormalised && left > 0.0 {
                q = q.iter().map(|q| q / left).collect();
            }
        }
        return out.tokens.push(draw(branch, position, &p));
    }
}

/// Block verification of a chain whose rows are all sound.
pub(super) fn block(
    defect: Defect,
    step: &Step<'_>,
    sampler: &mut Sampler,
    branch: &mut Branch,
    out: &mut Accepted,
) {
    let tokens = &step.tree.tokens()[1..];
    let count = tokens.len();
    let p: Vec<_> = (0..=count).map(|i| target(step, i, &tokens[..i], sampler)).collect();
    let q = |i: usize| match step.tree.proposal(i) {
        Proposal::Sampled(q) => dense(p[i].len(), q.iter().copied()),
        Proposal::PointMass => vec![0.0; p[i].len()],
    };
    let mut weights = vec![1.0f64];
    for (i, &token) in tokens.iter().enumerate() {
        let token = token as usize;
        weights.push((weights[i] * p[i][token] / q(i)[token]).min(1.0));
    }
    let mut accepted = 0;
    for i in 1..=count {
        let w = weights[i];
        let excess: f64 = p[i].iter().zip(q(i)).map(|(p, q)| (w * p - q).max(0.0)).sum();
        let below_one = if excess > 0.0 { excess / (excess + 1.0 - w) } else { 0.0 };
        let keep = if i == count { w } else { below_one };
        let position = step.position + i as u32 - 1;
        let key = Key { domain: Domain::Accept, position, index: tokens[i - 1] };
        if branch.bernoulli(key, keep) {
            accepted = i;
        } else if defect == Defect::StopsEarly {
            break;
        }
    }
    for (node, &token) in tokens[..accepted].iter().enumerate() {
        out.descend(node + 1, token);
    }
    let weighted = |p: &f64| p * weights[accepted];
    let over = match defect {
        Defect::ResidualNotWeighted => residual(&p[accepted], &q(accepted)),
        _ => residual(&p[accepted].iter().map(weighted).collect::<Vec<_>>(), &q(accepted)),
    };
    out.tokens.push(draw(branch, step.position + accepted as u32, &over));
}
