//! What the drafters that need no model cost per token: microseconds of proposing and observing, and bytes.
//!
//! `cargo run --release -p foretoken --example drafter_timing` measures those of the registry, and with
//! `-- suffix` stores of `suffix` as they grow to ten million tokens.
//!
//! One sequence grows by a token per step, so that every draft is refused: the worst case. `prediction` is
//! given a text as long as the one that grows. What the target would write behind each node is drawn at random.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::alloc::System;
use std::error::Error;
use std::time::Instant;

use foretoken::drafters::{
    Choices, DraftTask, Drafter, DrafterInfo, Room, SequenceKey, SuffixDrafter,
};
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
/// Lengths of texts of which a store of `suffix` keeps all.
const STORES: [usize; 3] = [100_000, 1_000_000, 10_000_000];
/// Tokens that the registry's `suffix` keeps; when they are full, the slowest step is the one that forgets.
const CAPACITY: usize = 1 << 20;
/// Nodes of a draft of `suffix`.
const NODES: usize = 16;
/// Likeliest tokens that are shown.
const LIKELIEST: usize = 8;

/// A number below `bound`; no other numbers give it.
fn roll(number: u32, index: usize, bound: usize) -> usize {
    let noise = Noise { seed: 3, choice: number };
    (noise.uniform(Domain::DraftDraw, 0, index as u32) * bound as f64) as usize
}

/// A text drawn at random; no other number gives it.
fn random(number: u32, length: usize) -> Vec<TokenId> {
    (0..length).map(|index| roll(number, index, VOCAB) as TokenId).collect()
}

/// Half of it runs of 20 tokens that stood anywhere before.
fn copying(length: usize) -> Vec<TokenId> {
    let mut text = random(0, length);
    for run in (1..length / 40).map(|run| run * 40) {
        let from = roll(2, run, run);
        text.copy_within(from..from + 20, run);
    }
    text
}

/// The drafters of an engine, which they outlive.
fn drafters(name: &str) -> Result<Vec<Box<dyn Drafter>>, foretoken::Error> {
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

/// Grows a text under a drafter that keeps `kept` tokens of it, and prints a line that begins with `name`.
fn measure(
    name: &str,
    mut drafter: Box<dyn Drafter>,
    text: &[TokenId],
    prediction: Vec<TokenId>,
    kept: usize,
) -> Result<(), Box<dyn Error>> {
    let key = SequenceKey::new(1);
    let sampler = Sampler::new(SamplingParams::default(), Noise { seed: 0, choice: 0 }, VOCAB)?;
    let task = DraftTask::new(key, Vec::with_capacity(text.len()), sampler, Rule::default());
    let mut tasks = [DraftTask { prediction, room: Room { nodes: 64, depth: 64 }, ..task }];
    let shown = random(4, 1 << 16);
    let mut micros = Vec::with_capacity(text.len());
    let mut drafted = 0;
    let region = Region::new(ALLOCATOR);
    drafter.begin(key, &text[..1]);
    for &token in text {
        tasks[0].text.push(token);
        tasks[0].tree.set_single(token);
        let started = Instant::now();
        drafter.propose(&mut tasks);
        let proposed = started.elapsed();
        let nodes = tasks[0].tree.len();
        let from = micros.len() % (shown.len() - LIKELIEST * nodes);
        let choices = shown[from..].chunks(LIKELIEST).take(nodes);
        tasks[0].choices = Choices::new(choices.map(|likeliest| (Some(likeliest[0]), likeliest)));
        let started = Instant::now();
        drafter.observe(&tasks);
        micros.push((proposed + started.elapsed()).as_secs_f32() * 1e6);
        drafted += nodes - 1;
    }
    tasks[0].choices = Choices::default();
    let stats = region.change();
    let bytes = stats.bytes_allocated - stats.bytes_deallocated;
    let count = text.len();
    let mean = micros.iter().map(|&micros| f64::from(micros)).sum::<f64>() / count as f64;
    micros.sort_by(f32::total_cmp);
    println!(
        "{name:32}: {mean:5.2} us mean, {:5.2} median, {:5.2} of 99 %, {:6.0} at most; {:5.1} bytes; {:4.1} drafted",
        micros[count / 2],
        micros[count / 100 * 99],
        micros[count - 1],
        bytes as f64 / kept as f64,
        drafted as f64 / count as f64,
    );
    Ok(())
}

fn registry() -> Result<(), Box<dyn Error>> {
    let alone = |info: &&DrafterInfo| {
        matches!(info.needs, Needs::Nothing | Needs::Prediction) && info.name != "none"
    };
    for DrafterInfo { name, .. } in DRAFTERS.iter().filter(alone) {
        let drafter = || drafters(name).map(|mut drafters| drafters.remove(0));
        measure(
            &format!("{name}, random"),
            drafter()?,
            &random(0, LENGTH),
            random(1, LENGTH),
            LENGTH,
        )?;
        measure(
            &format!("{name}, one token"),
            drafter()?,
            &vec![7; LENGTH],
            vec![7; LENGTH],
            LENGTH,
        )?;
    }
    Ok(())
}

fn stores() -> Result<(), Box<dyn Error>> {
    let whole = STORES.map(|length| (length, length));
    for (length, capacity) in whole.into_iter().chain([(3 * CAPACITY, CAPACITY)]) {
        println!("{length} tokens, {capacity} kept");
        let suffix = || Box::new(SuffixDrafter::new(NODES, capacity));
        measure("random", suffix(), &random(0, length), Vec::new(), capacity)?;
        measure("one token", suffix(), &vec![7; length], Vec::new(), capacity)?;
        measure("copying", suffix(), &copying(length), Vec::new(), capacity)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        None => registry(),
        Some("suffix") => stores(),
        Some(other) => Err(format!("`{other}` is not `suffix`").into()),
    }
}
