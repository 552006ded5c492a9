//! Every drafter of the registry, and every pair of them merged.

use std::collections::HashMap;

use foretoken::drafters::{DraftTask, Drafter, SequenceKey};
use foretoken::{
    DRAFTERS, DraftVocabulary, EndOfText, Engine, EngineOptions, Error, Rule, TokenId, WeightFormat,
};

use crate::models::{CONTEXT, Domain, Tiny, demo_draft, options, prompt};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

/// Checks that a drafter keeps its side: room, root, and hands off text and prompt steps; and that no
/// step of a sequence has the index, hence the noise, of another.
struct Guard {
    inner: Box<dyn Drafter>,
    steps: HashMap<SequenceKey, u64>,
}

impl Drafter for Guard {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let before: Vec<_> = tasks.iter().map(|t| (t.text.clone(), t.tree.token(0))).collect();
        self.inner.propose(tasks);
        for (task, (text, root)) in tasks.iter().zip(before) {
            let (tree, room) = (&task.tree, task.room);
            assert_eq!(tree.check_integrity(), Ok(()));
            assert_eq!((&task.text, tree.token(0)), (&text, root), "a drafter changes no text");
            assert!(tree.len() - 1 <= room.nodes, "{} nodes in {room:?}", tree.len() - 1);
            if room.fits_a_node() {
                let before = self.steps.insert(task.key, task.step);
                assert!(before.is_none_or(|step| step < task.step), "steps are numbered");
            }
            let deepest = tree.depths().iter().max().map_or(0, |&depth| depth as usize);
            assert!(deepest <= room.depth, "depth {deepest} in {room:?}");
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

/// Each name, and each pair in both orders.
fn combinations() -> Vec<String> {
    let names = || DRAFTERS.iter().map(|info| info.name);
    let drafting = || names().filter(|&name| name != "none");
    let pairs = drafting().flat_map(|a| drafting().map(move |b| (a, b)).filter(|(a, b)| a != b));
    let pairs: Vec<_> = pairs.map(|(a, b)| format!("{a}+{b}")).collect();
    names().map(str::to_owned).chain(pairs).collect()
}

/// A small target drafted by its own weights in four bits: often right, not always.
fn registry_options(tiny: &Tiny, drafter: &str) -> EngineOptions {
    let mut options = options(tiny.source(), Domain::F32, 1);
    drafter.clone_into(&mut options.drafter);
    options.draft_model = Some(tiny.source());
    options.draft_format = Some(WeightFormat::Q4_0);
    options.medusa.heads = Some(tiny.heads());
    options
}

/// Prompts of one token and more than a pass, one token to generate, and the end of the context.
fn registry_jobs(tiny: &Tiny) -> Vec<Job> {
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let sizes =
        [(1, 40), (2, 1), (150, 40), (CONTEXT - 7, 30), (64, 2), (CONTEXT - 1, 5), (30, 60)];
    let samplings = samplings();
    let job = |(index, (length, max)): (usize, (usize, usize))| {
        let sampling = &samplings[index % samplings.len()];
        let mut request = request(prompt(length, 30 + index as u64), sampling, max);
        if index == 6 {
            request.end_of_text = EndOfText::Ends;
        }
        let mut job = Job::new(&mut plain, request);
        // A prediction with a wrong token after four right ones, then after fourteen each.
        job.request.prediction = job.text.output().to_vec();
        let wrong = job.request.prediction.iter_mut().skip(4).step_by(15);
        wrong.for_each(|token| *token = 95 - *token);
        job
    };
    sizes.into_iter().enumerate().map(job).collect()
}

#[test]
fn whatever_drafts_the_text_is_the_same_and_budgets_are_kept() {
    let tiny = Tiny::new("llama-gqa");
    let jobs = registry_jobs(&tiny);
    for drafter in combinations() {
        for (tokens, width, min_probability) in
            [(1, 1, 0.0), (7, 1, 0.1), (12, 3, 0.0), (30, 2, 1.0)]
        {
            let mut options = registry_options(&tiny, &drafter);
            options.draft.tokens = Some(tokens);
            options.draft.width = width;
            options.draft.min_probability = min_probability;
            let mut bench = Bench::new(options);
            bench.engine = bench.engine.with_drafters(&drafter, |built| {
                let guard = |inner| Box::new(Guard { inner, steps: HashMap::new() });
                built.into_iter().map(|inner| guard(inner) as Box<dyn Drafter>).collect()
            });
            let completions = bench.check(&jobs, 3);
            let drafted: u64 = completions.iter().map(|c| c.stats.drafted).sum();
            let accepted: u64 = completions.iter().map(|c| c.stats.accepted).sum();
            println!("{drafter} {tokens} {width} {min_probability}: {accepted} of {drafted}");
            assert_eq!(drafted > 0, drafter != "none", "{drafter} drafts");
            assert!(drafter == "none" || accepted > 0, "{drafter} is right at times");
            if drafter == "none" {
                assert!(completions.iter().all(|c| c.stats.mean_accepted_length() == 1.0));
            }
        }
    }
}

#[test]
fn other_rules_run_keep_their_laws_and_repeat_themselves() {
    let tiny = Tiny::new("llama-gqa");
    let samplings = samplings();
    for drafter in combinations() {
        for rule in [Rule::Rejection, Rule::TYPICAL] {
            for width in [1, 3] {
                let run = || {
                    let mut options = registry_options(&tiny, &drafter);
                    options.draft.width = width;
                    let requests = samplings.iter().zip(0..).map(|(sampling, n)| {
                        let mut request = request(prompt(9, n), sampling, 40);
                        request.rule = rule;
                        request.prediction = prompt(40, n);
                        request
                    });
                    let outcomes = Bench::new(options).run(requests.collect(), 0);
                    let tokens = outcomes.into_iter().map(|outcome| outcome.unwrap().tokens);
                    tokens.collect::<Vec<_>>()
                };
                assert_eq!(run(), run(), "{drafter} {rule:?} {width}");
            }
        }
    }
    assert!(Rule::Rejection.is_lossless() && !Rule::TYPICAL.is_lossless());
}

#[test]
fn drafters_and_drafts_that_cannot_be_used_are_refused_by_name() {
    let tiny = Tiny::new("llama-gqa");
    let refusal = |change: &dyn Fn(&mut EngineOptions)| {
        let mut options = registry_options(&tiny, "model");
        change(&mut options);
        Engine::new(options).err().unwrap()
    };
    let unknown = refusal(&|options| options.drafter = "crystal-ball".to_owned()).to_string();
    for info in DRAFTERS {
        assert!(unknown.contains(info.name), "{unknown}");
    }
    assert!(unknown.contains("crystal-ball"), "{unknown}");
    let twice = refusal(&|options| options.drafter = "lookup+lookup".to_owned());
    assert!(matches!(twice, Error::RepeatedDrafter { .. }), "{twice}");
    let alone = refusal(&|options| options.draft_model = None);
    assert!(matches!(alone, Error::NoDraftModel { .. }), "{alone}");
    let headless = refusal(&|options| {
        "medusa".clone_into(&mut options.drafter);
        options.medusa.heads = None;
    });
    assert!(matches!(headless, Error::NoMedusaHeads { .. }), "{headless}");
    let other = |way| {
        refusal(&|options: &mut EngineOptions| {
            options.draft_model = Some(demo_draft());
            options.draft_vocabulary = way;
        })
    };
    let same = other(DraftVocabulary::Same);
    assert!(matches!(same, Error::Vocabulary { .. }), "{same}");
    for (tokens, width, probability) in [(0, 1, 0.0), (513, 1, 0.0), (1, 0, 0.0), (1, 1, f64::NAN)]
    {
        let error = refusal(&|options| {
            options.draft.tokens = Some(tokens);
            options.draft.width = width;
            options.draft.min_probability = probability;
        });
        assert!(matches!(error, Error::Option { .. }), "{error}");
    }
}
