//! After the first steps, drafting, merging, verifying and counting one allocate nothing.

use std::alloc::System;
use std::time::Duration;

use foretoken_core::{
    Accepted, BuildId, Distribution, DraftSampler, DraftTree, NodeId, Noise, Role, Rows, Rule,
    Sampler, SamplingParams, SpecStats, Step, TreeBuilder, Union, Verifier,
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

const VOCAB: u32 = 500;

/// The same row at every node.
struct SameRow(Vec<f32>);

impl Rows for SameRow {
    fn row(&self, _: NodeId) -> &[f32] {
        &self.0
    }
}

/// Everything that an engine keeps from step to step.
struct Machine {
    sampler: Sampler,
    q: Distribution,
    draws: DraftSampler,
    drawn: Vec<u32>,
    builder: TreeBuilder,
    union: Union,
    /// Its own, and another beside it.
    drafts: [DraftTree; 2],
    tree: DraftTree,
    verifier: Verifier,
    out: Accepted,
    stats: SpecStats,
}

impl Machine {
    fn new(rows: &SameRow) -> Self {
        let noise = Noise { seed: 3, choice: 0 };
        let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
        let mut q = Distribution::new();
        let mut sampler = Sampler::new(params, noise, VOCAB as usize).expect("valid");
        sampler.distribution(&rows.0, &[], &mut q).expect("sound");
        Self {
            sampler,
            q,
            draws: DraftSampler::new(),
            drawn: Vec::new(),
            builder: TreeBuilder::new(0),
            union: Union::default(),
            drafts: [DraftTree::single(0), DraftTree::single(0)],
            tree: DraftTree::single(0),
            verifier: Verifier::new(),
            out: Accepted::new(),
            stats: SpecStats::default(),
        }
    }

    /// A sampled tree of three children and their children, merged with a chain beside it.
    fn step(&mut self, rule: Rule, rows: &SameRow, index: u64) {
        self.builder.reset(1);
        self.draws.begin(self.sampler.noise().at_step(index), 0);
        self.draws.draw(&self.q, 3, &mut self.drawn);
        let Self { builder, draws, q, drawn, .. } = self;
        for id in builder.push_sampled(BuildId::ROOT, q.iter(), drawn).expect("drawn") {
            draws.draw(q, 1, drawn);
            for id in builder.push_sampled(id, q.iter(), drawn).expect("drawn") {
                builder.push(id, 7, Role::Probe).expect("room");
            }
        }
        builder.freeze(&mut self.drafts[0]);
        self.drafts[1].set_chain(&[1, 4, 5, 6]).expect("short");
        let several = 1 + index as usize % 2;
        self.union.merge(&self.drafts[..several], 12, &mut self.tree).expect("one root");
        let step = Step { tree: &self.tree, rows, position: index as u32, index };
        self.verifier.verify(rule, &step, &mut self.sampler, &mut self.out);
        self.stats.record(&self.tree, &self.out);
    }
}

/// The only test of this binary, because all threads share the allocator's count.
#[test]
fn a_step_allocates_nothing_after_warm_up() {
    // The thread of the test runner allocates while it starts the test.
    std::thread::sleep(Duration::from_millis(200));
    let rows = SameRow((0..VOCAB).map(|token| (token * 37 % 101) as f32 / 40.0).collect());
    for rule in [Rule::Coupled, Rule::Rejection, Rule::TYPICAL] {
        let mut machine = Machine::new(&rows);
        (0..40).for_each(|index| machine.step(rule, &rows, index));
        let seen = allocations(|| (40..80).for_each(|index| machine.step(rule, &rows, index)));
        assert_eq!(seen, 0, "{rule:?}: allocations in 40 steps");
    }
}
