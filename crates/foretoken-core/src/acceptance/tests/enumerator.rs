//! A source of chance that takes every branch in turn.

use std::collections::HashSet;

use super::super::chance::{Chance, Key};
use super::super::weights::Weight;
use crate::TokenId;

/// Branches of less mass are not followed.
const NEGLIGIBLE: f64 = 1e-18;

/// Replays the choices of the present branch, then takes the first possible outcome of each new one.
#[derive(Default)]
pub(super) struct Branch {
    choices: Vec<Choice>,
    next: usize,
    mass: f64,
    keys: HashSet<Key>,
}

struct Choice {
    outcomes: Vec<f64>,
    taken: usize,
}

impl Branch {
    /// Forgets the keys of the step before.
    pub(super) fn start_step(&mut self) {
        self.keys.clear();
    }

    /// The index of the outcome taken, given the probability of each.
    fn choose(&mut self, key: Key, outcomes: Vec<f64>) -> usize {
        assert!(self.keys.insert(key), "two numbers of one step share {key:?}");
        if self.next == self.choices.len() {
            let taken = possible_from(&outcomes, 0).expect("some outcome is possible");
            self.choices.push(Choice { outcomes, taken });
        }
        let choice = &self.choices[self.next];
        self.next += 1;
        self.mass *= choice.outcomes[choice.taken];
        choice.taken
    }

    /// Goes on to the next branch; false after the last one.
    fn advance(&mut self) -> bool {
        while let Some(choice) = self.choices.last_mut() {
            if let Some(taken) = possible_from(&choice.outcomes, choice.taken + 1) {
                choice.taken = taken;
                return true;
            }
            self.choices.pop();
        }
        false
    }
}

fn possible_from(outcomes: &[f64], start: usize) -> Option<usize> {
    (start..outcomes.len()).find(|&i| outcomes[i] > NEGLIGIBLE)
}

impl Chance for Branch {
    fn bernoulli(&mut self, key: Key, p: f64) -> bool {
        assert!(p >= 0.0, "{p} is no probability");
        let p = p.min(1.0);
        self.choose(key, vec![p, 1.0 - p]) == 0
    }

    fn categorical(&mut self, key: Key, weights: &[Weight]) -> Option<TokenId> {
        let total: f64 = weights.iter().map(|&(_, weight)| weight).sum();
        if total <= 0.0 {
            return None;
        }
        let outcomes = weights.iter().map(|&(_, weight)| weight / total).collect();
        Some(weights[self.choose(key, outcomes)].0)
    }
}

/// Runs `process` once for every way its choices can fall, and `account` with what it returned and
/// the mass of that way.
pub(super) fn enumerate<T>(
    mut process: impl FnMut(&mut Branch) -> T,
    mut account: impl FnMut(T, f64),
) {
    let mut branch = Branch::default();
    loop {
        branch.next = 0;
        branch.mass = 1.0;
        branch.keys.clear();
        let result = process(&mut branch);
        account(result, branch.mass);
        if !branch.advance() {
            return;
        }
    }
}

#[test]
fn every_branch_is_taken_once_with_its_mass() {
    let key = |index| Key { domain: crate::Domain::Residual, position: 0, index };
    let mut seen = Vec::new();
    enumerate(
        |branch| {
            let go_on = branch.bernoulli(key(0), 0.25);
            go_on.then(|| branch.categorical(key(1), &[(5, 1.0), (6, 0.0), (7, 3.0)])).flatten()
        },
        |token, mass| seen.push((token, mass)),
    );
    assert_eq!(seen, [(Some(5), 0.0625), (Some(7), 0.1875), (None, 0.75)]);
}
