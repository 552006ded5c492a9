//! Random values, differences and how far is too far.

use std::num::NonZeroUsize;

use foretoken_core::{Domain, Noise};
use foretoken_model::OutputHead;
use foretoken_train::{Batch, Compute, CpuOptions, LlamaShape, Precision};

/// In f32 on two threads.
pub(crate) fn compute() -> Compute {
    let threads = NonZeroUsize::new(2).expect("two");
    Compute::new(CpuOptions { threads, isa: None }, Precision::F32)
}

/// Width of a [`tiny`] model.
pub(crate) const HIDDEN: usize = 6;
/// Tokens of a [`tiny`] model.
pub(crate) const VOCAB: usize = 11;
/// Base of its rotations.
pub(crate) const THETA: f64 = 100.0;
/// What its norms add.
pub(crate) const EPS: f64 = 1e-5;

/// One layer of one head, for texts of so many tokens.
pub(crate) fn tiny(output: OutputHead, context: usize) -> LlamaShape {
    LlamaShape {
        vocab: VOCAB,
        hidden: HIDDEN,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_size: HIDDEN,
        ffn: 8,
        output,
        rope_theta: THETA,
        norm_eps: EPS as f32,
        context,
    }
}

/// `x · matrixᵀ` of one row.
pub(crate) fn product(x: &[f64], matrix: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|w| x.iter().zip(w).map(|(x, w)| x * w).sum()).collect()
}

/// Between -1 and 1.
pub(crate) fn random(len: usize, seed: u64) -> Vec<f32> {
    let noise = Noise { seed, choice: 0 };
    (0..len as u32).map(|i| (2.0 * noise.uniform(Domain::Draw, 0, i) - 1.0) as f32).collect()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

pub(crate) fn dot(x: &[f64], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * f64::from(*y)).sum()
}

pub(crate) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - sum.ln()).collect()
}

/// Asserts that each value is within `2e-6` of the largest.
pub(crate) fn assert_close(what: &str, found: &[f32], wanted: &[f64]) {
    assert_within(2e-6, what, found, wanted);
}

/// Asserts that each value is within so much of the largest.
pub(crate) fn assert_within(bound: f64, what: &str, found: &[f32], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let size = wanted.iter().fold(0.0f64, |size, value| size.max(value.abs()));
    assert!(size > 0.0, "{what} is not all zero");
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= bound * size, "{what} at {index}: {found} instead of {wanted}");
    }
}

/// What a head's residual blocks, each a matrix and a bias, make of a state.
pub(crate) fn blocks(state: &[f64], blocks: &[Vec<f64>]) -> Vec<f64> {
    blocks.chunks(2).fold(state.to_vec(), |x, block| {
        let inner = product(&x, &block[0]).into_iter().zip(&block[1]).map(|(y, b)| y + b);
        x.iter().zip(inner).map(|(x, y)| x + y / (1.0 + (-y).exp())).collect()
    })
}

/// The row whose target is the label of a row for a head, if it is one.
pub(crate) fn label(batch: &Batch<'_>, row: usize, head: usize) -> Option<usize> {
    let label = row + 1 + head;
    let is_near = label < batch.tokens.len() && label / batch.length == row / batch.length;
    (is_near && batch.starts[label] == batch.starts[row]).then_some(label)
}

/// The cross-entropy of a token where these are log-probabilities.
pub(crate) fn entropy(said: &[f64], token: u32) -> f64 {
    -said[token as usize]
}

/// The Kullback-Leibler divergence of these log-probabilities from a teacher's.
pub(crate) fn divergence(teacher: &[f64], said: &[f64]) -> f64 {
    teacher.iter().zip(said).map(|(q, p)| q.exp() * (q - p)).sum()
}

/// The derivatives of `f` at `at` by differences of fourth order.
pub(crate) fn differences(at: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-3;
    let mut x = wide(at);
    let mut of = |index: usize, steps: f64| {
        let before = x[index];
        x[index] += steps * STEP;
        let value = f(&x);
        x[index] = before;
        value
    };
    (0..at.len())
        .map(|i| {
            let near = of(i, 1.0) - of(i, -1.0);
            let far = of(i, 2.0) - of(i, -2.0);
            (8.0 * near - far) / (12.0 * STEP)
        })
        .collect()
}
