//! Forward and backward passes over the residual blocks of one head.

use super::parameters::HeadParameters;
use crate::compute::Compute;
use crate::operators::{Linear, SiluBlock, SiluBlockGradient, gather};
use crate::parameters::Parameter;

/// Activations of one head at a time, kept for the next.
#[derive(Debug, Default)]
pub(super) struct BlockPasses {
    /// The input of each block, and the last one's output.
    stream: Vec<Vec<f32>>,
    /// What each block's layer gave.
    inner: Vec<Vec<f32>>,
    /// Gradient of the output, then of each block's input.
    d: Vec<f32>,
    dx: Vec<f32>,
}

impl BlockPasses {
    /// Runs the blocks on some rows of hidden states.
    pub(super) fn forward(
        &mut self,
        compute: &mut Compute,
        head: &mut HeadParameters<'_>,
        (hidden, rows): (&[f32], &[u32]),
    ) {
        let Self { stream, inner, d, dx } = self;
        let (blocks, width) = (head.blocks().count(), head.width);
        stream.resize_with(blocks + 1, Vec::new);
        inner.resize_with(blocks, Vec::new);
        for buffer in stream.iter_mut().chain(&mut *inner).chain([d, dx]) {
            buffer.resize(rows.len() * width, 0.0);
        }
        gather(compute, hidden, width, rows, &mut stream[0]);
        for (index, ((weight, bias), inner)) in head.blocks().zip(inner).enumerate() {
            let (x, y) = stream.split_at_mut(index + 1);
            let bias = bias.map(|bias| &bias.values[..]);
            let block = SiluBlock(Linear { weight: &weight.values, bias, inputs: width });
            block.forward(compute, &x[index], inner, &mut y[0]);
        }
    }

    /// The output of the last forward pass, and where its gradient goes.
    pub(super) fn output(&mut self) -> (&[f32], &mut [f32]) {
        (self.stream.last().map_or(&[], |last| last), &mut self.d)
    }

    /// Adds the gradients of the blocks, from that of the output, once per forward pass. Returns that of the rows.
    pub(super) fn backward(
        &mut self,
        compute: &mut Compute,
        head: &mut HeadParameters<'_>,
    ) -> &[f32] {
        let Self { stream, inner, d, dx } = self;
        let inputs = head.width;
        for ((weight, bias), (x, inner)) in head.blocks().zip(stream.iter().zip(inner)).rev() {
            let Parameter { values, gradient, .. } = weight;
            let (bias, of_bias) = match bias {
                Some(Parameter { values, gradient, .. }) => {
                    (Some(&values[..]), Some(&mut gradient[..]))
                }
                None => (None, None),
            };
            let block = SiluBlock(Linear { weight: values, bias, inputs });
            let to = SiluBlockGradient { x: dx, weight: gradient, bias: of_bias };
            block.backward(compute, (x, inner), d, to);
            std::mem::swap(d, dx);
        }
        d
    }
}
