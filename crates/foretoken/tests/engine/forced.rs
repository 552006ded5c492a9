//! Forced text: what is emitted is given, and nothing else is different.

use foretoken::{FinishReason, Request, SpecStats, TokenId};

use crate::models::{Domain, Tiny, options, prompt};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

fn bench(tiny: &Tiny, drafter: &str) -> Bench {
    let mut options = options(tiny.source(), Domain::F32, 1);
    drafter.clone_into(&mut options.drafter);
    options.draft.tokens = Some(24);
    options.medusa.heads = Some(tiny.heads());
    options.max_sequences = 2;
    Bench::new(options)
}

/// What was counted, without times.
fn counts(stats: &SpecStats) -> (u64, u64, u64, u64, Vec<u64>) {
    let SpecStats { steps, drafted, probes, accepted, accepted_by_position, .. } = stats;
    (*steps, *drafted, *probes, *accepted, accepted_by_position.clone())
}

#[test]
fn a_target_forced_to_its_own_text_takes_the_same_steps() {
    let tiny = Tiny::new("llama-gqa");
    for drafter in ["none", "lookup", "suffix", "lookahead", "jacobi", "medusa", "suffix+jacobi"] {
        for (n, sampling) in samplings().iter().enumerate() {
            let mut request = request(prompt(1 + 20 * n, n as u64), sampling, 70);
            let mut bench = bench(&tiny, drafter);
            let free = bench.run(vec![request.clone()], 0).remove(0).unwrap();
            // Its last tokens forced beyond what may be written.
            request.forced = Some([&free.tokens[..], &[1, 2, 3]].concat());
            let forced = bench.run(vec![request], 0).remove(0).unwrap();
            assert_eq!((&forced.tokens, &forced.text), (&free.tokens, &free.text), "{drafter}");
            assert_eq!(counts(&forced.stats), counts(&free.stats), "{drafter} {n}");
        }
    }
}

#[test]
fn any_text_can_be_forced_beside_others_that_are_free() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let free = Job::new(&mut plain, request(prompt(30, 8), &samplings()[1], 60));
    let text: Vec<TokenId> = prompt(15, 77).repeat(5);
    let forced = Request { forced: Some(text.clone()), max_tokens: None, ..free.request.clone() };
    let mut bench = bench(&tiny, "suffix");
    let outcomes = bench.run(vec![forced, free.request.clone()], 1);
    let [forced, other] = outcomes.try_into().unwrap();
    let forced = forced.unwrap();
    assert_eq!(forced.tokens, text);
    assert_eq!(forced.finish_reason, FinishReason::Length);
    assert!(forced.stats.mean_accepted_length() > 3.0, "what repeats is drafted");
    let log = bench.log.lock().unwrap();
    free.check(&bench.engine, &other.unwrap(), &log.sequences[1]);
    // The target read what was emitted.
    assert_eq!(log.sequences[0].cache.len(), 30 + text.len() - 1);
    assert!(log.sequences[0].cache[..30] == log.sequences[1].cache[..30], "the same prompt");
    assert!(log.sequences[0].cache[30..60] != log.sequences[1].cache[30..60], "other tokens");
}
