//! One layer, forward and backward.
//!
//! Saved per token and layer: the residual stream before and amid the layer, queries, keys and values, what
//! attention gives with its sums, gate and up. Norms and the gated product are computed again in the backward pass,
//! which costs less than the memory.

use super::LlamaShape;
use crate::compute::Compute;
use crate::operators::{
    Attention, AttentionGradient, AttentionRows, Direction, Linear, NormGradient, RmsNorm, Rope,
    swiglu, swiglu_backward,
};
use crate::parameters::Parameter;
use foretoken_cpu::Write;

/// Parameters of a layer, in the order of [`LlamaShape::tensors`].
pub(super) const PARAMETERS: usize = 9;

/// What the forward pass of a layer saves; matrices of one row per token.
#[derive(Debug)]
pub(super) struct Saved {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attention: Vec<f32>,
    lse: Vec<f32>,
    /// The residual stream between attention and feed-forward.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// Memory that layers use in turn.
#[derive(Debug)]
pub(super) struct Scratch {
    normed: Vec<f32>,
    /// The gated product, or its gradient.
    gated: Vec<f32>,
    /// Gradient of `normed`.
    d_normed: Vec<f32>,
    d_attention: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl Saved {
    pub(super) fn new(shape: &LlamaShape, rows: usize) -> Self {
        let zeros = |width| vec![0.0; rows * width];
        let (queries, keys) = (shape.heads * shape.head_size, shape.kv_heads * shape.head_size);
        Self {
            q: zeros(queries),
            k: zeros(keys),
            v: zeros(keys),
            attention: zeros(queries),
            lse: zeros(shape.heads),
            middle: zeros(shape.hidden),
            gate: zeros(shape.ffn),
            up: zeros(shape.ffn),
        }
    }
}

impl Scratch {
    pub(super) fn new(shape: &LlamaShape, rows: usize) -> Self {
        let zeros = |width| vec![0.0; rows * width];
        let (queries, keys) = (shape.heads * shape.head_size, shape.kv_heads * shape.head_size);
        Self {
            normed: zeros(shape.hidden),
            gated: zeros(shape.ffn),
            d_normed: zeros(shape.hidden),
            d_attention: zeros(queries),
            dq: zeros(queries),
            dk: zeros(keys),
            dv: zeros(keys),
        }
    }
}

/// A layer's constants of a pass.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) shape: &'a LlamaShape,
    pub(super) rope: &'a Rope,
    /// As of [`AttentionRows`].
    pub(super) starts: &'a [u32],
}

impl Layer<'_> {
    /// From the residual stream `x` to the one behind the layer.
    pub(super) fn forward(
        &self,
        compute: &mut Compute,
        parameters: &[Parameter; PARAMETERS],
        saved: &mut Saved,
        scratch: &mut Scratch,
        (x, y): (&[f32], &mut [f32]),
    ) {
        let [norm, q, k, v, output, ffn_norm, gate, up, down] = parameters;
        let Saved { middle, .. } = saved;
        let normed = &mut scratch.normed;
        self.norm(norm).forward(compute, x, normed);
        linear(q).forward(compute, normed, &mut saved.q, Write::Store);
        linear(k).forward(compute, normed, &mut saved.k, Write::Store);
        linear(v).forward(compute, normed, &mut saved.v, Write::Store);
        let (q_width, k_width) = self.widths();
        self.rope.apply(compute, &mut saved.q, q_width, Direction::Forward);
        self.rope.apply(compute, &mut saved.k, k_width, Direction::Forward);
        let (q, k, v, starts) = (&saved.q[..], &saved.k[..], &saved.v[..], self.starts);
        let rows = AttentionRows { q, k, v, starts };
        self.attention().forward(compute, rows, &mut saved.attention, &mut saved.lse);
        compute.copy(x, middle);
        linear(output).forward(compute, &saved.attention, middle, Write::Add);
        self.norm(ffn_norm).forward(compute, middle, normed);
        linear(gate).forward(compute, normed, &mut saved.gate, Write::Store);
        linear(up).forward(compute, normed, &mut saved.up, Write::Store);
        swiglu(compute, &saved.gate, &saved.up, &mut scratch.gated);
        compute.copy(middle, y);
        linear(down).forward(compute, &scratch.gated, y, Write::Add);
    }

    /// Turns `d`, the gradient of the stream behind the layer, into that before it. Uses up what was saved.
    pub(super) fn backward(
        &self,
        compute: &mut Compute,
        parameters: &mut [Parameter; PARAMETERS],
        saved: &mut Saved,
        scratch: &mut Scratch,
        (x, d): (&[f32], &mut [f32]),
    ) {
        let [norm, q, k, v, output, ffn_norm, gate, up, down] = parameters;
        self.feed_forward_backward(compute, [ffn_norm, gate, up, down], saved, scratch, d);
        self.attention_backward(compute, [norm, q, k, v, output], saved, scratch, (x, d));
    }

    fn feed_forward_backward(
        &self,
        compute: &mut Compute,
        [norm, gate, up, down]: [&mut Parameter; 4],
        saved: &mut Saved,
        scratch: &mut Scratch,
        d: &mut [f32],
    ) {
        let Scratch { normed, gated, d_normed, .. } = scratch;
        linear(down).input_gradient(compute, d, gated, Write::Store);
        swiglu_backward(compute, &mut saved.gate, &mut saved.up, gated);
        weight_gradient(compute, down, gated, d);
        self.norm(norm).forward(compute, &saved.middle, normed);
        weight_gradient(compute, gate, normed, &saved.gate);
        weight_gradient(compute, up, normed, &saved.up);
        linear(gate).input_gradient(compute, &saved.gate, d_normed, Write::Store);
        linear(up).input_gradient(compute, &saved.up, d_normed, Write::Add);
        self.norm_backward(compute, norm, &saved.middle, d_normed, d);
    }

    fn attention_backward(
        &self,
        compute: &mut Compute,
        [norm, query, key, value, output]: [&mut Parameter; 5],
        saved: &mut Saved,
        scratch: &mut Scratch,
        (x, d): (&[f32], &mut [f32]),
    ) {
        let Scratch { normed, d_normed, d_attention, dq, dk, dv, .. } = scratch;
        weight_gradient(compute, output, &saved.attention, d);
        linear(output).input_gradient(compute, d, d_attention, Write::Store);
        let (q, k, v, starts) = (&saved.q[..], &saved.k[..], &saved.v[..], self.starts);
        let of_output = (&saved.attention[..], &saved.lse[..]);
        let to = AttentionGradient { q: dq, k: dk, v: dv };
        let rows = AttentionRows { q, k, v, starts };
        self.attention().backward(compute, rows, of_output, d_attention, to);
        let (q_width, k_width) = self.widths();
        self.rope.apply(compute, dq, q_width, Direction::Backward);
        self.rope.apply(compute, dk, k_width, Direction::Backward);
        self.norm(norm).forward(compute, x, normed);
        let mut write = Write::Store;
        for (parameter, dy) in [(query, &*dq), (key, &*dk), (value, &*dv)] {
            weight_gradient(compute, parameter, normed, dy);
            linear(parameter).input_gradient(compute, dy, d_normed, write);
            write = Write::Add;
        }
        self.norm_backward(compute, norm, x, d_normed, d);
    }

    fn norm_backward(
        &self,
        compute: &mut Compute,
        parameter: &mut Parameter,
        x: &[f32],
        dy: &[f32],
        d: &mut [f32],
    ) {
        let norm = RmsNorm { gain: &parameter.values, eps: self.shape.norm_eps };
        norm.backward(compute, x, dy, NormGradient { x: d, gain: &mut parameter.gradient });
    }

    fn norm<'a>(&self, parameter: &'a Parameter) -> RmsNorm<'a> {
        RmsNorm { gain: &parameter.values, eps: self.shape.norm_eps }
    }

    fn attention(&self) -> Attention {
        let LlamaShape { heads, kv_heads, head_size, .. } = *self.shape;
        Attention { heads, kv_heads, head_size, length: self.rope.length() }
    }

    /// Widths of rows of queries and of keys.
    fn widths(&self) -> (usize, usize) {
        let LlamaShape { heads, kv_heads, head_size, .. } = *self.shape;
        (heads * head_size, kv_heads * head_size)
    }
}

fn linear(parameter: &Parameter) -> Linear<'_> {
    Linear { weight: &parameter.values, bias: None, inputs: parameter.shape[1] }
}

/// Adds the gradient of a layer's matrix.
fn weight_gradient(compute: &mut Compute, parameter: &mut Parameter, x: &[f32], dy: &[f32]) {
    Linear::weight_gradient(compute, (x, parameter.shape[1]), dy, &mut parameter.gradient);
}
