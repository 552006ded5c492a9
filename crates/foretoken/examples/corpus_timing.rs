//! What a static corpus of `suffix` costs: seconds and bytes to index it, microseconds to search it.
//!
//! `cargo run --release -p foretoken --example corpus_timing`
//!
//! Each step searches for the end of another text: a run of the corpus, whose longest ends all stand there, or
//! random tokens, of which only the shortest do. A text that is new each time has nothing to say itself.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use foretoken::drafters::{DraftTask, Drafter, Room, SequenceKey, SuffixDrafter};
use foretoken::{CorpusIndex, ModelSource, Rule, SamplingParams, TokenId};
use foretoken_core::{Domain, Noise, Sampler};

const VOCAB: usize = 4096;
/// Tokens of the corpus, and of each of its documents.
const LENGTH: usize = 10_000_000;
const DOCUMENT: usize = 1000;
/// Nodes of a draft.
const NODES: usize = 16;
/// Searches measured.
const STEPS: usize = 20_000;
/// Tokens of a text.
const TEXT: usize = 20;

/// A number below `bound`; no other pair of numbers gives it.
fn roll(seed: u64, index: usize, bound: usize) -> usize {
    let noise = Noise { seed, choice: 0 };
    (noise.uniform(Domain::DraftDraw, 0, index as u32) * bound as f64) as usize
}

/// Text of which half is runs of 20 tokens that stood anywhere before, and the rest the rarer tokens the
/// higher their numbers.
fn corpus() -> Vec<TokenId> {
    let token = |index| {
        let share = roll(1, index, 1 << 20) as f64 / f64::from(1 << 20);
        (share * share * VOCAB as f64) as TokenId
    };
    let mut tokens: Vec<TokenId> = (0..LENGTH).map(token).collect();
    for run in (1..LENGTH / 40).map(|run| run * 40) {
        let from = roll(2, run, run);
        tokens.copy_within(from..from + 20, run);
    }
    tokens
}

fn measure(
    what: &str,
    suffix: &mut SuffixDrafter,
    text: impl Fn(usize) -> Vec<TokenId>,
) -> Result<(), Box<dyn Error>> {
    let (mut micros, mut drafted) = (Vec::with_capacity(STEPS), 0);
    for step in 0..STEPS {
        let key = SequenceKey::new(step as u64);
        let sampler = Sampler::new(SamplingParams::default(), Noise { seed: 0, choice: 0 }, VOCAB)?;
        let task = DraftTask::new(key, text(step), sampler, Rule::default());
        let mut tasks = [DraftTask { room: Room { nodes: NODES, depth: NODES }, ..task }];
        suffix.begin(key, &tasks[0].text);
        let started = Instant::now();
        suffix.propose(&mut tasks);
        micros.push(started.elapsed().as_secs_f64() * 1e6);
        drafted += tasks[0].tree.len() - 1;
        suffix.end(key);
    }
    micros.sort_by(f64::total_cmp);
    println!(
        "{what}: {:.1} us median, {:.1} of 99 %; {:.1} drafted",
        micros[STEPS / 2],
        micros[STEPS / 100 * 99],
        drafted as f64 / STEPS as f64,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/foretoken-demo");
    let tokenizer = ModelSource::Folder(demo).tokenizer()?;
    let folder = tempfile::tempdir()?;
    let (file, corpus) = (folder.path().join("corpus.index"), corpus());
    let started = Instant::now();
    let documents = corpus.chunks(DOCUMENT);
    let tokens = CorpusIndex::write(&file, documents, &tokenizer, VOCAB, &mut |_| {})?;
    let seconds = started.elapsed().as_secs_f64();
    let bytes = file.metadata()?.len() as f64 / tokens as f64;
    println!("{tokens} tokens indexed in {seconds:.1} s, {bytes:.1} bytes each");
    let index = CorpusIndex::open(&file, &tokenizer, VOCAB)?;
    let mut suffix = SuffixDrafter::new(NODES, usize::MAX).with_corpus(index);
    measure("runs of the corpus", &mut suffix, |step| {
        let document = roll(3, step, LENGTH / DOCUMENT) * DOCUMENT;
        let from = document + roll(4, step, DOCUMENT - 2 * TEXT);
        corpus[from..from + TEXT].to_vec()
    })?;
    measure("random texts", &mut suffix, |step| {
        (0..TEXT).map(|index| roll(5, step * TEXT + index, VOCAB) as TokenId).collect()
    })
}
