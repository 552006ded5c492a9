//! Fuzz bodies over seeds and mutations: no panic, and memory in proportion to the input.
//!
//! A binary of its own, because it counts allocations; its tests take turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use foretoken_model::fuzz;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Held while a body's allocations are counted.
static TURN: Mutex<()> = Mutex::new(());

/// Mutations per body.
const MUTATIONS: usize = 10_000;

/// How much a body may allocate: a constant, and so much per byte of its input.
struct Limit {
    bytes: usize,
    per_byte: usize,
}

/// Marsaglia's xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Changes `bytes` in one place of the kinds that break readers.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    const EXTREMES: [u64; 8] =
        [0, 1, 0x7f, 0xff, u32::MAX as u64, 1 << 32, i64::MAX as u64, u64::MAX];
    // Headers are at the beginning, and most of what can go wrong with them.
    let reach = if random.below(4) == 0 { bytes.len() } else { bytes.len().min(4096) };
    let at = random.below(reach);
    let length = random.below(bytes.len() - at).min(1 << random.below(8));
    match random.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.next() as u8,
        2 => {
            let extreme = EXTREMES[random.below(8)].to_le_bytes();
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&extreme[..end - at]);
        }
        3 => drop(bytes.drain(at..at + length)),
        4 => bytes.splice(at..at, vec![random.next() as u8; length]).for_each(drop),
        5 => {
            let copy = bytes[at..at + length].to_vec();
            bytes.splice(at..at, copy).for_each(drop);
        }
        6 => bytes.truncate(at),
        _ => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            let length = length.min(other.len() - from);
            bytes
                .splice(at..at + length.min(bytes.len() - at), other[from..from + length].to_vec());
        }
    }
}

/// Runs `body` over the seeds and [`MUTATIONS`] mutations of them.
fn run(body: fn(&[u8]), seeds: &[Vec<u8>], limit: &Limit) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..seeds.len() + MUTATIONS {
        let mut bytes = seeds[round % seeds.len()].clone();
        if round >= seeds.len() {
            for _ in 0..=random.below(3) {
                mutate(&mut random, &mut bytes, seeds);
            }
        }
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&bytes)));
        let used = ALLOCATOR.peak_usage() - before;
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        assert!(outcome.is_ok(), "round {round} panics on {head:?}");
        let allowed = limit.bytes + limit.per_byte * bytes.len();
        assert!(used <= allowed, "round {round}: {used} bytes for {} of {head:?}", bytes.len());
    }
}

fn testdata(path: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/");
    std::fs::read(format!("{root}{path}")).expect("the test data are in the project")
}

const CASES: [&str; 5] =
    ["llama-gqa", "llama3-rope", "llama-yarn", "mistral-window", "qwen2-window"];

const TOKENIZERS: [&str; 2] = ["byte_level", "sentence_piece"];

#[test]
fn gguf_headers() {
    let seeds = ["llama-gqa", "llama3-rope", "qwen2", "qwen3", "llama-quantised"];
    let seeds = seeds.map(|case| testdata(&format!("gguf/{case}.gguf")));
    run(fuzz::gguf, &seeds, &Limit { bytes: 4 << 20, per_byte: 16 });
}

#[test]
fn safetensors_headers() {
    let seeds = CASES.map(|case| testdata(&format!("checkpoints/{case}/model.safetensors")));
    run(fuzz::safetensors, &seeds, &Limit { bytes: 1 << 20, per_byte: 64 });
}

#[test]
fn files_of_torch_save() {
    let seeds =
        ["v01/medusa_lm_head.pt", "v01-parameters/medusa_lm_head.pt", "tied/medusa_lm_head.pt"];
    let mut seeds = seeds.map(|file| testdata(&format!("medusa/{file}"))).to_vec();
    // Mutations prefer the beginning of a file; here the end has the directory.
    seeds.extend(["strided.pt", "legacy.pt"].map(|file| testdata(&format!("medusa/{file}"))));
    run(fuzz::pytorch, &seeds, &Limit { bytes: 1 << 20, per_byte: 64 });
}

#[test]
fn medusa_heads() {
    let seeds = [
        testdata("medusa/v01/medusa_lm_head.pt"),
        testdata("medusa/v01-bf16/medusa_lm_head.safetensors"),
        testdata("medusa/tied-safetensors/medusa_lm_head.safetensors"),
        testdata("medusa/vllm-token-map/model.safetensors"),
        testdata("medusa/full-model/model-00001-of-00002.safetensors"),
        br#"{"ranks": [[0.5, 0.25], [0.5], [0.0]], "positions": 9, "model": "m", "text": "t"}"#
            .to_vec(),
    ];
    run(fuzz::medusa, &seeds, &Limit { bytes: 1 << 20, per_byte: 64 });
}

#[test]
fn configurations() {
    let seeds = CASES.map(|case| testdata(&format!("checkpoints/{case}/config.json")));
    run(fuzz::config, &seeds, &Limit { bytes: 32 << 20, per_byte: 64 });
}

#[test]
fn tokenizer_json() {
    let seeds = TOKENIZERS.map(|name| testdata(&format!("tokenizers/{name}.json")));
    run(fuzz::tokenizer_json, &seeds, &Limit { bytes: 32 << 20, per_byte: 256 });
}

#[test]
fn tokenizer_gguf() {
    let seeds = TOKENIZERS.map(|name| testdata(&format!("tokenizers/{name}.gguf")));
    run(fuzz::tokenizer_gguf, &seeds, &Limit { bytes: 32 << 20, per_byte: 256 });
}

#[test]
fn tokenizer_files() {
    let seeds = [
        br#"{"a": 0, "b": 1, "ab": 2, "\u0120a": 3}"#.to_vec(),
        b"#version: 0.2\na b\nb a\n".to_vec(),
    ];
    run(fuzz::tokenizer_files, &seeds, &Limit { bytes: 32 << 20, per_byte: 256 });
}

#[test]
fn chat_templates() {
    let seeds = ["turns", "system", "strict"].map(|name| {
        let chats: serde_json::Value =
            serde_json::from_slice(&testdata("tokenizers/chats.json")).expect("valid JSON");
        let source = chats["templates"][name].as_str().expect("a template");
        source.as_bytes().to_vec()
    });
    run(fuzz::chat_template, &seeds, &Limit { bytes: 256 << 20, per_byte: 256 });
}
