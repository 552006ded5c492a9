//! Heads of a draft model: it drafts what it drafts without them, bit for bit, in fewer passes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use foretoken::drafters::{DraftTask, Drafter, ModelDrafter, SequenceKey};
use foretoken::{
    AddSpecial, DraftOptions, Engine, EngineOptions, KvType, ModelSource, ParseSpecial, Rule,
    SamplingParams, TokenId, WeightFormat,
};
use foretoken_core::DraftTree;
use foretoken_model::Heads;

use crate::heads::{Flaw, KnowingHeads, Output, random_heads, source, trees};
use crate::models::{self, CONTEXT, Domain, Tiny, VOCAB, demo, demo_draft, prompt};
use crate::plain::{Plain, Text, bits, load};
use crate::recorder::{Coverage, Log, Recorder};
use crate::runs::{Bench, Job, request, samplings};

const Q4_0: Domain = Domain { format: WeightFormat::Q4_0, kv: KvType::F32, isa: None };

/// A draft model with heads and its twin without; what the first drafts is sent.
struct Twins {
    headed: ModelDrafter,
    plain: ModelDrafter,
    seen: Seen,
    drafts: Vec<DraftTree>,
}

/// What the twins' models were asked for, and how many tokens were drafted.
#[derive(Clone, Default)]
struct Seen {
    headed: Arc<Mutex<Log>>,
    plain: Arc<Mutex<Log>>,
    drafted: Arc<Mutex<usize>>,
}

/// What a drafter of width 1 is made of.
struct Draft<'a> {
    source: &'a ModelSource,
    domain: Domain,
    context: usize,
    options: DraftOptions,
    vocab: usize,
}

impl Draft<'_> {
    fn twins(&self, heads: impl Heads + 'static, choices: &str, seen: &Seen) -> Twins {
        let drafter = |log| {
            let model = Box::new(load(self.source, self.domain, self.context));
            ModelDrafter::new(Recorder::around(model, log), self.options, self.vocab)
        };
        let headed = drafter(&seen.headed).with_heads(Box::new(heads), trees(choices));
        let plain = drafter(&seen.plain);
        Twins { headed, plain, seen: seen.clone(), drafts: Vec::new() }
    }
}

impl Drafter for Twins {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.headed.begin(key, prompt);
        self.plain.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.plain.propose(tasks);
        self.drafts.clear();
        for task in tasks.iter_mut() {
            self.drafts.push(task.tree.clone());
            task.tree.set_single(task.tree.token(0));
        }
        self.headed.propose(tasks);
        for (task, draft) in tasks.iter().zip(&self.drafts) {
            assert_eq!(&task.tree, draft, "the draft behind {} tokens", task.text.len());
            *self.seen.drafted.lock().unwrap() += draft.len() - 1;
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        self.headed.observe(tasks);
        self.plain.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.headed.end(key);
        self.plain.end(key);
    }
}

impl Seen {
    /// Checks that the drafts' caches were the same; says what the one with heads met, how many passes the
    /// other took, and how many tokens were drafted.
    fn compare(&self) -> (Coverage, usize, usize) {
        let (headed, plain) = (self.headed.lock().unwrap(), self.plain.lock().unwrap());
        assert_eq!((headed.open, plain.open), (0, 0), "every sequence is closed");
        assert_eq!(headed.sequences.len(), plain.sequences.len());
        for (headed, plain) in headed.sequences.iter().zip(&plain.sequences) {
            assert!(headed.rows == plain.rows, "the rows that chose what was drafted");
            assert!(headed.cache == plain.cache, "keys and values of the draft");
        }
        (headed.coverage, plain.coverage.passes, *self.drafted.lock().unwrap())
    }
}

fn jobs(source: &ModelSource, domain: Domain) -> Vec<Job> {
    let mut plain = Plain::new(source, domain);
    let samplings = samplings();
    let job = |n: usize| {
        Job::new(&mut plain, request(prompt(1 + 50 * n, n as u64), &samplings[n % 6], 60))
    };
    (0..6).map(job).collect()
}

#[test]
fn what_is_drafted_does_not_depend_on_heads() {
    for family in ["llama-gqa", "mistral-window"] {
        let tiny = Tiny::new(family);
        let (source, jobs) = (&tiny.source(), jobs(&tiny.source(), Domain::F32));
        let texts = || jobs.iter().map(|job| &job.text);
        for (together, merged, min_probability) in
            [(1, false, 0.0), (3, false, 0.1), (3, true, 0.3)]
        {
            // Texts of up to 311 tokens leave the draft's context.
            let options = DraftOptions { tokens: Some(11), width: 1, min_probability };
            let draft = Draft { source, domain: Q4_0, context: 290, options, vocab: VOCAB };
            let mut states = Plain::new(source, Q4_0);
            let heads = KnowingHeads::of_a_draft(&mut states, texts(), (VOCAB, Flaw::Sometimes));
            let seen = Seen::default();
            let twins = draft.twins(heads, "mc_sim_7b_63", &seen);
            let mut options = models::options(source.clone(), Domain::F32, 1);
            "lookup".clone_into(&mut options.drafter);
            options.max_sequences = together;
            let mut bench = Bench::new(options);
            bench.engine = bench.engine.with_drafters("twins", |mut lookup| {
                lookup.truncate(usize::from(merged));
                lookup.push(Box::new(twins));
                lookup
            });
            bench.check(&jobs, usize::from(together > 1));
            let (met, passes, drafted) = seen.compare();
            let name = format!("{family} {together} {merged}: {met:?}, {passes}, {drafted}");
            println!("{name}");
            assert!(met.none > 0 && met.one > 0 && met.full > 0, "0, 1, all are right: {name}");
            assert!(met.ranked > 0 && met.gapped > 0, "a later sibling, a gap: {name}");
            assert_eq!(met.widest, 64, "the whole tree: {name}");
            assert!(met.passes < passes, "fewer passes: {name}");
        }
    }
}

/// Heads that know the rows of plain decoding: they are right if they are ranked behind the drafted tokens
/// and with the noise of their positions.
struct Foreseeing {
    ahead: HashMap<Vec<u32>, Vec<Vec<f32>>>,
    rows: Vec<Vec<Vec<f32>>>,
    count: usize,
}

impl Foreseeing {
    fn new(text: &Text) -> Self {
        let row = |bits: &Vec<u32>| bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        let ahead = text.hidden.iter().zip(text.rows[1..].windows(4));
        let ahead = ahead.map(|(state, rows)| (state.clone(), rows.iter().map(row).collect()));
        Self { ahead: ahead.collect(), rows: Vec::new(), count: 4 }
    }
}

impl Heads for Foreseeing {
    fn count(&self) -> usize {
        self.count
    }

    fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    fn tokens(&self) -> Option<&[TokenId]> {
        None
    }

    fn start(&mut self) {
        self.rows.clear();
    }

    fn add(&mut self, hidden: &[f32]) -> usize {
        self.rows.push(self.ahead[&bits(hidden)].clone());
        self.rows.len() - 1
    }

    fn forward(&mut self) {}

    fn logits(&self, head: usize, row: usize) -> &[f32] {
        &self.rows[row][head]
    }
}

/// Passes in which five chains of 11 tokens were drafted. The draft has the target's weights, so that each
/// step writes a whole chain and a token.
fn passes_of_five_chains(source: &ModelSource, job: &Job, heads: impl Heads + 'static) -> usize {
    let options = DraftOptions { tokens: Some(11), width: 1, min_probability: 0.0 };
    let draft = Draft { source, domain: Domain::F32, context: CONTEXT, options, vocab: VOCAB };
    let seen = Seen::default();
    let twins = draft.twins(heads, "cartesian:1,1,1,1", &seen);
    let engine = models::options(source.clone(), Domain::F32, 1);
    let outcomes = Bench::new(engine).drafted_by(twins).run(vec![job.request.clone()], 0);
    let (met, passes, drafted) = seen.compare();
    assert_eq!((passes, drafted), (55, 55), "{:?}", outcomes[0].as_ref().unwrap().stats);
    met.passes
}

#[test]
fn heads_that_are_right_add_a_token_each() {
    let tiny = Tiny::new("qwen3");
    let source = &tiny.source();
    for job in jobs(source, Domain::F32) {
        // Behind the first pass, a pass adds its tip's token and one per right guess.
        for (wrong, per_chain) in [(1, 11), (3, 1 + 4), (5, 1 + 2)] {
            let heads = KnowingHeads::new([&job.text].into_iter(), 4, Flaw::Depth(wrong));
            let passes = passes_of_five_chains(source, &job, heads);
            assert_eq!(passes, 5 * per_chain, "wrong at depth {wrong}");
        }
    }
}

#[test]
fn guesses_are_ranked_as_the_draft_ranks() {
    let tiny = Tiny::new("qwen3");
    let source = &tiny.source();
    for job in jobs(source, Domain::F32) {
        let passes = passes_of_five_chains(source, &job, Foreseeing::new(&job.text));
        assert_eq!(passes, 5 * 3, "{:?}", job.request.sampling);
    }
}

#[test]
fn other_rules_draft_the_same_too() {
    let tiny = Tiny::new("llama-gqa");
    let source = &tiny.source();
    for rule in [Rule::Rejection, Rule::TYPICAL] {
        let options = DraftOptions { tokens: Some(7), width: 1, min_probability: 0.0 };
        let draft = Draft { source, domain: Q4_0, context: CONTEXT, options, vocab: VOCAB };
        // They know nothing, but some of so many guesses are right.
        let heads = KnowingHeads::of_a_draft(
            &mut Plain::new(source, Q4_0),
            [].into_iter(),
            (VOCAB, Flaw::Sometimes),
        );
        let seen = Seen::default();
        let twins = draft.twins(heads, "cartesian:40,1", &seen);
        let options = models::options(source.clone(), Domain::F32, 1);
        let mut bench = Bench::new(options).drafted_by(twins);
        let requests = samplings().into_iter().zip(0..).map(|(sampling, n)| {
            let mut request = request(prompt(9, n), &sampling, 60);
            request.rule = rule;
            request
        });
        for outcome in bench.run(requests.collect(), 1) {
            assert_eq!(outcome.unwrap().tokens.len(), 60);
        }
        let (met, passes, drafted) = seen.compare();
        println!("{rule:?}: {met:?}, {passes}, {drafted}");
        assert!(met.none > 0 && met.one > 0 && met.passes < passes, "{rule:?}: {met:?}");
    }
}

#[test]
fn the_demo_drafts_the_same_in_fewer_passes() {
    let domain = Domain { format: WeightFormat::Bf16, kv: KvType::Bf16, isa: None };
    let tokenizer = demo().tokenizer().unwrap();
    let warm = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    let mut plain = Plain::new(&demo(), domain);
    let jobs = ["Once upon a time", "def add(a, b):\n"].map(|text| {
        let prompt = tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::No).unwrap();
        [SamplingParams::default(), warm.clone()]
            .map(|sampling| Job::new(&mut plain, request(prompt.clone(), &sampling, 60)))
    });
    let jobs = jobs.into_iter().flatten().collect::<Vec<_>>();
    let (source, vocab) = (&demo_draft(), tokenizer.vocab_size());
    let options = DraftOptions::default();
    let draft = Draft { source, domain, context: CONTEXT, options, vocab };
    let texts = jobs.iter().map(|job| &job.text);
    let mut states = Plain::new(source, domain);
    let heads = KnowingHeads::of_a_draft(&mut states, texts, (vocab, Flaw::Sometimes));
    let seen = Seen::default();
    let twins = draft.twins(heads, "mc_sim_7b_63", &seen);
    let options = models::options(demo(), domain, 2);
    Bench::new(options).drafted_by(twins).check(&jobs, 1);
    let (met, passes, drafted) = seen.compare();
    println!("{met:?}, {passes}, {drafted}");
    assert!(met.passes < passes && met.full > 0, "{met:?} {passes}");
}

/// A small target with its own weights in four bits for a draft, which has heads from files.
fn headed_options(tiny: &Tiny) -> EngineOptions {
    let mut options = models::options(tiny.source(), Domain::F32, 1);
    "model".clone_into(&mut options.drafter);
    options.draft_model = Some(tiny.source());
    options.draft_format = Some(WeightFormat::Q4_0);
    options.draft_heads = Some(tiny.heads());
    options
}

#[test]
fn heads_from_files_change_nothing() {
    let tiny = Tiny::new("llama-gqa");
    let jobs = jobs(&tiny.source(), Domain::F32);
    for drafter in ["model", "lookup+model", "medusa+model"] {
        let mut options = headed_options(&tiny);
        drafter.clone_into(&mut options.drafter);
        options.medusa.heads = Some(tiny.heads());
        let completions = Bench::new(options).check(&jobs, 1);
        assert!(completions.iter().all(|completion| completion.stats.accepted > 0), "{drafter}");
    }
}

#[test]
fn heads_that_no_chain_can_use_are_refused_by_name() {
    let tiny = Tiny::new("llama-gqa");
    let refusal = |change: &dyn Fn(&mut EngineOptions)| {
        let mut options = headed_options(&tiny);
        change(&mut options);
        Engine::new(options).err().unwrap().to_string()
    };
    let wide = refusal(&|options| options.draft.width = 3);
    let wanted = "heads of a draft model help with chains, not with trees of width 3";
    assert!(wide.starts_with(wanted), "{wide}");
    let other = random_heads(&demo_draft(), Output::Shared, 1);
    let other = refusal(&|options| options.draft_heads = Some(source(&other)));
    assert!(other.contains("the heads are for a hidden size of"), "{other}");
}
