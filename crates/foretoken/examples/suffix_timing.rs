//! What `suffix` costs per token: microseconds of proposing and observing, and bytes.
//!
//! `cargo run --release -p foretoken --example suffix_timing`
//!
//! One sequence grows by a token per step, the worst case for a drafter: all its drafts are refused. Stores
//! keep whole texts first, then as much as the drafter of the registry keeps: the slowest step is then the one
//! that forgets the older half.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::alloc::System;
use std::time::Instant;

use foretoken::drafters::{DraftTask, Drafter, Room, SequenceKey, SuffixDrafter};
use foretoken::{ParamError, Rule, SamplingParams, TokenId};
use foretoken_core::{Domain, Noise, Sampler};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const VOCAB: usize = 32_000;
const NOISE: Noise = Noise { seed: 3, choice: 0 };
/// Nodes of a draft.
const NODES: usize = 16;
/// Tokens that the registry's drafter keeps.
const CAPACITY: usize = 1 << 20;

/// A number below `bound`.
fn roll(index: usize, bound: usize) -> usize {
    (NOISE.uniform(Domain::DraftDraw, 0, index as u32) * bound as f64) as usize
}

fn random(length: usize) -> Vec<TokenId> {
    (0..length).map(|index| roll(index, VOCAB) as TokenId).collect()
}

fn one_token(length: usize) -> Vec<TokenId> {
    vec![7; length]
}

/// Half of it runs of 20 tokens that stood anywhere before.
fn copying(length: usize) -> Vec<TokenId> {
    let mut text = random(length);
    for run in (1..length / 40).map(|run| run * 40) {
        let from = roll(run, run);
        text.copy_within(from..from + 20, run);
    }
    text
}

fn measure(name: &str, text: &[TokenId], capacity: usize) -> Result<(), ParamError> {
    let key = SequenceKey::new(1);
    let sampler = Sampler::new(SamplingParams::default(), NOISE, VOCAB)?;
    let task = DraftTask::new(key, Vec::with_capacity(text.len()), sampler, Rule::default());
    let mut tasks = [DraftTask { room: Room { nodes: NODES, depth: NODES }, ..task }];
    let mut micros = Vec::with_capacity(text.len());
    let mut drafted = 0;
    let region = Region::new(ALLOCATOR);
    let mut suffix = SuffixDrafter::new(NODES, capacity);
    suffix.begin(key, &[]);
    for &token in text {
        tasks[0].text.push(token);
        tasks[0].tree.set_single(token);
        let started = Instant::now();
        suffix.propose(&mut tasks);
        suffix.observe(&tasks);
        micros.push(started.elapsed().as_secs_f32() * 1e6);
        drafted += tasks[0].tree.len() - 1;
    }
    let stats = region.change();
    let bytes = stats.bytes_allocated - stats.bytes_deallocated;
    let count = text.len();
    let mean = micros.iter().map(|&micros| f64::from(micros)).sum::<f64>() / count as f64;
    micros.sort_by(f32::total_cmp);
    println!(
        "{name:10} {count:>9} tokens: {mean:5.2} us mean, {:5.2} median, {:5.2} of 99 %, {:9.0} most; \
         {:5.1} bytes of those kept; {:4.1} drafted per token",
        micros[count / 2],
        micros[count / 100 * 99],
        micros[count - 1],
        bytes as f64 / count.min(capacity) as f64,
        drafted as f64 / count as f64,
    );
    Ok(())
}

fn main() -> Result<(), ParamError> {
    let lengths = [100_000, 1_000_000, 10_000_000];
    let whole = lengths.map(|length| (length, length));
    for (length, capacity) in whole.into_iter().chain([(3 * CAPACITY, CAPACITY)]) {
        println!("{capacity} tokens kept");
        measure("random", &random(length), capacity)?;
        measure("one token", &one_token(length), capacity)?;
        measure("copying", &copying(length), capacity)?;
    }
    Ok(())
}
