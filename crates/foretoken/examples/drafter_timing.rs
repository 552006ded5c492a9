//! What the drafters that need no model cost per token: microseconds of proposing and observing, and bytes.
//!
//! `cargo run --release -p foretoken --example drafter_timing`
//!
//! One sequence grows by a token per step, so that every draft is refused: the worst case. `prediction` is
//! given a text as long as the one that grows. Drafters that look at the target's choices see none here.
//! `suffix_timing` shows how a store of `suffix` grows.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::alloc::System;
use std::error::Error;
use std::time::Instant;

use foretoken::drafters::{DraftTask, Drafter, Room, SequenceKey};
use foretoken::{
    DRAFTERS, Engine, EngineOptions, ModelSource, Needs, Rule, SamplingParams, TokenId,
};
use foretoken_core::{Domain, Noise, Sampler};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const VOCAB: usize = 32_000;
/// Tokens of a text.
const LENGTH: usize = 100_000;

/// A text drawn at random; no other number gives it.
fn random(number: u32) -> Vec<TokenId> {
    let noise = Noise { seed: 3, choice: number };
    let draw = |index| noise.uniform(Domain::DraftDraw, 0, index) * VOCAB as f64;
    (0..LENGTH as u32).map(|index| draw(index) as TokenId).collect()
}

/// The drafters of an engine, which they outlive.
fn drafter(name: &str) -> Result<Vec<Box<dyn Drafter>>, foretoken::Error> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/foretoken-demo-draft");
    let mut options = EngineOptions::new(ModelSource::Folder(demo.into()));
    name.clone_into(&mut options.drafter);
    let mut drafters = Vec::new();
    let engine = Engine::new(options)?.with_drafters(name, |built| {
        drafters = built;
        Vec::new()
    });
    drop(engine);
    Ok(drafters)
}

fn measure(
    name: &str,
    what: &str,
    text: &[TokenId],
    prediction: Vec<TokenId>,
) -> Result<(), Box<dyn Error>> {
    let mut drafters = drafter(name)?;
    let key = SequenceKey::new(1);
    let sampler = Sampler::new(SamplingParams::default(), Noise { seed: 0, choice: 0 }, VOCAB)?;
    let task = DraftTask::new(key, Vec::with_capacity(text.len()), sampler, Rule::default());
    let mut tasks = [DraftTask { prediction, room: Room { nodes: 64, depth: 64 }, ..task }];
    let mut micros = Vec::with_capacity(text.len());
    let mut drafted = 0;
    let region = Region::new(ALLOCATOR);
    drafters[0].begin(key, &[]);
    for &token in text {
        tasks[0].text.push(token);
        tasks[0].tree.set_single(token);
        let started = Instant::now();
        drafters[0].propose(&mut tasks);
        drafters[0].observe(&tasks);
        micros.push(started.elapsed().as_secs_f64() * 1e6);
        drafted += tasks[0].tree.len() - 1;
    }
    let stats = region.change();
    let bytes = stats.bytes_allocated - stats.bytes_deallocated;
    let count = text.len();
    let mean = micros.iter().sum::<f64>() / count as f64;
    micros.sort_by(f64::total_cmp);
    println!(
        "{name:10} {what:9}: {mean:5.2} us mean, {:5.2} median, {:5.2} of 99 %, {:6.0} at most; {:5.1} bytes; {:4.1} \
         drafted",
        micros[count / 2],
        micros[count / 100 * 99],
        micros[count - 1],
        bytes as f64 / count as f64,
        drafted as f64 / count as f64,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let alone = |info: &&foretoken::drafters::DrafterInfo| info.needs == Needs::Nothing;
    for info in DRAFTERS.iter().filter(alone).filter(|info| info.name != "none") {
        measure(info.name, "random", &random(0), random(1))?;
        measure(info.name, "one token", &vec![7; LENGTH], vec![7; LENGTH])?;
    }
    Ok(())
}
