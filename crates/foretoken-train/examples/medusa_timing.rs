//! Times steps of training of Medusa heads on a folder's model, by default four heads on the built-in demo.
//!
//! `cargo run --release -p foretoken-train --example medusa_timing -- [MODEL SEQUENCES LENGTH STEPS THREADS LABELS]`
//!
//! A step is the model's hidden states, losses, gradients, clipping and AdamW, on random tokens; reported are the
//! medians of the parts.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use foretoken_cpu::default_threads;
use foretoken_model::{Checkpoint, HeadPrecision, ModelSource, OpenOptions};
use foretoken_train::{
    AdamOptions, AdamW, Batch, Compute, CpuOptions, FrozenTarget, HeadExport, HeadLabels,
    HeadLayout, Learner, Medusa1, MedusaObjective, MedusaParameters, OutputMatrices, Precision,
    clip,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "models/foretoken-demo".to_owned());
    let mut number = |default| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (sequences, length, steps) = (number(16), number(256), number(10));
    let threads = NonZeroUsize::new(number(0)).unwrap_or_else(default_threads);
    let labels = match args.next().as_deref() {
        Some("soft") => HeadLabels::Soft,
        Some("mixed") => HeadLabels::Mixed,
        _ => HeadLabels::Text,
    };
    let mut compute = Compute::new(CpuOptions { threads, isa: None }, Precision::Bf16);
    let source = ModelSource::Folder(PathBuf::from(model));
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default()).expect("the model opens");
    let load = || FrozenTarget::load(&compute, &checkpoint, None).expect("the model loads");
    let (target, mut alone) = (load(), load());
    let shape = MedusaParameters::shape_for(target.spec(), (4, 1), OutputMatrices::Own);
    let heads = MedusaParameters::new(shape, target.head());
    let vocab = target.spec().vocab as u32;
    let export = HeadExport {
        layout: HeadLayout::Published,
        precision: HeadPrecision::F32,
        base_model: String::new(),
    };
    let objective = MedusaObjective { labels, ..MedusaObjective::default() };
    let mut learner = Medusa1::new(target, heads, objective, export);
    let mut adam = AdamW::new(AdamOptions::default(), learner.groups()[0]);
    let rows = sequences * length;
    let text: Vec<u32> =
        (0..=rows as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 12) % vocab).collect();
    let weights = vec![1.0 / rows as f32; rows];
    let (tokens, targets) = (&text[..rows], &text[1..]);
    let batch = Batch { tokens, length, targets, weights: &weights, starts: &[] };
    println!(
        "{} parameters, {sequences} x {length} tokens, {labels:?}, {} with {threads} threads",
        learner.heads().parameters.count(),
        compute.backend().isa()
    );
    let mut parts = [const { Vec::new() }; 4];
    let mut hidden = Vec::new();
    for step in 0..=steps {
        let mut marks = vec![Instant::now()];
        alone.hidden(&batch, &mut hidden).expect("the batch is the model's");
        marks.push(Instant::now());
        let loss = learner.step(&mut compute, &batch).expect("the batch is the model's");
        marks.push(Instant::now());
        let parameters = learner.groups_mut().remove(0);
        let scale = clip(parameters.gradient_square_sum(&compute), 1.0);
        adam.update(&compute, parameters, 1e-3, scale);
        marks.push(Instant::now());
        if step == 0 {
            println!("loss {loss:.6}");
            continue;
        }
        let seconds = marks.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        let whole = (marks[3] - marks[1]).as_secs_f64();
        parts.iter_mut().zip(seconds.chain([whole])).for_each(|(part, s)| part.push(s));
    }
    for (name, mut part) in ["states", "states and heads", "update", "step"].iter().zip(parts) {
        part.sort_unstable_by(f64::total_cmp);
        let median = part[part.len() / 2];
        println!("{name:16} {:7.1} ms {:7.0} tokens/s", median * 1e3, rows as f64 / median);
    }
}
