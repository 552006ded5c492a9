//! What several drafters propose at every step of one text, written down, and merged again.

use std::sync::{Arc, Mutex};

use foretoken::drafters::{DraftTask, Drafter, Merged, Room, SequenceKey, Sight};
use foretoken::{
    AddSpecial, DRAFTERS, EndOfText, Engine, EngineOptions, ParseSpecial, Request, Rule,
    SamplingParams, TokenId, loop_free_len,
};
use foretoken_core::{
    Accepted, BuildId, DraftTree, Noise, Role, Sampler, TreeBuilder, Union, follow,
};

use crate::models::{demo, demo_draft, demo_heads};

/// Nodes that are sent while a text is written down: all that is proposed.
const ALL: usize = 300;

/// One text with what was drafted for it.
pub(crate) struct Trace {
    text: Vec<TokenId>,
    steps: Vec<Drafted>,
}

/// What the drafters proposed behind the first `at` tokens of the text, in their order.
struct Drafted {
    at: usize,
    trees: Vec<DraftTree>,
}

/// Tokens accepted over all steps of some traces.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) steps: usize,
    pub(crate) members: [usize; 2],
    pub(crate) merged: usize,
    /// Steps on which estimates that know the text accept less than the best member.
    pub(crate) worse: usize,
}

/// Writes down what a drafter proposes.
struct Tap {
    inner: Box<dyn Drafter>,
    index: usize,
    steps: Arc<Mutex<Vec<Drafted>>>,
}

impl Drafter for Tap {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.inner.propose(tasks);
        let mut steps = self.steps.lock().unwrap();
        if self.index == 0 {
            steps.push(Drafted { at: tasks[0].text.len(), trees: Vec::new() });
        }
        steps.last_mut().unwrap().trees.push(tasks[0].tree.clone());
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

/// Writes down texts of the built-in model behind prompts, as far as they do not repeat themselves.
pub(crate) fn record(
    drafters: &str,
    prompts: &[&str],
    (temperature, tokens): (f64, usize),
) -> Vec<Trace> {
    let options = |drafters: &str| {
        let mut options = EngineOptions::new(demo());
        drafters.clone_into(&mut options.drafter);
        options.draft_model = Some(demo_draft());
        options.medusa.heads = Some(demo_heads());
        options.context = Some(1024);
        options
    };
    // Every drafter keeps its own limits, and all that it proposes is sent.
    let mut own = Vec::new();
    let _ = Engine::new(options(drafters)).unwrap().with_drafters("none", |built| {
        own = built;
        Vec::new()
    });
    let steps = Arc::new(Mutex::new(Vec::new()));
    let taps = own.into_iter().enumerate().map(|(index, inner)| {
        Box::new(Tap { inner, index, steps: Arc::clone(&steps) }) as Box<dyn Drafter>
    });
    let mut host = options("none");
    host.draft.tokens = Some(ALL);
    let mut engine = Engine::new(host)
        .unwrap()
        .with_sight(DRAFTERS.iter().fold(Sight::TEXT, |sight, info| sight.and(info.sight)))
        .with_drafters(drafters, |_| taps.collect());
    let traces = prompts.iter().map(|line| {
        let prompt = engine.tokenizer().encode(line, AddSpecial::Yes, ParseSpecial::No).unwrap();
        let mut request = Request::new(prompt.clone());
        (request.max_tokens, request.seed) = (Some(tokens), Some(7));
        request.sampling.temperature = temperature;
        request.end_of_text = EndOfText::Ignored;
        let written = engine.generate(request).unwrap().into_completion().unwrap().tokens;
        let text = [&prompt[..], &written[..loop_free_len(&written)]].concat();
        let mut steps = std::mem::take(&mut *steps.lock().unwrap());
        steps.retain(|step| step.at < text.len());
        Trace { text, steps }
    });
    traces.collect()
}

/// The first nodes of a draft in its order: what fits a budget.
fn cut(tree: &DraftTree, budget: usize) -> DraftTree {
    let mut builder = TreeBuilder::new(tree.token(0));
    let mut ids = vec![BuildId::ROOT; tree.len()];
    for node in tree.order().skip(1).take(budget) {
        let (above, token) = (ids[tree.parent(node).unwrap()], tree.token(node));
        ids[node] = match tree.estimate(node).filter(|_| tree.role(node) == Role::Candidate) {
            Some(estimate) => builder.propose(above, token, estimate),
            None => builder.push(above, token, tree.role(node)),
        }
        .unwrap();
    }
    let mut out = DraftTree::single(0);
    builder.freeze(&mut out);
    out
}

/// Tokens of a text that a draft hits.
fn hits(tree: &DraftTree, text: &[TokenId]) -> usize {
    let mut accepted = Accepted::new();
    follow(tree, text, &mut accepted);
    accepted.drafted()
}

/// Tokens of a text that a union hits whose estimates know it.
fn by_oracle(mut trees: [DraftTree; 2], text: &[TokenId], budget: usize) -> usize {
    for tree in &mut trees {
        for node in 0..tree.len() {
            tree.set_estimate(node, 0.0);
        }
        let mut at = 0;
        for &token in text {
            let Some(child) = tree.child_with_token(at, token) else { break };
            tree.set_estimate(child, 1.0);
            at = child;
        }
    }
    let mut union = DraftTree::single(0);
    Union::default().merge(&trees, budget, &mut union).unwrap();
    hits(&union, text)
}

/// Proposes what was written down.
struct Replay {
    member: usize,
    step: Arc<Mutex<Option<Vec<DraftTree>>>>,
}

impl Drafter for Replay {
    fn begin(&mut self, _: SequenceKey, _: &[TokenId]) {}

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let step = self.step.lock().unwrap();
        tasks[0].tree.clone_from(&step.as_ref().unwrap()[self.member]);
    }

    fn observe(&mut self, _: &[DraftTask]) {}

    fn end(&mut self, _: SequenceKey) {}
}

/// Merges two drafters' drafts again, learning as the text goes on, each text by itself.
pub(crate) fn replay(traces: &[Trace], pair: [usize; 2], budget: usize) -> Totals {
    let mut totals = Totals::default();
    for trace in traces {
        let shown = Arc::new(Mutex::new(None));
        let member =
            |member| Box::new(Replay { member, step: Arc::clone(&shown) }) as Box<dyn Drafter>;
        let mut merged = Merged::new(vec![member(0), member(1)]);
        let noise = Noise { seed: 0, choice: 0 };
        let sampler = Sampler::new(SamplingParams::default(), noise, 1).unwrap();
        let key = SequenceKey::new(1);
        let mut task = DraftTask::new(key, trace.text.clone(), sampler, Rule::Coupled);
        task.room = Room { nodes: budget, depth: ALL };
        merged.begin(key, &trace.text);
        for step in &trace.steps {
            let ahead = &trace.text[step.at..];
            let trees = pair.map(|member| cut(&step.trees[member], budget));
            let members = trees.each_ref().map(|tree| hits(tree, ahead));
            let oracle = by_oracle(trees.clone(), ahead, budget);
            totals.worse += usize::from(oracle < members[0].max(members[1]));
            *shown.lock().unwrap() = Some(trees.to_vec());
            task.tree.set_single(trace.text[step.at - 1]);
            let tasks = std::slice::from_mut(&mut task);
            merged.propose(tasks);
            assert!(task.tree.len() <= budget + 1, "the budget is kept");
            follow(&task.tree, ahead, &mut task.accepted);
            totals.steps += 1;
            totals.merged += task.accepted.drafted();
            totals.members.iter_mut().zip(members).for_each(|(total, member)| *total += member);
            merged.observe(std::slice::from_ref(&task));
        }
    }
    totals
}
