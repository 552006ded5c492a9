//! Operators that work value by value: the gate of a feed-forward layer and Medusa's residual block.

use super::{Linear, LinearGradient};
use crate::compute::Compute;
use crate::vector;
use foretoken_cpu::Write;

/// Values of one item of work.
const VALUES: usize = 1 << 14;

/// Writes `out = silu(gate) up`.
pub fn swiglu(compute: &mut Compute, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let chunks = gate.chunks(VALUES).zip(up.chunks(VALUES)).zip(out.chunks_mut(VALUES));
    compute.each(chunks, |((gate, up), out)| vector::swiglu(gate, up, out));
}

/// Turns `gate` and `up` into their gradients and `dh`, the gradient of [`swiglu`]'s output, into that output,
/// which the layer behind needs and nobody had to save.
pub fn swiglu_backward(compute: &mut Compute, gate: &mut [f32], up: &mut [f32], dh: &mut [f32]) {
    let chunks = gate.chunks_mut(VALUES).zip(up.chunks_mut(VALUES)).zip(dh.chunks_mut(VALUES));
    compute.each(chunks, |((gate, up), dh)| vector::swiglu_gradient(gate, up, dh));
}

/// `y = x + silu(linear(x))`: a block of a Medusa head (Cai et al. 2024). The layer is square.
#[derive(Debug, Clone, Copy)]
pub struct SiluBlock<'a>(pub Linear<'a>);

/// Where the gradients of a [`SiluBlock`] go.
#[derive(Debug)]
pub struct SiluBlockGradient<'a> {
    /// `[rows][width]`, replaced.
    pub x: &'a mut [f32],
    /// Added to.
    pub weight: &'a mut [f32],
    /// Added to; present where there is a bias.
    pub bias: Option<&'a mut [f32]>,
}

impl SiluBlock<'_> {
    /// Writes the output, and the layer's part of it to `inner`, which the backward pass needs.
    pub fn forward(&self, compute: &mut Compute, x: &[f32], inner: &mut [f32], y: &mut [f32]) {
        self.0.forward(compute, x, inner, Write::Store);
        let chunks = x.chunks(VALUES).zip(inner.chunks(VALUES)).zip(y.chunks_mut(VALUES));
        compute.each(chunks, |((x, inner), y)| {
            y.copy_from_slice(x);
            vector::add_silu(inner, y);
        });
    }

    /// From `dy`, the gradient of the output. Uses up `inner`.
    pub fn backward(
        &self,
        compute: &mut Compute,
        (x, inner): (&[f32], &mut [f32]),
        dy: &[f32],
        to: SiluBlockGradient<'_>,
    ) {
        let chunks = inner.chunks_mut(VALUES).zip(dy.chunks(VALUES)).zip(to.x.chunks_mut(VALUES));
        compute.each(chunks, |((inner, dy), dx)| {
            vector::silu_gradient(inner, dy);
            dx.copy_from_slice(dy);
        });
        let (weight, bias) = (to.weight, to.bias);
        let to = LinearGradient { x: Some((to.x, Write::Add)), weight, bias };
        self.0.backward(compute, x, inner, to);
    }
}
