//! After warm-up at fixed capacity a step allocates nothing where the time goes: in the target's passes
//! and commits, in sampling and verification, and in the proposing of `none`, `model` and `medusa`, alone and merged.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::alloc::System;
use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use foretoken::drafters::{DraftTask, Drafter, Merged, SequenceKey};
use foretoken::{
    Checkpoint, DraftOptions, EndOfText, Engine, EngineOptions, MedusaChoices, MedusaSource,
    ModelSource, OpenOptions, Request, Rule, SamplingParams, Target, TokenId,
};
use foretoken_core::{
    Accepted, BuildId, DraftTree, NodeId, Noise, Role, Rows, Sampler, Step, TreeBuilder, Verifier,
};
use foretoken_cpu::{CpuBackend, CpuOptions};
use foretoken_model::{
    HeadBias, HeadPrecision, LoadOptions, MedusaExport, MedusaShape, Model, Wants,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations and reallocations during `work`, on every thread.
fn allocations(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    let seen = region.change();
    seen.allocations + seen.reallocations
}

fn model(name: &str) -> ModelSource {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    ModelSource::Folder(root.join("models").join(name))
}

fn samplings() -> [SamplingParams; 2] {
    let all = SamplingParams {
        temperature: 0.8,
        top_p: 0.95,
        repetition_penalty: 1.1,
        frequency_penalty: 0.1,
        ..SamplingParams::default()
    };
    [SamplingParams::default(), all]
}

struct ItemRows<'a> {
    target: &'a dyn Target,
    item: usize,
}

impl Rows for ItemRows<'_> {
    fn row(&self, node: NodeId) -> &[f32] {
        self.target.logits(self.item, node)
    }
}

/// A root with four branches of three nodes, and a probe.
fn tree() -> DraftTree {
    let mut builder = TreeBuilder::new(50);
    for branch in 0..4 {
        let mut at = BuildId::ROOT;
        for depth in 0..3 {
            at = builder.push(at, 60 + 10 * branch + depth, Role::Candidate).unwrap();
        }
    }
    builder.push(BuildId::ROOT, 99, Role::Probe).unwrap();
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    tree
}

fn a_warm_step_of_the_target_allocates_nothing() {
    let checkpoint = Checkpoint::open(&model("foretoken-demo-draft"), &OpenOptions::default());
    let cpu = CpuOptions { threads: NonZeroUsize::new(2).unwrap(), isa: None };
    let backend = Arc::new(CpuBackend::new(cpu));
    let load = LoadOptions::default();
    let mut target = Model::load(backend, &checkpoint.unwrap(), load, &mut |_| {}).unwrap();
    let (tree, prompt) = (tree(), (0..100).collect::<Vec<TokenId>>());
    for sampling in samplings() {
        for rule in [Rule::Coupled, Rule::Rejection, Rule::TYPICAL] {
            let noise = Noise { seed: 1, choice: 0 };
            let mut sampler = Sampler::new(sampling.clone(), noise, target.spec().vocab).unwrap();
            sampler.prompt(&prompt);
            let sequence = target.open();
            target.start();
            target.add(sequence, &DraftTree::chain(&prompt).unwrap(), Wants::Nothing).unwrap();
            target.forward();
            target.commit(sequence, &(0..prompt.len()).collect::<Vec<_>>());
            let (mut verifier, mut accepted) = (Verifier::new(), Accepted::new());
            let mut step = |index: u64| {
                target.start();
                let item = target.add(sequence, &tree, Wants::From(0)).unwrap();
                target.forward();
                let rows = ItemRows { target: &target, item };
                let step = Step { tree: &tree, rows: &rows, position: 101, index };
                verifier.verify(rule, &step, &mut sampler, &mut accepted);
                // A path with gaps, so that rows are copied.
                target.commit(sequence, &[0, 4, 5, 6]);
                target.truncate(sequence, prompt.len());
            };
            (0..3).for_each(&mut step);
            let seen = allocations(|| (3..20).for_each(&mut step));
            assert_eq!(seen, 0, "allocations in warm steps under {rule:?}");
            target.close(sequence);
        }
    }
}

/// Measures the proposing of another drafter.
struct Gauge {
    inner: Box<dyn Drafter>,
    /// By step.
    allocations: Arc<Mutex<Vec<usize>>>,
    /// Whether any step drafted.
    drafts: Arc<AtomicUsize>,
}

impl Drafter for Gauge {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let seen = allocations(|| self.inner.propose(tasks));
        self.allocations.lock().unwrap().push(seen);
        self.drafts.fetch_add(tasks[0].tree.len() - 1, Ordering::Relaxed);
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

/// Medusa heads for the demo's draft that are right at times: the model's own output matrix behind next to
/// nothing.
fn write_heads(folder: &Path) {
    let checkpoint = Checkpoint::open(&model("foretoken-demo-draft"), &OpenOptions::default());
    let hidden = checkpoint.unwrap().spec().hidden;
    let shape = MedusaShape { count: 3, blocks: 1, hidden, vocab: None, bias: HeadBias::All };
    let export = MedusaExport { shape, precision: HeadPrecision::Bf16, base_model: "demo-draft" };
    let values = |tensor| {
        let count: usize = shape.dims(tensor).iter().product();
        Cow::Owned((0..count).map(|i| (i % 7) as f32 / 700.0).collect())
    };
    export.write_published(folder, values).unwrap();
}

fn warm_proposing_allocates_nothing(
    drafter: &str,
    (tokens, width): (usize, usize),
    rule: Rule,
    sampling: &SamplingParams,
) {
    let mut options = EngineOptions::new(model("foretoken-demo-draft"));
    options.draft_model = Some(model("foretoken-demo-draft"));
    drafter.clone_into(&mut options.drafter);
    options.threads = NonZeroUsize::new(1);
    options.draft = DraftOptions { tokens: Some(tokens), width, min_probability: 0.0 };
    let folder = tempfile::tempdir().unwrap();
    write_heads(folder.path());
    let heads = ModelSource::Folder(folder.path().to_owned());
    options.medusa.heads = Some(MedusaSource::Folder(heads));
    // Heads of a draft model are for chains only.
    options.draft_heads = options.medusa.heads.clone().filter(|_| width == 1);
    if width > 1 {
        options.medusa.choices = MedusaChoices::parse(&format!("cartesian:{width},2")).unwrap();
        options.medusa.vocab = Some(1000);
    }
    let (seen, drafts) = (Arc::default(), Arc::default());
    let (shared, counted) = (Arc::clone(&seen), Arc::clone(&drafts));
    let mut engine = Engine::new(options).unwrap().with_drafters("gauged", |mut built| {
        let inner: Box<dyn Drafter> =
            if built.len() == 1 { built.remove(0) } else { Box::new(Merged::new(built)) };
        vec![Box::new(Gauge { inner, allocations: shared, drafts: counted })]
    });
    let mut request = Request::new((0..40).collect());
    request.sampling = sampling.clone();
    request.rule = rule;
    request.seed = Some(1);
    request.end_of_text = EndOfText::Ignored;
    request.prediction = (0..300).collect();
    // The first time around is the longer one: its caches have grown to all there will be.
    request.session = Some(engine.open_session());
    for warm in [false, true] {
        seen.lock().unwrap().clear();
        request.max_tokens = Some(if warm { 80 } else { 150 });
        let completion = engine.generate(request.clone()).unwrap().into_completion().unwrap();
        assert!(completion.tokens.len() > 30, "a text long enough to be warm");
        if warm {
            // A request brings its own sampler and tree, which the first steps warm.
            let steps = seen.lock().unwrap()[2..].to_vec();
            assert!(steps.len() > 5, "steps after the first ones: {steps:?}");
            assert!(
                steps.iter().all(|&count| count == 0),
                "{drafter} {width}: allocations by step {steps:?}"
            );
        }
    }
    assert_eq!(drafts.load(Ordering::Relaxed) > 0, drafter != "none", "{drafter} drafts");
}

/// The only test of this binary, because all threads share the allocator's count.
#[test]
fn warm_steps_allocate_nothing() {
    a_warm_step_of_the_target_allocates_nothing();
    let [greedy, sampled] = samplings();
    for sampling in [&greedy, &sampled] {
        warm_proposing_allocates_nothing("none", (8, 1), Rule::Coupled, sampling);
        warm_proposing_allocates_nothing("model", (8, 1), Rule::Coupled, sampling);
        warm_proposing_allocates_nothing("model", (8, 3), Rule::Coupled, sampling);
        warm_proposing_allocates_nothing("medusa", (8, 1), Rule::Coupled, sampling);
        warm_proposing_allocates_nothing("medusa", (64, 9), Rule::Coupled, sampling);
        warm_proposing_allocates_nothing("prediction", (8, 1), Rule::Coupled, sampling);
    }
    for sampling in [&greedy, &sampled] {
        warm_proposing_allocates_nothing("model+medusa", (8, 3), Rule::Coupled, sampling);
    }
    // Laws of one size, so that the trees that keep them stop growing.
    let whole = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    warm_proposing_allocates_nothing("model", (8, 1), Rule::Rejection, &whole);
    warm_proposing_allocates_nothing("model", (8, 3), Rule::Rejection, &whole);
    warm_proposing_allocates_nothing("medusa", (8, 1), Rule::Rejection, &whole);
    warm_proposing_allocates_nothing("medusa+model", (8, 1), Rule::Rejection, &whole);
    // More nodes than a stable sort takes without a buffer.
    warm_proposing_allocates_nothing("model", (2, 24), Rule::Coupled, &sampled);
}
