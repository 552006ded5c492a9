//! `rejection` follows the law of plain decoding, exactly, whatever is drafted.

use super::super::rejection::Verifier;
use super::copies::{self, Defect};
use super::law::{Case, Found, Plan, examine};
use super::plans::{self, PLANS};
use super::table::{PAIRS, Pair, Table};
use crate::SamplingParams;

/// Examines the rule as it ships.
pub(super) fn examine_rule(case: &Case) -> Found {
    let mut verifier = Verifier::default();
    examine(case, &mut |step, sampler, branch, out| verifier.verify(step, sampler, branch, out))
}

fn assert_lossless(case: &Case, name: &str) -> Found {
    let found = examine_rule(case);
    let Found { error, impossible, stalled, .. } = found;
    let (pair, params) = (case.table.pair, &case.params);
    assert!(
        found.is_lossless(),
        "{name}, {pair:?}, {params:?}: error {error:e}, impossible {impossible:e}, {stalled} stalled"
    );
    found
}

fn plain() -> SamplingParams {
    SamplingParams { temperature: 1.0, ..SamplingParams::default() }
}

/// Every sampling parameter alone and all together.
fn every_parameter() -> [SamplingParams; 10] {
    [
        plain(),
        SamplingParams { temperature: 0.6, ..plain() },
        SamplingParams { top_k: Some(2), ..plain() },
        SamplingParams { top_p: 0.7, ..plain() },
        SamplingParams { min_p: 0.4, ..plain() },
        SamplingParams { repetition_penalty: 1.7, ..plain() },
        SamplingParams { presence_penalty: 0.8, ..plain() },
        SamplingParams { frequency_penalty: 0.6, ..plain() },
        SamplingParams { logit_bias: vec![(1, f32::NEG_INFINITY), (2, 0.7)], ..plain() },
        SamplingParams {
            temperature: 0.8,
            top_k: Some(3),
            top_p: 0.9,
            min_p: 0.05,
            repetition_penalty: 1.3,
            presence_penalty: 0.4,
            frequency_penalty: 0.3,
            logit_bias: vec![(0, 0.5), (3, f32::NEG_INFINITY)],
        },
    ]
}

#[test]
fn any_plan_after_any_pair_is_lossless_over_two_steps() {
    for pair in PAIRS {
        for (name, plan) in PLANS {
            assert_lossless(&Case::new(pair, &[plan, plans::chain::<2>]), name);
        }
    }
    for (name, plan) in PLANS {
        assert_lossless(&Case::new(Pair::Random, &[plans::siblings::<2>, plan]), name);
    }
}

#[test]
fn more_tokens_and_other_tables_change_nothing() {
    for (salt, pair) in [(2, Pair::Random), (3, Pair::Zeros), (4, Pair::Disjoint)] {
        for (name, plan) in PLANS {
            let case = Case::new(pair, &[plan, plans::chain::<1>]);
            let table = Table { pair, salt, vocab: 4 };
            assert_lossless(&Case { table, limit: 4, ..case }, name);
        }
    }
}

#[test]
fn every_parameter_is_applied_on_each_nodes_own_prefix() {
    let plans: [(&str, Plan); 4] = [
        ("chain of 2", plans::chain::<2>),
        ("fork", plans::fork),
        ("mixed", plans::mixed),
        ("duplicated points", plans::duplicated_points),
    ];
    for params in every_parameter() {
        for pair in [Pair::Random, Pair::Equal] {
            for (name, plan) in plans {
                let case = Case::new(pair, &[plan, plans::chain::<1>]);
                let table = Table { vocab: 4, ..case.table };
                assert_lossless(&Case { params: params.clone(), table, limit: 4, ..case }, name);
            }
        }
    }
}

#[test]
fn three_steps_in_a_row_are_lossless() {
    let plans: [Plan; 3] = [plans::chain::<2>, plans::siblings::<2>, plans::chain::<1>];
    assert_lossless(&Case { limit: 6, ..Case::new(Pair::Random, &plans) }, "three steps");
}

#[test]
fn an_end_of_text_inside_a_run_is_lossless() {
    for (name, plan) in PLANS {
        for limit in [1, 2, 5] {
            let case = Case::new(Pair::Random, &[plan, plans::chain::<2>]);
            assert_lossless(&Case { eos: Some(1), limit, ..case }, name);
        }
    }
}

#[test]
fn the_plain_copies_of_the_rule_are_lossless_too() {
    for pair in [Pair::Random, Pair::Zeros] {
        for (name, plan) in PLANS {
            let case = Case::new(pair, &[plan, plans::chain::<2>]);
            let found = examine(&case, &mut |step, sampler, branch, out| {
                copies::recursive(Defect::None, step, sampler, branch, out);
            });
            assert!(found.is_lossless(), "{name}, {pair:?}: {:e}", found.error);
        }
        let case = Case::new(pair, &[plans::chain::<3>, plans::chain::<2>]);
        let found = examine(&case, &mut |step, sampler, branch, out| {
            copies::block(Defect::None, step, sampler, branch, out);
        });
        assert!(found.is_lossless(), "block, {pair:?}: {:e}", found.error);
    }
}

#[test]
fn the_accepted_length_is_what_the_formulas_say() {
    for pair in PAIRS {
        let one_by_one = |plan: Plan| {
            examine(&Case::new(pair, &[plan]), &mut |step, sampler, branch, out| {
                copies::recursive(Defect::None, step, sampler, branch, out);
            })
        };
        let accepted = |plan: Plan| examine_rule(&Case::new(pair, &[plan])).accepted;
        // One token: the overlap of p and q.
        let table = Case::new(pair, &[]).table;
        let p = table.target(&plain(), &[]).unwrap();
        let q = table.draft(&super::table::PROMPT, &[], &mut table.sampler(&plain(), &[]));
        let overlap: f64 = q.iter().map(|(token, q)| q.min(p.probability(token))).sum();
        assert!((accepted(plans::chain::<1>) - overlap).abs() < 1e-12, "{pair:?}");
        // A block never loses to single tests, and all of a perfect draft is kept.
        let gain = accepted(plans::chain::<3>) - one_by_one(plans::chain::<3>).accepted;
        assert!(gain > -1e-12, "{pair:?}: {gain}");
        assert!(pair != Pair::Random || gain > 1e-3, "{gain}");
        assert!(pair != Pair::Equal || (accepted(plans::chain::<3>) - 3.0).abs() < 1e-12);
        // A second child helps; when all tokens are children, one is kept.
        assert!(accepted(plans::siblings::<2>) > accepted(plans::chain::<1>) - 1e-12);
        let covered = pair == Pair::Random || pair == Pair::Equal || pair == Pair::OneHotTarget;
        assert!(!covered || (accepted(plans::siblings::<3>) - 1.0).abs() < 1e-12, "{pair:?}");
    }
}
