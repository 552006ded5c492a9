//! What one row costs; a measurement, run on demand:
//! `cargo test --release -p foretoken-core --test statistics -- --ignored --nocapture speed`.

#![expect(clippy::print_stdout, reason = "what a measurement is for")]

use std::hint::black_box;
use std::time::Instant;

use foretoken_core::{Distribution, Domain, LogProbabilities, Noise, Sampler, SamplingParams};

const VOCAB: usize = 128_000;

/// Logits of the usual shape: a bell of the given width and a few candidates above it.
fn bell(width: f64) -> Vec<f32> {
    let noise = Noise { seed: 5, choice: 0 };
    let uniform = |token, which| noise.uniform(Domain::DraftDraw, which, token);
    let mut row: Vec<f32> = (0..VOCAB as u32)
        .map(|token| (width * (0..12).map(|i| uniform(token, i) - 0.5).sum::<f64>()) as f32)
        .collect();
    for i in 0..20 {
        row[i * 6_007] = 5.0 * width as f32 - i as f32 * 0.5;
    }
    row
}

fn report(name: &str, mut call: impl FnMut(u32)) {
    let rounds = 20;
    let seconds = (0..5)
        .map(|repeat| {
            let start = Instant::now();
            (0..rounds).for_each(|i| call(repeat * rounds + i));
            start.elapsed().as_secs_f64() / f64::from(rounds)
        })
        .fold(f64::INFINITY, f64::min);
    let per_token = seconds * 1e9 / VOCAB as f64;
    println!("{name:48} {:9.1} us a row {per_token:8.3} ns a token", seconds * 1e6);
}

#[test]
#[ignore = "a measurement, not a test"]
fn speed_of_a_row() {
    let noise = Noise { seed: 1, choice: 0 };
    let off = SamplingParams::default();
    let cases = [
        ("greedy", off.clone()),
        ("temperature 1", SamplingParams { temperature: 1.0, ..off.clone() }),
        ("temperature 0.3", SamplingParams { temperature: 0.3, ..off.clone() }),
        ("top-k 40", SamplingParams { temperature: 0.8, top_k: Some(40), ..off.clone() }),
        ("top-p 0.9", SamplingParams { temperature: 0.6, top_p: 0.9, ..off.clone() }),
        ("top-p 0.9, top-k 40", {
            SamplingParams { temperature: 0.6, top_p: 0.9, top_k: Some(40), ..off.clone() }
        }),
        ("min-p 0.05", SamplingParams { temperature: 1.0, min_p: 0.05, ..off.clone() }),
        ("penalties", {
            let penalty = SamplingParams { repetition_penalty: 1.1, frequency_penalty: 0.1, ..off };
            SamplingParams { temperature: 1.0, ..penalty }
        }),
    ];
    for (shape, row) in [("flat", bell(0.3)), ("usual", bell(2.5))] {
        for (name, params) in &cases {
            let mut sampler = Sampler::new(params.clone(), noise, VOCAB).expect("valid");
            (0..2_000).for_each(|i| sampler.commit(i * 37));
            report(&format!("draw, {shape} row, {name}"), |position| {
                black_box(sampler.draw(black_box(&row), &[7, 8, 9], position)).expect("sound");
            });
        }
        let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
        let mut sampler = Sampler::new(params, noise, VOCAB).expect("valid");
        let mut out = Vec::new();
        report(&format!("rank 4, {shape} row"), |position| {
            sampler.rank(black_box(&row), &[], position, 4, &mut out).expect("sound");
        });
        let mut law = Distribution::new();
        report(&format!("distribution, {shape} row"), |_| {
            sampler.distribution(black_box(&row), &[], &mut law).expect("sound");
        });
        report(&format!("log-probabilities, {shape} row"), |_| {
            black_box(LogProbabilities::new(black_box(&row))).expect("sound");
        });
    }
}
