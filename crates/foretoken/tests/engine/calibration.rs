//! Measured rates of heads: exactly what counting by hand over plain decoding gives.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use foretoken::{
    CalibrationOptions, Checkpoint, EngineOptions, Error, OpenOptions, SamplingParams, TokenId,
    calibrate_medusa,
};
use foretoken_core::{Noise, PathRates, Sampler};
use foretoken_cpu::{CpuBackend, CpuOptions};
use foretoken_model::{Heads, LoadOptions, MedusaNetwork, MedusaPath, Model};

use crate::heads::{self, Output, random_heads};
use crate::models::{Domain, Tiny, VOCAB, options, prompt};
use crate::plain::{Plain, Text};
use crate::runs::{Bench, request};

const TOKENS: usize = 60;

fn engine_options(tiny: &Tiny) -> EngineOptions {
    let mut options = options(tiny.source(), Domain::F32, 1);
    options.medusa.heads = Some(tiny.heads());
    options
}

fn calibration_options(prompts: usize) -> CalibrationOptions {
    CalibrationOptions {
        prompts: (0..prompts).map(|n| prompt(5 + 30 * n, n as u64)).collect(),
        text: "dice".to_owned(),
        temperatures: vec![0.0, 0.8],
        tokens: TOKENS,
        seed: 40,
    }
}

/// Up to its end, and to the third occurrence of a stretch of 16 tokens.
fn counted(output: &[TokenId], eos: &[TokenId]) -> usize {
    let ended = output.iter().position(|token| eos.contains(token)).map_or(TOKENS, |at| at + 1);
    let looping = |end: &usize| {
        let stretch = &output[*end - 16..*end];
        output[..*end].windows(16).filter(|&other| other == stretch).count() == 3
    };
    (16..=ended.min(TOKENS)).find(looping).unwrap_or(ended).min(TOKENS)
}

/// The ranks of the right tokens at successive positions of a text, by hand.
fn ranks(
    heads: &mut dyn Heads,
    (text, length): (&Text, usize),
    sampler: &mut Sampler,
) -> Vec<Vec<Option<u32>>> {
    let output = &text.output()[..length];
    let mut found = Vec::new();
    for (index, state) in text.hidden.iter().enumerate().take(length) {
        // This state decided token `index`; the heads guess those behind it.
        let right = &output[index + 1..];
        if right.len() < heads.count() {
            break;
        }
        heads.start();
        let state: Vec<f32> = state.iter().map(|&bits| f32::from_bits(bits)).collect();
        heads.add(&state);
        heads.forward();
        let mut chain = Vec::new();
        let mut rank = |(head, token): (usize, &TokenId)| {
            let position = (text.prompt + index + 1 + head) as u32;
            let mut ranked = Vec::new();
            sampler.rank(heads.logits(head, 0), &chain, position, 10, &mut ranked).unwrap();
            chain.push(ranked[0].token);
            ranked.iter().position(|guess| guess.token == *token).map(|rank| rank as u32)
        };
        found.push(right.iter().enumerate().take(4).map(&mut rank).collect());
    }
    found
}

/// Positions, and how often each rank of each head and each path was right.
type Counts = (u64, Vec<Vec<u64>>, BTreeMap<Vec<u32>, u64>);

fn count<'a>(positions: impl Iterator<Item = &'a Vec<Option<u32>>>) -> Counts {
    let (mut total, mut ranks, mut paths) = (0, vec![vec![0; 10]; 4], BTreeMap::new());
    for position in positions {
        total += 1;
        for (head, rank) in position.iter().enumerate() {
            if let Some(rank) = rank {
                ranks[head][*rank as usize] += 1;
            }
            let path: Option<Vec<u32>> = position[..=head].iter().copied().collect();
            if let Some(path) = path {
                *paths.entry(path).or_default() += 1;
            }
        }
    }
    paths.retain(|_, times| *times >= 3);
    (total, ranks, paths)
}

/// The tree with the best 16 nodes by these counts.
fn stepping((total, ranks, paths): &Counts) -> Vec<Vec<u32>> {
    let rate = |times: &u64| *times as f64 / *total as f64;
    let ranks = ranks.iter().map(|times| times.iter().map(rate).collect()).collect();
    let paths = paths.iter().map(|(path, times)| (path.clone(), rate(times)));
    let tree = PathRates::new(ranks, paths).best(16);
    (0..tree.len()).map(|index| tree.path(index)).collect()
}

#[test]
fn rates_are_those_counted_by_hand() {
    let tiny = Tiny::new("llama-gqa");
    let (engine, what) = (engine_options(&tiny), calibration_options(6));
    let mut last = None;
    let found = calibrate_medusa(&engine, &what, &mut |seen| last = Some(seen)).unwrap();
    found.check(4).unwrap();
    assert_eq!((found.text.as_str(), found.measurements.len()), ("dice", 2));

    let checkpoint = Checkpoint::open(&tiny.source(), &OpenOptions::default()).unwrap();
    let cpu = CpuOptions { threads: NonZeroUsize::MIN, isa: None };
    let backend = Arc::new(CpuBackend::new(cpu));
    let load = LoadOptions::default();
    let model = Model::load(backend, &checkpoint, load, &mut |_| {}).unwrap();
    let files = tiny.heads().open().unwrap();
    let mut heads = MedusaNetwork::load(&model, &checkpoint, &files, None).unwrap();
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let mut frequencies: BTreeMap<TokenId, u64> = BTreeMap::new();
    let mut all = 0;
    for measurement in &found.measurements {
        let temperature = measurement.temperature;
        let sampling = SamplingParams { temperature, ..SamplingParams::default() };
        let mut texts = Vec::new();
        for (prompt, seed) in what.prompts.iter().zip(what.seed..) {
            let noise = Noise { seed, choice: 0 };
            let text = plain.decode(prompt, &sampling, noise, TOKENS);
            let mut sampler = Sampler::new(sampling.clone(), noise, VOCAB).unwrap();
            let length = counted(text.output(), checkpoint.eos());
            texts.push(ranks(&mut heads, (&text, length), &mut sampler));
            text.output()[..length].iter().for_each(|&t| *frequencies.entry(t).or_default() += 1);
        }
        let everywhere = count(texts.iter().flatten());
        let tree = stepping(&everywhere);
        let mut begun = Vec::new();
        for text in &texts {
            let mut at = 0;
            while let Some(position) = text.get(at) {
                begun.push(position);
                let follows = |depth: &usize| {
                    let path: Option<Vec<u32>> = position[..*depth].iter().copied().collect();
                    path.is_some_and(|path| tree.contains(&path))
                };
                at += 1 + (1..=4).take_while(follows).count();
            }
        }
        let (positions, ranks, paths) = count(begun.into_iter());
        assert_eq!(measurement.positions, positions);
        let rate = |times: &u64| *times as f64 / positions as f64;
        for (found, times) in measurement.ranks.iter().zip(&ranks) {
            assert_eq!(*found, times.iter().map(rate).collect::<Vec<_>>());
        }
        assert_eq!(measurement.paths.len(), paths.len());
        for listed in &measurement.paths {
            assert_eq!(listed.rate, rate(&paths[&listed.path]), "{:?}", listed.path);
        }
        assert!(positions < everywhere.0 && positions > 60 && !paths.is_empty(), "{positions}");
        all += everywhere.0;
    }
    let times = |token: &TokenId| frequencies[token];
    assert_eq!(found.frequent.len(), frequencies.len());
    assert!(found.frequent.is_sorted_by_key(|token| std::cmp::Reverse(times(token))));
    let last = last.unwrap();
    assert_eq!((last.done, last.total, last.positions), (12, 12, all));
}

#[test]
fn measured_rates_choose_the_tree_that_is_drafted() {
    let tiny = Tiny::new("llama-gqa");
    let folder = random_heads(&tiny.source(), Output::Own, 1);
    let mut engine = engine_options(&tiny);
    engine.medusa.heads = Some(heads::source(&folder));
    "medusa".clone_into(&mut engine.drafter);
    engine.draft.tokens = Some(3);
    let depths = |engine: &EngineOptions| {
        let request = request(prompt(5, 1), &SamplingParams::default(), 30);
        let outcome = Bench::new(engine.clone()).run(vec![request], 0).remove(0);
        outcome.unwrap().stats.drafted_by_position.len()
    };
    assert_eq!(depths(&engine), 2, "of three nodes by published rates one is a sibling");
    let what = CalibrationOptions { temperatures: vec![0.0], ..calibration_options(6) };
    let mut found = calibrate_medusa(&engine, &what, &mut |_| {}).unwrap();
    found.measurements[0].paths = [(vec![7], 0.9), (vec![7, 3], 0.8), (vec![7, 3, 5], 0.7)]
        .map(|(path, rate)| MedusaPath { path, rate })
        .to_vec();
    found.write(folder.path()).unwrap();
    assert_eq!(depths(&engine), 3, "a chain is more often right");
}

#[test]
fn what_cannot_be_measured_is_named() {
    let tiny = Tiny::new("llama-gqa");
    let error = |engine: &EngineOptions, change: &dyn Fn(&mut CalibrationOptions)| {
        let mut what = calibration_options(2);
        change(&mut what);
        calibrate_medusa(engine, &what, &mut |_| {}).unwrap_err()
    };
    let engine = engine_options(&tiny);
    let short = error(&engine, &|what| what.tokens = 4);
    assert!(matches!(short, Error::Unmeasured { heads: 4, .. }), "{short}");
    let empty = error(&engine, &|what| what.prompts = vec![Vec::new()]);
    assert!(matches!(empty, Error::EmptyPrompt), "{empty}");
    let mut headless = engine.clone();
    headless.medusa.heads = None;
    let headless = error(&headless, &|_| {});
    assert!(matches!(headless, Error::NoMedusaHeads { .. }), "{headless}");
}
