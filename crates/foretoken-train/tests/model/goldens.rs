//! Three steps of AdamW against PyTorch, and losses against transformers.

use std::path::Path;

use foretoken_model::ModelSource;
use foretoken_train::{AdamOptions, AdamW, Batch, Llama, Precision, clip};
use serde_json::Value;

use crate::support::{Golden, compute, distance};

const CASES: [&str; 2] = ["tied", "own-packed"];
const OPTIONS: AdamOptions = AdamOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 };
const RATE: f32 = 3e-3;
const CLIP: f32 = 0.7;

/// How far losses, gradients and parameters may be.
struct Bounds {
    loss: f64,
    gradient: f32,
    after: f32,
}

fn check(case: &str, precision: Precision, bounds: &Bounds) {
    let golden = Golden::open(case);
    let (mut model, mut compute) = (golden.model(), compute(2, precision));
    let mut adam = AdamW::new(OPTIONS, &model.parameters);
    for (step, wanted) in golden.values("loss").into_iter().enumerate() {
        let loss = model.step(&mut compute, &golden.batch()).expect("the batch is the model's");
        assert!(
            (loss / f64::from(wanted) - 1.0).abs() < bounds.loss,
            "{case} {step}: {loss}, {wanted}"
        );
        let square_sum = model.parameters.gradient_square_sum(&compute);
        if step == 0 {
            let norm = golden.values("norm")[0];
            let found = square_sum.sqrt() as f32;
            assert!((found / norm - 1.0).abs() < bounds.gradient, "{case}: norm {found}, {norm}");
            for parameter in model.parameters.as_slice() {
                let wanted = golden.values(&format!("gradient.{}", parameter.name));
                let distance = distance(&parameter.gradient, &wanted);
                assert!(distance < bounds.gradient, "{case} {}: {distance}", parameter.name);
            }
        }
        adam.update(&compute, &mut model.parameters, RATE, clip(square_sum, CLIP));
    }
    for parameter in model.parameters.as_slice() {
        let wanted = golden.values(&format!("after.{}", parameter.name));
        let distance = distance(&parameter.values, &wanted);
        assert!(distance < bounds.after, "{case} {}: {distance}", parameter.name);
        assert!(parameter.gradient.iter().all(|gradient| *gradient == 0.0));
    }
}

#[test]
fn steps_in_f32_are_those_of_pytorch() {
    for case in CASES {
        check(case, Precision::F32, &Bounds { loss: 1e-6, gradient: 1e-5, after: 1e-5 });
    }
}

/// Factors have eight bits; a gradient near zero may change its sign, and with it the direction of Adam's
/// first steps, of 3e-3 each.
#[test]
fn steps_in_bf16_are_near_them() {
    for case in CASES {
        check(case, Precision::Bf16, &Bounds { loss: 5e-3, gradient: 5e-2, after: 2e-2 });
    }
}

/// The same checkpoints that the decoder is tested with.
#[test]
fn losses_are_those_of_transformers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    for case in ["llama-gqa", "llama-mha", "llama-sharded", "llama-bf16"] {
        let source = ModelSource::Folder(root.join("checkpoints").join(case));
        let text = std::fs::read(root.join("goldens").join(format!("{case}.json")));
        let golden: Value = serde_json::from_slice(&text.expect("it exists")).expect("it is JSON");
        let numbers = |key: &str| golden[key].as_array().expect("a list").clone();
        let token = |value: &Value| value.as_u64().expect("a token") as u32;
        let prompt: Vec<u32> = numbers("prompt").iter().map(token).collect();
        let (tokens, targets) = (&prompt[..prompt.len() - 1], &prompt[1..]);
        let mut model = Llama::open(&source).expect("the model opens");
        let mut compute = compute(2, Precision::F32);
        for (row, wanted) in numbers("logprobs").iter().enumerate() {
            let mut weights = vec![0.0; tokens.len()];
            weights[row] = 1.0;
            let length = tokens.len();
            let batch = Batch { tokens, length, targets, weights: &weights, starts: &[] };
            let loss = model.evaluate(&mut compute, &batch).expect("the batch is the model's");
            let wanted = wanted.as_f64().expect("a number");
            assert!((loss + wanted).abs() < 2e-4, "{case} {row}: {loss}, {wanted}");
        }
    }
}
