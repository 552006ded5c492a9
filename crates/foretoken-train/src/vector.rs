//! Loops over one row, compiled for the machine's vectors.
//!
//! Sums run in sixteen lanes that are added in halves, and nothing is fused but what is written so, hence a row
//! has the same bits on every machine.

#![allow(
    clippy::inline_always,
    reason = "the loops must be compiled inside functions for wide vectors"
)]

use foretoken_tensor::arithmetic::exp;
use multiversion::multiversion;

const LANES: usize = 16;

/// Adds lanes in halves.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ x y`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y[..x.len()].as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        lanes[lane] += x * y;
    }
    total(lanes)
}

/// `Σ x y z`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn dot3(x: &[f32], y: &[f32], z: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y[..x.len()].as_chunks::<LANES>();
    let (zs, z_rest) = z[..x.len()].as_chunks::<LANES>();
    for ((x, y), z) in xs.iter().zip(ys).zip(zs) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane] * z[lane];
        }
    }
    for (lane, ((x, y), z)) in x_rest.iter().zip(y_rest).zip(z_rest).enumerate() {
        lanes[lane] += x * y * z;
    }
    total(lanes)
}

/// `y += x`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn add(y: &mut [f32], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// `y = x factor gain`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn scale_by(x: &[f32], factor: f32, gain: &[f32], y: &mut [f32]) {
    for ((x, gain), y) in x.iter().zip(gain).zip(y) {
        *y = x * factor * gain;
    }
}

/// The largest value.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for x in chunks {
        for lane in 0..LANES {
            lanes[lane] = if x[lane] > lanes[lane] { x[lane] } else { lanes[lane] };
        }
    }
    rest.iter().chain(&lanes).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `x = exp(x - max)`; returns the sum.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
fn exponentials(x: &mut [f32], max: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for x in chunks {
        for lane in 0..LANES {
            x[lane] = exp(x[lane] - max);
            lanes[lane] += x[lane];
        }
    }
    for (x, lane) in rest.iter_mut().zip(&mut lanes) {
        *x = exp(*x - max);
        *lane += *x;
    }
    total(lanes)
}

/// `x *= factor`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// How many logits are larger than that of `index`, or as large and before it.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn rank(x: &[f32], index: usize) -> u32 {
    let own = x[index];
    let before: u32 = x[..index].iter().map(|x| u32::from(*x >= own)).sum();
    before + x[index..].iter().map(|x| u32::from(*x > own)).sum::<u32>()
}

/// `x = softmax(x)`; returns the logarithm of the sum of exponentials.
pub(crate) fn softmax(x: &mut [f32]) -> f32 {
    let max = largest(x);
    let sum = exponentials(x, max);
    scale(x, 1.0 / sum);
    max + libm::logf(sum)
}

/// `p = exp(p scale - lse)`, the softmax of a row whose `lse` is known.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn softmax_again(p: &mut [f32], scale: f32, lse: f32) {
    for p in p {
        *p = exp(*p * scale - lse);
    }
}

/// `d = p (d - mean) scale`, the gradient of softmax where `mean = Σ p d`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn softmax_gradient(d: &mut [f32], p: &[f32], mean: f32, scale: f32) {
    for (d, p) in d.iter_mut().zip(p) {
        *d = p * (*d - mean) * scale;
    }
}

/// `d += factor (gain dy - x slope)` and `dgain += dy x factor`: one row of the gradient of a norm.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn norm_gradient(row: NormRow<'_>) {
    let NormRow { x, dy, gain, factor, slope, d, dgain } = row;
    let len = d.len();
    let (x, dy, gain, dgain) = (&x[..len], &dy[..len], &gain[..len], &mut dgain[..len]);
    for i in 0..len {
        d[i] += factor * (gain[i] * dy[i] - x[i] * slope);
        dgain[i] += dy[i] * x[i] * factor;
    }
}

/// Operands of [`norm_gradient`].
pub(crate) struct NormRow<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) dy: &'a [f32],
    pub(crate) gain: &'a [f32],
    pub(crate) factor: f32,
    pub(crate) slope: f32,
    pub(crate) d: &'a mut [f32],
    pub(crate) dgain: &'a mut [f32],
}

/// `out = silu(gate) up`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

/// As [`swiglu`] with `dh`, the gradient of its output; `gate` and `up` become their gradients, and `dh` the
/// output.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn swiglu_gradient(gate: &mut [f32], up: &mut [f32], dh: &mut [f32]) {
    for ((gate, up), dh) in gate.iter_mut().zip(up).zip(dh) {
        let (g, u, d) = (*gate, *up, *dh);
        let sigmoid = 1.0 / (1.0 + exp(-g));
        let silu = g * sigmoid;
        *gate = d * u * (sigmoid + silu * (1.0 - sigmoid));
        *up = d * silu;
        *dh = silu * u;
    }
}

/// `y += silu(x)`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn add_silu(x: &[f32], y: &mut [f32]) {
    for (x, y) in x.iter().zip(y) {
        *y += x / (1.0 + exp(-x));
    }
}

/// `x = dy silu'(x)`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn silu_gradient(x: &mut [f32], dy: &[f32]) {
    for (x, dy) in x.iter_mut().zip(dy) {
        let sigmoid = 1.0 / (1.0 + exp(-*x));
        *x = dy * (sigmoid + *x * sigmoid * (1.0 - sigmoid));
    }
}

/// Rotates the pairs `(low, high)` by the angles of these cosines and sines.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn rotate(low: &mut [f32], high: &mut [f32], cos: &[f32], sin: &[f32]) {
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (x, y) = (*low, *high);
        *low = x * cos - y * sin;
        *high = y * cos + x * sin;
    }
}

/// `Σ x²` in f64.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn square_sum(x: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for x in chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(x[lane]) * f64::from(x[lane]);
        }
    }
    let rest: f64 = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// One step of AdamW; the gradient becomes zero.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn adam(step: &AdamStep, value: &mut [f32], gradient: &mut [f32], moments: Moments<'_>) {
    let Moments { mean, square } = moments;
    let len = value.len();
    let (gradient, mean, square) = (&mut gradient[..len], &mut mean[..len], &mut square[..len]);
    for i in 0..len {
        let g = gradient[i] * step.gradient_scale;
        mean[i] += (g - mean[i]) * step.mean_rate;
        square[i] = square[i] * step.square_decay + g * g * (1.0 - step.square_decay);
        let root = square[i].sqrt() * step.root_scale + step.epsilon;
        value[i] = value[i] * step.keep - step.rate * mean[i] / root;
        gradient[i] = 0.0;
    }
}

/// What [`adam`] keeps between steps.
pub(crate) struct Moments<'a> {
    pub(crate) mean: &'a mut [f32],
    pub(crate) square: &'a mut [f32],
}

/// Constants of a step of [`adam`].
pub(crate) struct AdamStep {
    /// Multiplies gradients.
    pub(crate) gradient_scale: f32,
    /// `1 - beta1`.
    pub(crate) mean_rate: f32,
    /// `beta2`.
    pub(crate) square_decay: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    pub(crate) root_scale: f32,
    pub(crate) epsilon: f32,
    /// What decay leaves of a value.
    pub(crate) keep: f32,
    /// The learning rate over `1 - beta1^t`.
    pub(crate) rate: f32,
}

/// `x = (x - y) factor`.
#[multiversion(targets("x86_64+avx512f+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn subtract_scaled(x: &mut [f32], y: &[f32], factor: f32) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = (*x - y) * factor;
    }
}
