//! The exact law of the text that several drafted steps emit, against the law of plain decoding.

use std::collections::{BTreeMap, HashMap};

use super::super::chance::Chance;
use super::super::{Accepted, DraftSampler, Step};
use super::enumerator::{Branch, enumerate};
use super::table::{PROMPT, Pair, Table, Tokens, noise};
use crate::{
    BuildId, Distribution, DraftTree, Role, Sampler, SamplingParams, TokenId, TreeBuilder, Union,
};

/// A drafter: grows the tree of one step.
pub(super) type Plan = fn(&mut Drafting<'_>);

/// A rule as the harness sees it.
pub(super) type Verify<'a> = dyn FnMut(&Step<'_>, &mut Sampler, &mut Branch, &mut Accepted) + 'a;

/// What a drafter works with in one step.
pub(super) struct Drafting<'a> {
    pub(super) builder: &'a mut TreeBuilder,
    /// Another tree to merge with, and the budget.
    pub(super) with: Option<(DraftTree, usize)>,
    table: &'a Table,
    prefix: &'a [TokenId],
    sampler: &'a mut Sampler,
    draws: &'a mut DraftSampler,
    branch: &'a mut Branch,
}

impl Drafting<'_> {
    /// The root token.
    pub(super) fn root(&self) -> TokenId {
        self.prefix[self.prefix.len() - 1]
    }

    /// The draft's distribution after the root and `path`.
    pub(super) fn q(&mut self, path: &[TokenId]) -> Distribution {
        self.table.draft(self.prefix, path, self.sampler)
    }

    /// Draws `count` tokens from `q` without replacement.
    pub(super) fn draw(&mut self, q: &Distribution, count: usize) -> Vec<TokenId> {
        let mut drawn = Vec::new();
        self.draws.draw_by(self.branch, q, count, &mut drawn);
        drawn
    }

    /// Draws `count` children of a node whose path is `path`.
    pub(super) fn sample(
        &mut self,
        parent: BuildId,
        path: &[TokenId],
        count: usize,
    ) -> Vec<(BuildId, Tokens)> {
        let q = self.q(path);
        let drawn = self.draw(&q, count);
        let ids = self.builder.push_sampled(parent, q.iter(), &drawn).unwrap();
        ids.zip(&drawn).map(|(id, &token)| (id, [path, &[token]].concat())).collect()
    }

    /// Adds children of the root that are said to be drawn from `q`.
    pub(super) fn push_drawn(&mut self, q: &Distribution, drawn: &[TokenId]) -> Vec<BuildId> {
        self.builder.push_sampled(BuildId::ROOT, q.iter(), drawn).unwrap().collect()
    }

    /// Adds a point mass.
    pub(super) fn point(&mut self, parent: BuildId, token: TokenId) -> BuildId {
        self.builder.push(parent, token, Role::Candidate).unwrap()
    }
}

/// One setting in which the law is checked.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) table: Table,
    pub(super) params: SamplingParams,
    /// The drafter of each step.
    pub(super) plans: Vec<Plan>,
    /// Ends the text.
    pub(super) eos: Option<TokenId>,
    /// Most tokens of the text.
    pub(super) limit: usize,
}

impl Case {
    pub(super) fn new(pair: Pair, plans: &[Plan]) -> Self {
        let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
        let table = Table { pair, salt: 1, vocab: 3 };
        Self { table, params, plans: plans.to_vec(), eos: None, limit: 5 }
    }

    /// Whether a text is complete.
    fn is_over(&self, text: &[TokenId]) -> bool {
        text.len() == self.limit || self.eos.is_some_and(|eos| text.last() == Some(&eos))
    }
}

/// What an enumeration found.
pub(super) struct Found {
    /// Largest difference between the probability of a text and its target.
    pub(super) error: f64,
    /// Probability of texts that plain decoding cannot produce.
    pub(super) impossible: f64,
    /// Steps that did not emit one token more than they accepted.
    pub(super) stalled: usize,
    /// Expected number of drafted tokens accepted in the first step.
    pub(super) accepted: f64,
}

impl Found {
    /// The check that every lossless rule passes and every mutant must fail.
    pub(super) fn is_lossless(&self) -> bool {
        self.error < 1e-12 && self.impossible == 0.0 && self.stalled == 0
    }
}

/// Enumerates everything that drafting and verifying can do in a case.
pub(super) fn examine(case: &Case, verify: &mut Verify<'_>) -> Found {
    let mut machine = Machine::new(case);
    let mut law = BTreeMap::<(usize, Tokens), f64>::new();
    let (mut accepted, mut stalled) = (0.0, 0);
    enumerate(
        |branch| machine.run(case, branch, verify),
        |outcome, mass| {
            accepted += mass * outcome.accepted as f64;
            stalled += outcome.stalled;
            *law.entry((outcome.text.len(), outcome.text)).or_default() += mass;
        },
    );
    let (error, impossible) = compare(case, law);
    Found { error, impossible, stalled, accepted }
}

/// What one branch did.
struct Outcome {
    text: Tokens,
    accepted: usize,
    stalled: usize,
}

/// The buffers, which outlive steps and branches as they do in an engine.
struct Machine {
    sampler: Sampler,
    draws: DraftSampler,
    builder: TreeBuilder,
    union: Union,
    tree: DraftTree,
    out: Accepted,
}

impl Machine {
    fn new(case: &Case) -> Self {
        Self {
            sampler: case.table.sampler(&case.params, &[]),
            draws: DraftSampler::new(),
            builder: TreeBuilder::new(0),
            union: Union::default(),
            tree: DraftTree::single(0),
            out: Accepted::new(),
        }
    }

    fn run(&mut self, case: &Case, branch: &mut Branch, verify: &mut Verify<'_>) -> Outcome {
        let mut sampler = self.sampler.clone();
        let mut outcome = Outcome { text: Vec::new(), accepted: 0, stalled: 0 };
        for (index, plan) in case.plans.iter().enumerate() {
            if case.is_over(&outcome.text) {
                break;
            }
            let prefix = [&PROMPT, outcome.text.as_slice()].concat();
            branch.start_step();
            self.builder.reset(prefix[prefix.len() - 1]);
            self.draws.begin(noise().at_step(index as u64), 0);
            let table = &case.table;
            let sampler = &mut sampler;
            self.draft((table, *plan), &prefix, sampler, branch);
            let rows = table.rows(&prefix, &self.tree);
            let position = prefix.len() as u32;
            let step = Step { tree: &self.tree, rows: &rows, position, index: index as u64 };
            self.out.restart();
            verify(&step, sampler, branch, &mut self.out);
            assert_eq!(self.out.failure(), None);
            outcome.stalled += usize::from(self.out.tokens().len() != self.out.drafted() + 1);
            outcome.accepted += if index == 0 { self.out.drafted() } else { 0 };
            for &token in self.out.tokens() {
                if !case.is_over(&outcome.text) {
                    outcome.text.push(token);
                    sampler.commit(token);
                }
            }
        }
        outcome
    }

    /// Lets the drafter grow the tree of one step.
    fn draft(
        &mut self,
        (table, plan): (&Table, Plan),
        prefix: &[TokenId],
        sampler: &mut Sampler,
        branch: &mut Branch,
    ) {
        let Self { builder, draws, .. } = self;
        let mut drafting = Drafting { builder, with: None, table, prefix, sampler, draws, branch };
        plan(&mut drafting);
        let with = drafting.with;
        self.builder.freeze(&mut self.tree);
        if let Some((other, budget)) = with {
            let own = self.tree.clone();
            self.union.merge(&[own, other], budget, &mut self.tree).unwrap();
        }
        self.tree.check_integrity().unwrap();
    }
}

/// Extends every text to its end by the target, then compares with the target throughout.
fn compare(case: &Case, mut law: BTreeMap<(usize, Tokens), f64>) -> (f64, f64) {
    let mut target = HashMap::from([(Vec::new(), 1.0)]);
    let (mut error, mut impossible) = (0.0f64, 0.0);
    let mut layer = vec![Vec::new()];
    for length in 0..=case.limit {
        let mut longer = Vec::new();
        for text in layer {
            let expected = target[&text];
            let mass = law.remove(&(length, text.clone())).unwrap_or(0.0);
            if case.is_over(&text) {
                error = error.max((mass - expected).abs());
                impossible += if expected == 0.0 { mass } else { 0.0 };
                continue;
            }
            let p = case.table.target(&case.params, &text);
            for token in 0..case.table.vocab {
                let next = [text.as_slice(), &[token]].concat();
                let p = p.as_ref().map_or(0.0, |p| p.probability(token));
                target.insert(next.clone(), expected * p);
                *law.entry((length + 1, next.clone())).or_default() += mass * p;
                longer.push(next);
            }
        }
        layer = longer;
    }
    assert!(law.is_empty(), "every text is a text over the vocabulary: {law:?}");
    (error, impossible)
}

/// Runs a source of chance with every probability of acceptance raised by one step of a 24-bit
/// uniform number: what `<=` in place of `<` does.
pub(super) struct OrEqual<'a>(pub(super) &'a mut Branch);

impl Chance for OrEqual<'_> {
    fn bernoulli(&mut self, key: super::super::chance::Key, p: f64) -> bool {
        self.0.bernoulli(key, p + 0.5f64.powi(24))
    }

    fn categorical(
        &mut self,
        key: super::super::chance::Key,
        weights: &[super::super::weights::Weight],
    ) -> Option<TokenId> {
        self.0.categorical(key, weights)
    }
}
