//! Texts that end inside a run, and rows from which nothing can be drawn.

use super::super::{Accepted, Rule, Step, Verifier};
use super::table::{PROMPT, Pair, Table, TableRows};
use crate::{
    BuildId, Distribution, DraftTree, SampleError, Sampler, SamplingParams, TokenId, TreeBuilder,
};

const RULES: [Rule; 3] = [Rule::Coupled, Rule::Rejection, Rule::TYPICAL];

fn table() -> Table {
    Table { pair: Pair::Random, salt: 9, vocab: 4 }
}

fn sampler(temperature: f64) -> Sampler {
    table().sampler(&SamplingParams { temperature, ..SamplingParams::default() }, &[])
}

/// A chain of three tokens that every rule accepts whole: each row allows one token only, and q, where
/// it is kept, is p.
fn certain_chain(sampled: bool) -> (DraftTree, TableRows) {
    let tokens: [TokenId; 4] = [3, 1, 2, 0];
    let row = |token: TokenId| {
        (0..4).map(|t| if t == token { 0.0 } else { f32::NEG_INFINITY }).collect::<Vec<f32>>()
    };
    let rows = TableRows(tokens.iter().map(|&token| row(token)).collect());
    let mut builder = TreeBuilder::new(PROMPT[2]);
    let mut node = BuildId::ROOT;
    for &token in &tokens[..3] {
        node = if sampled {
            let mut q = Distribution::new();
            q.set_point_mass(token);
            builder.push_sampled(node, q.iter(), &[token]).unwrap().last().unwrap()
        } else {
            builder.push(node, token, crate::Role::Candidate).unwrap()
        };
    }
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    (tree, rows)
}

fn verify(rule: Rule, tree: &DraftTree, rows: &TableRows, temperature: f64) -> Accepted {
    let mut out = Accepted::new();
    let step = Step { tree, rows, position: 3, index: 0 };
    Verifier::new().verify(rule, &step, &mut sampler(temperature), &mut out);
    out
}

/// Calls `check` for every rule, temperature and kind of proposal.
fn for_all(check: impl Fn(Rule, f64, DraftTree, TableRows)) {
    for rule in RULES {
        for temperature in [0.0, 1.0] {
            for sampled in [false, true] {
                let (tree, rows) = certain_chain(sampled);
                check(rule, temperature, tree, rows);
            }
        }
    }
}

#[test]
fn cutting_keeps_one_row_less_than_the_drafted_tokens() {
    for_all(|rule, temperature, tree, rows| {
        let whole = verify(rule, &tree, &rows, temperature);
        assert_eq!(whole.path(), [0, 1, 2, 3]);
        assert_eq!(whole.tokens(), [3, 1, 2, 0]);
        assert_eq!((whole.drafted(), whole.is_cut()), (3, false));
        for count in 0..=5 {
            let mut out = whole.clone();
            out.truncate(count);
            assert_eq!(out.tokens(), &whole.tokens()[..count.min(4)], "{rule:?} {count}");
            assert_eq!(out.path(), &whole.path()[..count.clamp(1, 4)]);
            assert_eq!((out.drafted(), out.is_cut()), (count.min(3), count < 4));
        }
    });
}

#[test]
fn tokens_before_a_row_that_cannot_be_drawn_from_stand() {
    for_all(|rule, temperature, tree, mut rows| {
        rows.0[2][1] = f32::NAN;
        let failed = verify(rule, &tree, &rows, temperature);
        assert_eq!(failed.failure(), Some(SampleError::NotANumber { token: 1 }), "{rule:?}");
        assert_eq!(failed.tokens(), [3, 1], "{rule:?}");
        assert_eq!(failed.path(), [0, 1, 2]);
        for count in 1..=2 {
            let mut out = failed.clone();
            out.truncate(count);
            assert_eq!(out.failure(), None, "a text that ends before the failure never meets it");
            assert_eq!((out.path().len(), out.tokens().len()), (count, count));
            assert!(out.is_cut());
        }
        let mut out = failed.clone();
        out.truncate(3);
        assert_eq!(out, failed, "a text that goes on past the failure fails");
    });
}

#[test]
fn a_root_that_cannot_be_drawn_from_emits_nothing() {
    for_all(|rule, temperature, tree, mut rows| {
        rows.0[0].fill(f32::NEG_INFINITY);
        let out = verify(rule, &tree, &rows, temperature);
        assert_eq!(out.failure(), Some(SampleError::EverythingBanned), "{rule:?}");
        assert_eq!((out.path(), out.tokens()), (&[0][..], &[][..]));
    });
}

#[test]
fn a_failure_is_forgotten_at_the_next_step() {
    for_all(|rule, temperature, tree, rows| {
        let bad = TableRows(vec![vec![f32::NAN; 4]; 4]);
        let mut sampler = sampler(temperature);
        let mut out = Accepted::new();
        for rows in [&bad, &rows] {
            let step = Step { tree: &tree, rows, position: 3, index: 0 };
            Verifier::new().verify(rule, &step, &mut sampler, &mut out);
        }
        assert_eq!(out, verify(rule, &tree, &rows, temperature), "{rule:?}");
        assert_eq!(out.failure(), None);
    });
}

#[test]
fn a_bad_row_that_the_text_does_not_reach_changes_nothing() {
    for_all(|rule, temperature, tree, mut rows| {
        rows.0[1].swap(1, 2);
        let sound = verify(rule, &tree, &rows, temperature);
        rows.0[3].fill(f32::NAN);
        rows.0[2].fill(f32::NAN);
        assert_eq!(verify(rule, &tree, &rows, temperature), sound, "{rule:?}");
        assert_eq!(sound.tokens(), [3, 2], "{rule:?}");
    });
}
