//! The classical mistakes, each of which the enumeration must find.

use super::super::rejection::Verifier;
use super::copies::{self, Defect};
use super::law::{Case, Found, OrEqual, Plan, examine};
use super::plans;
use super::rejection::examine_rule;
use super::table::{Pair, Table};

fn recursive(defect: Defect, pair: Pair, plan: Plan) -> Found {
    examine(&Case::new(pair, &[plan, plans::chain::<2>]), &mut |step, sampler, branch, out| {
        copies::recursive(defect, step, sampler, branch, out);
    })
}

fn block(defect: Defect) -> Found {
    let case = Case::new(Pair::Random, &[plans::chain::<3>, plans::chain::<2>]);
    examine(&case, &mut |step, sampler, branch, out| {
        copies::block(defect, step, sampler, branch, out);
    })
}

#[test]
fn a_rejected_token_replaced_from_the_target_is_found() {
    for plan in [plans::chain::<2>, plans::siblings::<2>] {
        let found = recursive(Defect::ResidualIsTarget, Pair::Random, plan);
        assert!(!found.is_lossless() && found.error > 1e-3, "{:e}", found.error);
    }
}

#[test]
fn a_missing_bonus_is_found() {
    let found = recursive(Defect::NoBonus, Pair::Random, plans::chain::<2>);
    assert!(!found.is_lossless() && found.stalled > 0);
}

#[test]
fn a_draft_that_keeps_its_drawn_tokens_is_found() {
    let found = recursive(Defect::DraftNotRenormalised, Pair::Random, plans::siblings::<2>);
    assert!(!found.is_lossless() && found.error > 1e-3, "{:e}", found.error);
}

#[test]
fn the_best_tokens_passed_off_as_drawn_are_found() {
    let plans: [Plan; 2] = [plans::best_as_sampled::<1>, plans::best_as_sampled::<2>];
    for plan in plans {
        let found = examine_rule(&Case::new(Pair::Random, &[plan, plans::chain::<2>]));
        assert!(!found.is_lossless() && found.error > 1e-3, "{:e}", found.error);
    }
}

#[test]
fn a_law_that_was_not_restricted_to_shared_tokens_is_found() {
    let plans: [Plan; 2] = [plans::shared_as_all, plans::chain::<2>];
    let found = examine_rule(&Case::new(Pair::Random, &plans));
    assert!(!found.is_lossless() && found.error > 1e-3, "{:e}", found.error);
}

#[test]
fn an_unlikely_token_left_out_is_found() {
    let plans: [Plan; 2] = [plans::unlikely_left_out, plans::chain::<2>];
    let found = examine_rule(&Case::new(Pair::Random, &plans));
    assert!(!found.is_lossless() && found.error > 1e-3, "{:e}", found.error);
}

#[test]
fn less_or_equal_at_probability_zero_is_found() {
    let plans: [Plan; 2] = [plans::siblings::<2>, plans::fork];
    for pair in [Pair::OneHotTarget, Pair::Disjoint] {
        for plan in plans {
            let mut verifier = Verifier::default();
            let case = Case::new(pair, &[plan, plans::chain::<1>]);
            let case = Case { table: Table { vocab: 4, ..case.table }, ..case };
            let found = examine(&case, &mut |step, sampler, branch, out| {
                verifier.verify(step, sampler, &mut OrEqual(branch), out);
            });
            assert!(!found.is_lossless() && found.impossible > 0.0, "{pair:?}");
        }
    }
}

#[test]
fn a_block_only_where_the_whole_tree_is_a_chain_is_found() {
    let plans: [Plan; 2] = [plans::chain_with_a_lucky_end, plans::chain::<2>];
    let case = Case::new(Pair::Random, &plans);
    let found = examine(&case, &mut |step, sampler, branch, out| {
        let is_chain = (0..step.tree.len() - 1)
            .all(|node| step.tree.proposal(node) != crate::Proposal::PointMass);
        let rule = if is_chain { copies::block } else { copies::recursive };
        rule(Defect::None, step, sampler, branch, out);
    });
    assert!(!found.is_lossless() && found.error > 1e-5, "{:e}", found.error);
}

#[test]
fn a_block_residual_without_its_weight_is_found() {
    let found = block(Defect::ResidualNotWeighted);
    assert!(!found.is_lossless() && found.error > 1e-5, "{:e}", found.error);
}

#[test]
fn a_block_that_stops_at_its_first_failed_test_is_found() {
    let found = block(Defect::StopsEarly);
    assert!(!found.is_lossless() && found.error > 1e-3, "{:e}", found.error);
}
