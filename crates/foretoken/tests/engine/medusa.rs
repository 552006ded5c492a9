//! Medusa heads: of any quality they change no bit, and heads that are right are followed as far as they
//! are.

use foretoken::drafters::{Drafter, MedusaDrafter};
use foretoken::{
    Completion, DraftOptions, Engine, EngineOptions, MedusaChoices, SamplingParams, Sight,
};

use crate::heads::{Flaw, KnowingHeads, Output, random_heads, source, trees};
use crate::models::{DOMAINS, Domain, Tiny, VOCAB, demo_draft, options, prompt};
use crate::plain::Plain;
use crate::recorder::Coverage;
use crate::runs::{Bench, Job, request, samplings};

fn jobs(tiny: &Tiny, domain: Domain) -> Vec<Job> {
    let mut plain = Plain::new(&tiny.source(), domain);
    let samplings = samplings();
    let job = |n: usize| {
        Job::new(&mut plain, request(prompt(1 + 40 * n, n as u64), &samplings[n % 6], 40))
    };
    (0..6).map(job).collect()
}

fn medusa_options(tiny: &Tiny, domain: Domain, choices: &str) -> EngineOptions {
    let mut options = options(tiny.source(), domain, 1);
    "medusa".clone_into(&mut options.drafter);
    options.draft = DraftOptions::default();
    options.medusa.choices = MedusaChoices::parse(choices).unwrap();
    options
}

/// Runs jobs with heads that know their texts, beside other drafters, and says what was met.
fn known(
    tiny: &Tiny,
    (domain, jobs): (Domain, &[Job]),
    (flaw, choices, together): (Flaw, &str, usize),
    merge: impl FnOnce(Box<dyn Drafter>, Vec<Box<dyn Drafter>>) -> Vec<Box<dyn Drafter>>,
) -> (Vec<Completion>, Coverage) {
    let mut options = options(tiny.source(), domain, 1);
    "lookup".clone_into(&mut options.drafter);
    options.max_sequences = together;
    let heads = KnowingHeads::new(jobs.iter().map(|job| &job.text), 4, flaw);
    let drafter = MedusaDrafter::new(Box::new(heads), trees(choices), VOCAB);
    let mut bench = Bench::new(options);
    bench.engine = bench
        .engine
        .with_sight(Sight::HIDDEN)
        .with_drafters("known", |lookup| merge(Box::new(drafter), lookup));
    let completions = bench.check(jobs, usize::from(together > 1));
    let seen = bench.log.lock().unwrap().coverage;
    (completions, seen)
}

fn alone(medusa: Box<dyn Drafter>, _: Vec<Box<dyn Drafter>>) -> Vec<Box<dyn Drafter>> {
    vec![medusa]
}

#[test]
fn heads_that_know_the_text_are_followed_and_nothing_differs() {
    let tiny = Tiny::new("llama-gqa");
    for domain in DOMAINS {
        let jobs = jobs(&tiny, domain);
        for together in [1, 3] {
            let cell = (Flaw::Sometimes, "mc_sim_7b_63", together);
            let (_, seen) = known(&tiny, (domain, &jobs), cell, alone);
            let name = format!("{domain:?}, {together} together: {seen:?}");
            assert!(seen.none > 0 && seen.one > 0 && seen.full > 0, "0, 1, all: {name}");
            assert!(seen.ranked > 0 && seen.gapped > 0, "a later sibling, a gap: {name}");
            assert_eq!(seen.widest, 64, "the whole tree: {name}");
        }
    }
}

#[test]
fn a_head_that_is_wrong_ends_what_is_accepted() {
    let tiny = Tiny::new("qwen3");
    let jobs = jobs(&tiny, Domain::F32);
    for depth in 1..=4 {
        let cell = (Flaw::Depth(depth), "cartesian:1,1,1,1", 3);
        let (completions, _) = known(&tiny, (Domain::F32, &jobs), cell, alone);
        for completion in completions {
            let accepted = &completion.stats.accepted_by_position;
            let deepest = accepted.iter().filter(|&&steps| steps > 0).count();
            assert_eq!(deepest, depth as usize - 1, "{:?}", completion.stats);
            // The first step knows no state, and the last may lack room.
            let drafting = completion.stats.steps - 2;
            assert!(accepted.iter().take(deepest).all(|&steps| steps >= drafting));
        }
    }
}

#[test]
fn merged_with_lookup_nothing_differs_either() {
    let tiny = Tiny::new("mistral-window");
    let jobs = jobs(&tiny, Domain::F32);
    let cell = (Flaw::Sometimes, "cartesian:3,2,2", 3);
    for medusa_first in [true, false] {
        let (_, seen) = known(&tiny, (Domain::F32, &jobs), cell, |medusa, mut lookup| {
            lookup.insert(usize::from(!medusa_first), medusa);
            lookup
        });
        assert!(seen.none > 0 && seen.one > 0 && seen.full > 0, "{seen:?}");
    }
}

#[test]
fn heads_from_files_change_nothing_in_any_format() {
    let tiny = Tiny::new("llama-gqa");
    for domain in DOMAINS {
        let jobs = jobs(&tiny, domain);
        for (output, vocab, choices, nodes) in [
            (Output::Own, None, "mc_sim_7b_63", 63),
            (Output::Shared, None, "auto", 16),
            (Output::Own, Some(30), "cartesian:9,3,1", 63),
            (Output::Own, None, "cartesian:20,4,1", 180),
        ] {
            let heads = random_heads(&tiny.source(), output, 5);
            let mut options = medusa_options(&tiny, domain, choices);
            options.medusa.heads = Some(source(&heads));
            options.medusa.vocab = vocab;
            let mut bench = Bench::new(options);
            bench.check(&jobs, 1);
            let seen = bench.log.lock().unwrap().coverage;
            let name = format!("{domain:?} {choices}: {seen:?}");
            assert!(seen.none > 0 && seen.one > 0, "accepted 0 and 1: {name}");
            assert_eq!(seen.widest, nodes + 1, "the tree that was chosen: {name}");
        }
    }
}

#[test]
fn heads_and_choices_that_do_not_fit_are_refused_by_name() {
    let tiny = Tiny::new("llama-gqa");
    let refusal = |change: &dyn Fn(&mut EngineOptions)| {
        let mut options = medusa_options(&tiny, Domain::F32, "auto");
        options.medusa.heads = Some(tiny.heads());
        change(&mut options);
        Engine::new(options).err().unwrap().to_string()
    };
    let deep = refusal(&|options| {
        options.medusa.choices = MedusaChoices::parse("cartesian:1,1,1,1,1").unwrap();
    });
    assert!(deep.contains("there are 4 heads of 96 tokens"), "{deep}");
    let wide = refusal(&|options| {
        options.medusa.choices = MedusaChoices::parse("cartesian:40").unwrap();
        options.medusa.vocab = Some(30);
    });
    assert!(wide.contains("there are 4 heads of 30 tokens"), "{wide}");
    let none = refusal(&|options| options.medusa.vocab = Some(0));
    assert!(none.contains("medusa vocab is 0; it must be at least 1"), "{none}");
    let other = random_heads(&demo_draft(), Output::Shared, 1);
    let other = refusal(&|options| options.medusa.heads = Some(source(&other)));
    assert!(other.contains("the heads are for a hidden size of"), "{other}");
}

#[test]
fn a_tree_is_as_large_as_its_options_say() {
    let tiny = Tiny::new("llama-gqa");
    let widest = |choices: &str, tokens: Option<usize>, drafter: &str| {
        let mut options = medusa_options(&tiny, Domain::F32, choices);
        drafter.clone_into(&mut options.drafter);
        options.medusa.heads = Some(tiny.heads());
        options.draft.tokens = tokens;
        let mut bench = Bench::new(options);
        bench.run(vec![request(prompt(5, 1), &SamplingParams::default(), 20)], 0);
        let seen = bench.log.lock().unwrap().coverage;
        seen.widest - 1
    };
    assert_eq!(widest("auto", None, "medusa"), 16);
    assert_eq!(widest("auto:20", None, "medusa"), 20);
    assert_eq!(widest("auto", Some(30), "medusa"), 30);
    assert_eq!(widest("cartesian:20,5", None, "medusa"), 120);
    assert_eq!(widest("cartesian:20,5", Some(7), "medusa"), 7, "the best part of it");
    assert_eq!(widest("auto", None, "lookup+medusa"), 16, "the larger budget of what was built");
}
