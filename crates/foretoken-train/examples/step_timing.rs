//! Times steps of training of a model of 11 M parameters, the shape of the built-in demo.
//!
//! `cargo run --release -p foretoken-train --example step_timing -- [SEQUENCES LENGTH STEPS THREADS PRECISION]`
//!
//! A step is loss, gradients, clipping and AdamW, on random tokens; reported are the medians of the parts.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::num::NonZeroUsize;
use std::time::Instant;

use foretoken_cpu::default_threads;
use foretoken_model::OutputHead;
use foretoken_train::{
    AdamOptions, AdamW, Batch, Compute, CpuOptions, Llama, LlamaShape, Precision, Targets, clip,
};

const SHAPE: LlamaShape = LlamaShape {
    vocab: 4096,
    hidden: 384,
    layers: 6,
    heads: 6,
    kv_heads: 2,
    head_size: 64,
    ffn: 1024,
    output: OutputHead::Tied,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    context: 1024,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (sequences, length, steps) = (number(16), number(256), number(10));
    let threads = NonZeroUsize::new(number(0)).unwrap_or_else(default_threads);
    let precision = match args.next().as_deref() {
        Some("f32") => Precision::F32,
        _ => Precision::Bf16,
    };
    let mut compute = Compute::new(CpuOptions { threads, isa: None }, precision);
    let mut model = Llama::new(&compute, SHAPE, 1).expect("the shape is a model");
    let mut adam = AdamW::new(AdamOptions::default(), &model.parameters);
    let rows = sequences * length;
    let text: Vec<u32> = (0..=rows as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 20).collect();
    let weights = vec![1.0 / rows as f32; rows];
    let (tokens, targets) = (&text[..rows], &text[1..]);
    let batch = Batch { tokens, length, targets, weights: &weights, starts: &[] };
    println!(
        "{} parameters, {sequences} x {length} tokens, {precision:?}, {} with {threads} threads",
        model.parameters.count(),
        compute.backend().isa()
    );
    let mut parts = [const { Vec::new() }; 5];
    for step in 0..=steps {
        let mut marks = vec![Instant::now()];
        model.forward(&mut compute, &batch).expect("the batch is the model's");
        marks.push(Instant::now());
        let targets = Targets::Tokens(batch.targets);
        let loss = model.language_loss(&mut compute, targets, batch.weights);
        marks.push(Instant::now());
        model.backward(&mut compute, &batch);
        marks.push(Instant::now());
        let scale = clip(model.parameters.gradient_square_sum(&compute), 1.0);
        adam.update(&compute, &mut model.parameters, 1e-3, scale);
        marks.push(Instant::now());
        if step == 0 {
            println!("loss {loss:.6}");
            continue;
        }
        let seconds = marks.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        let whole = (marks[4] - marks[0]).as_secs_f64();
        parts.iter_mut().zip(seconds.chain([whole])).for_each(|(part, s)| part.push(s));
    }
    for (name, mut part) in ["forward", "loss", "backward", "update", "step"].iter().zip(parts) {
        part.sort_unstable_by(f64::total_cmp);
        let median = part[part.len() / 2];
        println!("{name:8} {:7.1} ms {:7.0} tokens/s", median * 1e3, rows as f64 / median);
    }
}
