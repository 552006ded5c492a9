//! How often a draft is right: exactly as often as scoring the finished text with both models says.
//! A draft whose cache kept a refused token, or that ranks by other noise than the target draws with,
//! is right less often and stays lossless: only these tests see it.

use std::sync::{Arc, Mutex};

use foretoken::drafters::{DraftTask, Drafter, SequenceKey};
use foretoken::{
    AddSpecial, EngineOptions, KvType, ParseSpecial, Request, Rule, SamplingParams, TokenId,
    WeightFormat,
};
use foretoken_core::{Distribution, Noise, Sampler};

use crate::models::{Domain, Tiny, demo, demo_draft, options, prompt};
use crate::plain::Plain;
use crate::runs::{Bench, request};

/// What became of the drafts of several requests.
#[derive(Default)]
struct Seen {
    /// In the order of the requests.
    keys: Vec<SequenceKey>,
    drafts: Vec<Draft>,
}

struct Draft {
    key: SequenceKey,
    /// Of its first tokens.
    position: usize,
    /// First tokens.
    children: Vec<TokenId>,
    accepted: bool,
    nodes: usize,
}

/// Writes down what became of each draft.
struct Watcher {
    inner: Box<dyn Drafter>,
    seen: Arc<Mutex<Seen>>,
}

impl Drafter for Watcher {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.seen.lock().unwrap().keys.push(key);
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.inner.propose(tasks);
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks.iter().filter(|task| task.tree.len() > 1) {
            let position = task.text.len() - task.accepted.tokens().len();
            let children = (1..task.tree.len()).filter(|&node| task.tree.parent(node) == Some(0));
            self.seen.lock().unwrap().drafts.push(Draft {
                key: task.key,
                position,
                children: children.map(|node| task.tree.token(node)).collect(),
                accepted: task.accepted.drafted() > 0,
                nodes: task.tree.len() - 1,
            });
        }
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

/// Acceptance at depth 1: measured, and predicted by the draws of both models and by their laws.
#[derive(Debug, Default)]
struct Agreement {
    trials: usize,
    accepted: usize,
    formula: f64,
    /// Standard deviation of the rate, if the formula holds.
    deviation: f64,
}

impl Agreement {
    fn rate(&self) -> f64 {
        self.accepted as f64 / self.trials as f64
    }

    /// Checks the rate against the formula, where chance does not reach as far.
    fn check(&self) {
        assert!(3.0 * self.deviation < 0.02, "too few trials: {self:?}");
        assert!((self.rate() - self.formula).abs() < 0.02, "{self:?}");
    }
}

/// An engine that writes down its drafts.
fn watched(options: &EngineOptions) -> (Bench, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    let mut bench = Bench::new(options.clone());
    bench.engine = bench.engine.with_drafters("watched", |mut built| {
        vec![Box::new(Watcher { inner: built.remove(0), seen: shared })]
    });
    (bench, seen)
}

struct Pair {
    options: EngineOptions,
    target: Plain,
    draft: Plain,
}

impl Pair {
    fn new(mut options: EngineOptions, tokens: usize, width: usize) -> Self {
        let domain = |format: Option<WeightFormat>| Domain {
            format: format.unwrap(),
            kv: options.kv_type.unwrap(),
            isa: None,
        };
        let target = Plain::new(&options.model, domain(options.format));
        let draft = Plain::new(options.draft_model.as_ref().unwrap(), domain(options.draft_format));
        "model".clone_into(&mut options.drafter);
        options.draft.tokens = Some(tokens);
        options.draft.width = width;
        options.draft.min_probability = 0.0;
        options.max_sequences = 16;
        Self { options, target, draft }
    }

    /// Runs requests, checks each accepted or refused first token against both models' draws, and
    /// averages the match formula over the same positions.
    fn measure(&mut self, requests: Vec<Request>) -> Agreement {
        let (mut bench, seen) = watched(&self.options);
        let vocab = bench.engine.target().spec().vocab;
        let mut total = Agreement::default();
        let outcomes = bench.run(requests.clone(), 0);
        let Seen { keys, drafts } = std::mem::take(&mut *seen.lock().unwrap());
        for ((request, outcome), key) in requests.into_iter().zip(outcomes).zip(keys) {
            let text = [request.prompt, outcome.unwrap().tokens].concat();
            let (p_rows, q_rows) = (self.target.teacher(&text), self.draft.teacher(&text));
            let noise = Noise { seed: request.seed.unwrap(), choice: request.choice };
            let mut sampler = Sampler::new(request.sampling, noise, vocab).unwrap();
            let (mut p, mut q) = (Distribution::new(), Distribution::new());
            for seen in drafts.iter().filter(|seen| seen.key == key) {
                let position = seen.position;
                let (p_row, q_row) = (&p_rows[position - 1], &q_rows[position - 1]);
                let target = sampler.draw(p_row, &[], position as u32).unwrap();
                let draft = sampler.draw(q_row, &[], position as u32).unwrap();
                assert_eq!(target, text[position], "the text is what the target draws");
                assert!(seen.children.contains(&draft), "the draft at position {position}");
                assert_eq!(seen.accepted, seen.children.contains(&target), "at {position}");
                sampler.distribution(p_row, &[], &mut p).unwrap();
                sampler.distribution(q_row, &[], &mut q).unwrap();
                // Noise is fresh at every position, so that variances add up.
                let matches = match_probability(&p, &q, vocab);
                total.formula += matches;
                total.deviation += matches * (1.0 - matches);
                total.accepted += usize::from(seen.accepted);
                total.trials += 1;
            }
        }
        total.formula /= total.trials as f64;
        total.deviation = total.deviation.max(0.0).sqrt() / total.trials as f64;
        println!("{total:?} rate {:.3}", total.rate());
        total
    }
}

/// Probability that two laws under one Gumbel noise draw the same token:
/// `sum_i 1 / sum_j max(p_j / p_i, q_j / q_i)` (Daliri, Musco and Suresh 2024). Sorted by p/q, the
/// maximum is the first ratio behind i and the second before it.
fn match_probability(p: &Distribution, q: &Distribution, vocab: usize) -> f64 {
    let dense = |law: &Distribution| {
        let mut all = vec![0.0; vocab];
        law.iter().for_each(|(token, x)| all[token as usize] = x);
        all
    };
    let mut pairs: Vec<(f64, f64)> = dense(p).into_iter().zip(dense(q)).collect();
    pairs.retain(|&(p, q)| p > 0.0 || q > 0.0);
    // p / q ascending, without dividing by zero.
    pairs.sort_by(|a, b| (a.0 * b.1).total_cmp(&(b.0 * a.1)));
    let (mut before, mut behind) = (0.0, pairs.iter().map(|pair| pair.0).sum::<f64>());
    let mut sum = 0.0;
    for &(p, q) in &pairs {
        if p > 0.0 && q > 0.0 {
            sum += 1.0 / (behind / p + before / q);
        }
        before += q;
        behind -= p;
    }
    sum
}

#[test]
fn the_match_formula_agrees_with_its_definition() {
    let (mut p, mut q) = (Distribution::new(), Distribution::new());
    p.set([(0, 0.5), (1, 0.3), (2, 0.2)]);
    q.set([(0, 0.1), (2, 0.6), (3, 0.3)]);
    let (ps, qs) = ([0.5, 0.3, 0.2, 0.0], [0.1, 0.0, 0.6, 0.3]);
    let term = |i: usize| -> f64 {
        1.0 / (0..4).map(|j| f64::max(ps[j] / ps[i], qs[j] / qs[i])).sum::<f64>()
    };
    let direct = term(0) + term(2);
    assert!((match_probability(&p, &q, 4) - direct).abs() < 1e-12);
    assert!((match_probability(&p, &p, 4) - 1.0).abs() < 1e-12);
}

fn demo_pair(tokens: usize, width: usize) -> Pair {
    let domain = Domain { format: WeightFormat::Bf16, kv: KvType::Bf16, isa: None };
    let mut options = options(demo(), domain, 1);
    options.draft_model = Some(demo_draft());
    Pair::new(options, tokens, width)
}

fn demo_requests(sampling: &SamplingParams, count: usize) -> Vec<Request> {
    let tokenizer = demo().tokenizer().unwrap();
    let texts = ["Once upon a time", "def add(a, b):\n", "The sea is", "To bake bread, first"];
    let encode = |text| tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::No).unwrap();
    texts.into_iter().map(|text| request(encode(text), sampling, count)).collect()
}

#[test]
fn greedy_drafts_are_right_where_both_models_agree() {
    let greedy = SamplingParams::default();
    let one = demo_pair(1, 1).measure(demo_requests(&greedy, 60));
    // Whatever was drafted deeper before: a refused token leaves no trace in the draft's cache.
    let deep = demo_pair(5, 1).measure(demo_requests(&greedy, 60));
    for agreement in [one, deep] {
        assert!(agreement.trials > 50 && agreement.rate() > 0.3, "{agreement:?}");
        assert!((agreement.rate() - agreement.formula).abs() < 1e-9, "{agreement:?}");
    }
}

#[test]
fn sampled_drafts_of_the_demo_are_right_as_often_as_the_match_formula_says() {
    let warm = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    let requests = (0..32).step_by(4).flat_map(|first| {
        let mut requests = demo_requests(&warm, 300);
        requests.iter_mut().zip(first..).for_each(|(request, seed)| request.seed = Some(seed));
        requests
    });
    let agreement = demo_pair(3, 1).measure(requests.collect());
    assert!(agreement.rate() > 0.3, "{agreement:?}");
    agreement.check();
}

#[test]
fn sampled_drafts_of_a_small_model_are_right_as_often_as_the_match_formula_says() {
    // Its own weights in four bits.
    let tiny = Tiny::new("llama-gqa");
    let mut options = options(tiny.source(), Domain::F32, 1);
    options.draft_model = Some(tiny.source());
    options.draft_format = Some(WeightFormat::Q4_0);
    let mut pair = Pair::new(options, 1, 1);
    let warm = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    let requests = (0..30).map(|n| {
        let mut request = request(prompt(10, n), &warm, 300);
        request.seed = Some(n);
        request
    });
    pair.measure(requests.collect()).check();
}

#[test]
fn a_tree_is_right_at_least_where_its_best_child_is() {
    let warm = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    let agreement = demo_pair(9, 3).measure(demo_requests(&warm, 60));
    assert!(agreement.rate() > agreement.formula + 0.05, "{agreement:?}");
}

#[test]
fn nothing_is_drafted_below_what_is_not_trusted() {
    let warm = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    for (rule, most) in [(Rule::Coupled, 1), (Rule::Rejection, 3)] {
        let mut options = demo_pair(12, 3).options;
        let longest = |options: &EngineOptions| {
            let (mut bench, seen) = watched(options);
            let mut requests = demo_requests(&warm, 20);
            for request in &mut requests {
                request.rule = rule;
            }
            bench.run(requests, 0);
            let seen = seen.lock().unwrap();
            seen.drafts.iter().map(|draft| draft.nodes).max()
        };
        assert_eq!(longest(&options), Some(12), "{rule:?}");
        // The best child is always tried, and what was drawn together is sent together.
        options.draft.min_probability = 1.0;
        assert_eq!(longest(&options), Some(most), "{rule:?}");
    }
}
