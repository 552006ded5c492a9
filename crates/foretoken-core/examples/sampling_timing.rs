//! Microseconds per row of everything that reads a row of logits.
//!
//! `cargo run --release -p foretoken-core --example sampling_timing`
//!
//! A round walks sixteen rows at successive positions, as the verification of a chain does; rounds of
//! all cases take turns, and the best of each counts.

#![expect(clippy::print_stdout, reason = "what a measurement is for")]

use std::hint::black_box;
use std::time::Instant;

use foretoken_core::{Domain, LogProbabilities, Noise, Sampler, SamplingParams};

const ROWS: usize = 16;
const ROUNDS: u32 = 40;

/// Rows of the usual shape: a bell of the given width and a few candidates above it.
fn bells(vocab: usize, width: f64) -> Vec<Vec<f32>> {
    let noise = Noise { seed: 5, choice: 0 };
    let uniform = |token, which| noise.uniform(Domain::DraftDraw, which, token) - 0.5;
    let mut row: Vec<f32> = (0..vocab as u32)
        .map(|token| (width * (0..12).map(|i| uniform(token, i)).sum::<f64>()) as f32)
        .collect();
    for i in 0..20 {
        row[i * (vocab / 21)] = 5.0 * width as f32 - i as f32 * 0.5;
    }
    let turned = |by: usize| {
        let mut row = row.clone();
        row.rotate_left(by * 997);
        row
    };
    (0..ROWS).map(turned).collect()
}

/// What is done to each row; the position is fresh in each round.
type Use = Box<dyn FnMut(&[f32], u32)>;

fn uses(vocab: usize) -> Vec<(&'static str, Use)> {
    let sampler = |params: SamplingParams| {
        let mut sampler =
            Sampler::new(params, Noise { seed: 1, choice: 0 }, vocab).expect("parameters in range");
        (0..2_000).for_each(|i| sampler.commit(i * 7));
        sampler
    };
    let drawing = |params: SamplingParams| -> Use {
        let mut sampler = sampler(params);
        Box::new(move |row, position| {
            black_box(sampler.draw(row, &[7, 8, 9], position)).expect("a sound row");
        })
    };
    let off = SamplingParams::default();
    let warm = SamplingParams { temperature: 1.0, ..off.clone() };
    let mild = SamplingParams { temperature: 0.6, top_p: 0.9, ..off.clone() };
    let ranking = |params: SamplingParams, k| -> Use {
        let (mut sampler, mut ranked) = (sampler(params), Vec::new());
        Box::new(move |row, position| {
            sampler.rank(row, &[], position, k, &mut ranked).expect("a sound row");
        })
    };
    let mut verifying = sampler(warm.clone());
    let again: Use = Box::new(move |row, position| {
        let position = position % ROWS as u32;
        black_box(verifying.draw(row, &[], position)).expect("a sound row");
    });
    let log: Use = Box::new(|row, _| {
        black_box(LogProbabilities::new(row)).expect("a sound row");
    });
    vec![
        ("greedy", drawing(off.clone())),
        ("greedy, the best", ranking(off.clone(), 1)),
        ("temperature 1", drawing(warm.clone())),
        ("temperature 1, position known", again),
        ("temperature 1, the best", ranking(warm.clone(), 1)),
        ("temperature 1, the best 4", ranking(warm.clone(), 4)),
        ("temperature 0.3", drawing(SamplingParams { temperature: 0.3, ..off.clone() })),
        ("temperature 1, penalties", {
            drawing(SamplingParams {
                repetition_penalty: 1.1,
                frequency_penalty: 0.1,
                ..warm.clone()
            })
        }),
        ("top-k 40", drawing(SamplingParams { top_k: Some(40), ..warm.clone() })),
        ("top-p 0.9", drawing(mild.clone())),
        ("top-p 0.9, top-k 40", drawing(SamplingParams { top_k: Some(40), ..mild })),
        ("min-p 0.05", drawing(SamplingParams { min_p: 0.05, ..warm })),
        ("log-probabilities", log),
    ]
}

fn main() {
    println!(
        "us a row{:22} | 32,000: sd 1 |    sd 2.5 |      sd 4 | 128,000: sd 1 |    sd 2.5 |      sd 4",
        ""
    );
    let settings = [32_000, 128_000].map(|vocab| [1.0, 2.5, 4.0].map(|width| (vocab, width)));
    let columns: Vec<Vec<f64>> =
        settings.as_flattened().iter().map(|&(vocab, width)| best_of(vocab, width)).collect();
    for (case, (name, _)) in uses(32_000).iter().enumerate() {
        let cells: Vec<String> =
            columns.iter().map(|column| format!("{:9.1}", column[case])).collect();
        println!("{name:30} |    {}", cells.join(" | "));
    }
}

/// The best round of each use, in microseconds per row.
fn best_of(vocab: usize, width: f64) -> Vec<f64> {
    let rows = bells(vocab, width);
    let mut uses = uses(vocab);
    let mut best = vec![f64::INFINITY; uses.len()];
    for round in 0..ROUNDS {
        for ((_, call), best) in uses.iter_mut().zip(&mut best) {
            let start = Instant::now();
            for (row, position) in rows.iter().zip(round * ROWS as u32..) {
                call(black_box(row), position);
            }
            *best = best.min(start.elapsed().as_secs_f64() * 1e6 / ROWS as f64);
        }
    }
    best
}
