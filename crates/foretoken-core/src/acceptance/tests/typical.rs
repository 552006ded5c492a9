//! `typical` is its formula, and it is lossy.

use super::super::typical::bar;
use super::super::{Accepted, Rule, Step, Verifier};
use super::table::TableRows;
use crate::{
    BuildId, Distribution, DraftTree, Noise, Role, Sampler, SamplingParams, TokenId, TreeBuilder,
};

fn row(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32).collect()
}

fn sampler(temperature: f64, seed: u64, vocab: usize) -> Sampler {
    let params = SamplingParams { temperature, ..SamplingParams::default() };
    Sampler::new(params, Noise { seed, choice: 0 }, vocab).unwrap()
}

/// Verifies edges (parent, token) in the order given; node rows follow the preorder.
fn verify(
    rule: Rule,
    edges: &[(usize, TokenId)],
    rows: Vec<Vec<f32>>,
    sampler: &mut Sampler,
) -> (DraftTree, Accepted) {
    let mut builder = TreeBuilder::new(0);
    let mut ids = vec![BuildId::ROOT];
    for &(parent, token) in edges {
        ids.push(builder.push(ids[parent], token, Role::Candidate).unwrap());
    }
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    let mut out = Accepted::new();
    let rows = TableRows(rows);
    let step = Step { tree: &tree, rows: &rows, position: 5, index: 0 };
    Verifier::new().verify(rule, &step, sampler, &mut out);
    (tree, out)
}

#[test]
fn the_bar_is_the_formula() {
    // Worked out apart from this code: min(0.09, 0.3 exp(sum p ln(p + 1e-5))).
    let cases: [(&[f64], f64, f64); 4] = [
        (&[0.5, 0.3, 0.15, 0.05], 0.095_746_342_612_048, 0.09),
        (&[0.25, 0.25, 0.25, 0.25], 0.075_003, 0.075_003),
        (&[0.97, 0.01, 0.01, 0.01], 0.253_692_251_148_569, 0.09),
        (&[0.8, 0.1, 0.06, 0.04], 0.148_041_027_126_052, 0.09),
    ];
    for (p, scaled, expected) in cases {
        let mut distribution = Distribution::new();
        distribution.set((0..).zip(p.iter().copied()));
        assert!((bar(&distribution, (1.0, 0.3)) - scaled).abs() < 1e-12, "{p:?}");
        assert!((bar(&distribution, (0.09, 0.3)) - expected).abs() < 1e-12, "{p:?}");
    }
}

#[test]
fn a_token_is_kept_when_it_exceeds_the_bar() {
    // The bar of this row is 0.09; tokens 0 and 1 pass it.
    let peaked = row(&[0.8, 0.1, 0.06, 0.04]);
    // The bar of this one is 0.3 * (1/4 + 1e-5): all tokens pass.
    let flat = row(&[0.25; 4]);
    for (first, token, kept) in
        [(&peaked, 0, 1), (&peaked, 1, 1), (&peaked, 2, 0), (&peaked, 3, 0), (&flat, 3, 1)]
    {
        let rows = vec![first.clone(), flat.clone()];
        let (_, out) = verify(Rule::TYPICAL, &[(0, token)], rows, &mut sampler(1.0, 4, 4));
        assert_eq!(out.drafted(), kept, "{first:?} {token}");
        assert_eq!(out.tokens().len(), kept + 1);
    }
}

#[test]
fn a_token_at_the_bar_is_not_kept() {
    let rows = || vec![row(&[0.25; 4]), row(&[0.25; 4])];
    for (threshold, kept) in [(0.25, 0), (0.249_999, 1)] {
        let rule = Rule::Typical { threshold, alpha: 100.0 };
        let (_, out) = verify(rule, &[(0, 2)], rows(), &mut sampler(1.0, 4, 4));
        assert_eq!(out.drafted(), kept, "threshold {threshold}");
    }
}

#[test]
fn the_temperature_is_applied_before_the_bar() {
    // At temperature 2 the probabilities are those of the square roots, and 0.06 becomes 0.148.
    let rows = || vec![row(&[0.8, 0.1, 0.06, 0.04]), row(&[0.25; 4])];
    for (temperature, kept) in [(1.0, 0), (2.0, 1)] {
        let mut sampler = sampler(temperature, 4, 4);
        let (_, out) = verify(Rule::TYPICAL, &[(0, 2)], rows(), &mut sampler);
        assert_eq!(out.drafted(), kept, "temperature {temperature}");
    }
}

#[test]
fn the_longest_path_wins_then_the_likelier_then_the_lower() {
    let flat = row(&[0.25; 4]);
    let tilted = row(&[0.2, 0.2, 0.35, 0.25]);
    let path = |edges: &[(usize, TokenId)], rows: Vec<Vec<f32>>| {
        let (tree, out) = verify(Rule::TYPICAL, edges, rows, &mut sampler(1.0, 4, 4));
        let tokens: Vec<_> = out.path()[1..].iter().map(|&node| tree.token(node)).collect();
        assert_eq!(tokens, out.tokens()[..out.drafted()]);
        tokens
    };
    // A longer path below a less likely child.
    assert_eq!(path(&[(0, 2), (0, 0), (2, 1)], vec![tilted.clone(); 4]), [0, 1]);
    // Two paths of one length: the second is likelier.
    assert_eq!(path(&[(0, 0), (0, 2)], vec![tilted.clone(); 3]), [2]);
    // Equal ones: the lower node.
    assert_eq!(path(&[(0, 3), (0, 1)], vec![flat.clone(); 3]), [3]);
    // What hangs below a token that is not kept is not kept.
    let peaked = row(&[0.8, 0.1, 0.06, 0.04]);
    let rows = vec![peaked, flat.clone(), flat.clone(), flat];
    assert_eq!(path(&[(0, 3), (1, 0), (0, 1)], rows), [1]);
}

#[test]
fn the_token_after_the_path_is_drawn_by_its_position() {
    let rows = vec![row(&[0.25; 4]), row(&[0.4, 0.3, 0.2, 0.1])];
    for seed in 0..50 {
        let mut sampler = sampler(1.0, seed, 4);
        let (_, out) = verify(Rule::TYPICAL, &[(0, 2)], rows.clone(), &mut sampler);
        assert_eq!(out.tokens(), [2, sampler.draw(&rows[1], &[2], 6).unwrap()]);
    }
}

#[test]
fn penalties_know_the_path() {
    // Both rows prefer 2; once 2 is on the path the penalty rules it out.
    let rows = || vec![row(&[0.1, 0.1, 0.7, 0.1]); 3];
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    for (presence_penalty, kept) in [(0.0, 2), (50.0, 1)] {
        let params = SamplingParams { presence_penalty, ..params.clone() };
        for seed in 0..40 {
            let mut sampler = Sampler::new(params.clone(), Noise { seed, choice: 0 }, 4).unwrap();
            let (_, out) = verify(Rule::TYPICAL, &[(0, 2), (1, 2)], rows(), &mut sampler);
            assert_eq!(out.drafted(), kept);
            assert!(kept == 2 || out.tokens()[1] != 2, "the next token is drawn after the path");
        }
    }
}

#[test]
fn a_threshold_tests_no_probe_and_draws_may_take_one() {
    let mut builder = TreeBuilder::new(0);
    builder.push(BuildId::ROOT, 1, Role::Probe).unwrap();
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    let rows = TableRows(vec![row(&[0.01, 0.97, 0.01, 0.01]); 2]);
    let step = Step { tree: &tree, rows: &rows, position: 5, index: 0 };
    for (rule, taken) in [(Rule::TYPICAL, 0), (Rule::Coupled, 1), (Rule::Rejection, 1)] {
        let mut out = Accepted::new();
        Verifier::new().verify(rule, &step, &mut sampler(1.0, 4, 4), &mut out);
        assert_eq!((out.path(), out.drafted()), (&[0, 1][..=taken], taken), "{rule:?}");
    }
}

#[test]
fn typical_acceptance_changes_the_law_and_the_others_do_not() {
    // A draft that always says 1: typical acceptance keeps it always, p says 0.3.
    let rows = || vec![row(&[0.5, 0.3, 0.15, 0.05]), row(&[0.25; 4])];
    let seeds = 4_000;
    let share_of_1 = |rule: Rule| {
        let first =
            |seed| verify(rule, &[(0, 1)], rows(), &mut sampler(1.0, seed, 4)).1.tokens()[0];
        (0..seeds).filter(|&seed| first(seed) == 1).count() as f64 / seeds as f64
    };
    assert_eq!(share_of_1(Rule::TYPICAL), 1.0);
    for rule in [Rule::Coupled, Rule::Rejection] {
        assert!((share_of_1(rule) - 0.3).abs() < 0.03, "{rule:?}: {}", share_of_1(rule));
    }
    assert!(!Rule::TYPICAL.is_lossless() && Rule::Coupled.is_lossless());
    assert!(Rule::Rejection.is_lossless());
}
