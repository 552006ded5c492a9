//! A draft with the target's own weights: whatever is put in its way, nothing it drafts is refused.

use std::sync::{Arc, Mutex};

use foretoken::drafters::{DraftTask, Drafter, SequenceKey};
use foretoken::{EngineOptions, KvType, SamplingParams, TokenId, WeightFormat};
use foretoken_core::{BuildId, DraftTree, Role, TreeBuilder};

use crate::models::{Domain, Tiny, VOCAB, options, prompt};
use crate::oracle::Dice;
use crate::runs::{Bench, request, samplings};

/// What became of the drafts of the method inside.
#[derive(Debug, Default)]
struct Tally {
    steps: usize,
    /// Steps whose path ended although the method had drafted below it.
    refused: usize,
    accepted: usize,
    wrong_siblings: usize,
    cuts: usize,
}

/// Another drafter's trees, with wrong siblings added everywhere and sometimes cut.
struct Meddler {
    inner: Box<dyn Drafter>,
    own: Vec<DraftTree>,
    dice: Dice,
    tally: Arc<Mutex<Tally>>,
}

impl Meddler {
    /// Copies a tree with siblings before or after its nodes; a cut leaves nodes of one depth and less.
    fn meddle(&mut self, task: &mut DraftTask) {
        let own = task.tree.clone();
        let cut = if self.dice.chance(0.2) { 1 + self.dice.roll(2) as u32 } else { u32::MAX };
        let mut tally = self.tally.lock().unwrap();
        tally.cuts += usize::from(own.depths().iter().any(|&depth| depth > cut));
        let mut builder = TreeBuilder::new(own.token(0));
        let mut ids = vec![Some(BuildId::ROOT)];
        for node in 1..own.len() {
            let parent = own.parent(node).unwrap();
            let Some(above) = ids[parent].filter(|_| own.depth(node) <= cut) else {
                ids.push(None);
                continue;
            };
            let wrong = (own.token(node) as usize + 1 + self.dice.roll(VOCAB - 1)) % VOCAB;
            let wrong = wrong as TokenId;
            let first = self.dice.chance(0.5);
            let clash = own.child_with_token(parent, wrong).is_some();
            let add = |builder: &mut TreeBuilder| {
                if !clash {
                    let sibling = builder.push(above, wrong, Role::Candidate).unwrap();
                    if own.depth(node) < task.room.depth as u32 {
                        builder.push(sibling, wrong, Role::Candidate).unwrap();
                    }
                }
            };
            if first {
                add(&mut builder);
            }
            ids.push(builder.push(above, own.token(node), Role::Candidate).ok());
            if !first {
                add(&mut builder);
            }
            tally.wrong_siblings += usize::from(!clash);
        }
        builder.freeze(&mut task.tree);
        // What is left of the method's own tree, for comparison.
        let mut left = TreeBuilder::new(own.token(0));
        let mut ids = vec![BuildId::ROOT];
        for node in 1..own.len() {
            let above = ids[own.parent(node).unwrap()];
            let kept = own.depth(node) <= cut;
            ids.push(if kept {
                left.push(above, own.token(node), Role::Candidate).unwrap()
            } else {
                above
            });
        }
        let mut kept = own;
        left.freeze(&mut kept);
        self.own.push(kept);
    }
}

impl Drafter for Meddler {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.inner.propose(tasks);
        self.own.clear();
        for task in tasks {
            self.meddle(task);
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for (task, own) in tasks.iter().zip(&self.own) {
            let mut tally = self.tally.lock().unwrap();
            tally.steps += 1;
            tally.accepted += task.accepted.drafted();
            let mut at = Some(0);
            for &token in &task.accepted.tokens()[..task.accepted.drafted()] {
                at = at.and_then(|node| own.child_with_token(node, token));
            }
            let ended = at.is_some_and(|node| own.candidate_children(node).next().is_none());
            tally.refused += usize::from(!ended);
        }
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

fn engine_options(tiny: &Tiny, domain: Domain, width: usize) -> EngineOptions {
    let mut options = options(tiny.source(), domain, 1);
    "model".clone_into(&mut options.drafter);
    options.draft_model = Some(tiny.source());
    options.context = Some(4096);
    options.draft.width = width;
    options.draft.tokens = Some(if width == 1 { 4 } else { 10 });
    options.draft.min_probability = 0.0;
    options
}

/// Over 500 steps of drafts of a width; the draft's rows must stay those of the target.
fn nothing_is_refused(domain: Domain, width: usize, sampling: &SamplingParams) {
    let tiny = Tiny::new("qwen3");
    let mut options = engine_options(&tiny, domain, width);
    // Room for the method's own nodes and as many again in its way, twice.
    let tokens = options.draft.tokens.unwrap();
    options.draft.tokens = Some(3 * tokens);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut bench = Bench::new(options);
    let shared = Arc::clone(&tally);
    bench.engine = bench.engine.with_drafters("meddled", |mut built| {
        let inner: Box<dyn Drafter> = Box::new(Limited { inner: built.remove(0), nodes: tokens });
        vec![Box::new(Meddler { inner, own: Vec::new(), dice: Dice(5), tally: shared })]
    });
    let requests = (0..3).map(|n| request(prompt(1 + 69 * n, n as u64), sampling, 2000)).collect();
    for outcome in bench.run(requests, 5) {
        assert_eq!(outcome.unwrap().tokens.len(), 2000);
    }
    let tally = tally.lock().unwrap();
    println!("width {width}: {tally:?}");
    assert!(tally.steps >= 500 && tally.wrong_siblings >= 500 && tally.cuts >= 50, "{tally:?}");
    assert_eq!(tally.refused, 0, "{tally:?}");
    assert!(tally.accepted > tally.steps, "{tally:?}");
}

/// A drafter that is told of less room than there is.
struct Limited {
    inner: Box<dyn Drafter>,
    nodes: usize,
}

impl Drafter for Limited {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let rooms: Vec<_> = tasks.iter().map(|task| task.room).collect();
        for task in tasks.iter_mut() {
            task.room.nodes = task.room.nodes.min(self.nodes);
        }
        self.inner.propose(tasks);
        tasks.iter_mut().zip(rooms).for_each(|(task, room)| task.room = room);
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

#[test]
fn nothing_of_a_chain_is_refused() {
    let [greedy, .., all] = samplings();
    nothing_is_refused(Domain::F32, 1, &greedy);
    nothing_is_refused(Domain::F32, 1, &all);
}

#[test]
fn nothing_of_a_tree_is_refused() {
    let [greedy, .., all] = samplings();
    let q8_0 = Domain { format: WeightFormat::Q8_0, kv: KvType::Bf16, isa: None };
    nothing_is_refused(q8_0, 2, &greedy);
    nothing_is_refused(q8_0, 3, &all);
}

#[test]
fn rows_that_no_token_has_are_never_drafted() {
    let (tiny, padded) = (Tiny::new("llama-gqa"), Tiny::new("llama-gqa").padded());
    for width in [1, 3] {
        let mut options = engine_options(&tiny, Domain::F32, width);
        options.draft_model = Some(padded.source());
        let request = request(prompt(10, 1), &SamplingParams::default(), 100);
        let outcomes = Bench::new(options).run(vec![request], 0);
        let stats = &outcomes[0].as_ref().unwrap().stats;
        assert!(stats.mean_accepted_length() > 4.0, "{stats:?}");
    }
}
