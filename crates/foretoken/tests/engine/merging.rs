//! Merging on recorded drafts of the built-in model: the budget goes to the better drafter.

use crate::hundred::sentences_and_code;
use crate::traces::{record, replay};

const DRAFTERS: [&str; 7] =
    ["model", "medusa", "lookup", "suffix", "lookahead", "jacobi", "recycle"];
const TEMPERATURES: [f64; 2] = [0.0, 0.8];

/// Merges every pair at every budget and checks it, printing a table.
fn check(prompts: &[&str], tokens: usize) {
    for temperature in TEMPERATURES {
        let traces = record(&DRAFTERS.join("+"), prompts, (temperature, tokens));
        for (first, second) in
            (0..DRAFTERS.len()).flat_map(|first| (0..first).map(move |second| (second, first)))
        {
            for budget in [8, 16] {
                let totals = replay(&traces, [first, second], budget);
                let best = totals.members[0].max(totals.members[1]);
                let share = totals.merged as f64 / best.max(1) as f64;
                let per_step = |count: usize| 1.0 + count as f64 / totals.steps as f64;
                println!(
                    "| {temperature} | {budget} | `{}+{}` | {:.3} | {:.3} | {:.3} | {share:.3} |",
                    DRAFTERS[first],
                    DRAFTERS[second],
                    per_step(totals.members[0]),
                    per_step(totals.members[1]),
                    per_step(totals.merged),
                );
                assert_eq!(totals.worse, 0, "who knows the text is never worse: {totals:?}");
                assert!(share >= 0.98, "{} is {share} of the best", totals.merged);
            }
        }
    }
}

#[test]
fn no_pair_is_much_worse_than_its_better_drafter() {
    let prompts: Vec<_> = include_str!("../../../../testdata/prompts.txt").lines().collect();
    check(&prompts, 128);
}

/// No constant was chosen on these.
#[test]
fn no_pair_is_much_worse_on_prompts_that_were_held_out() {
    let prompts: Vec<_> = sentences_and_code().collect();
    check(&prompts.iter().map(String::as_str).collect::<Vec<_>>(), 64);
}
