//! Values to begin with, as a function of the seed.

use foretoken_core::{Domain, Noise};
use foretoken_model::Tensor;
use std::f64::consts::TAU;

use super::{Llama, LlamaShape};
use crate::compute::Compute;
use crate::error::TrainError;
use crate::parameters::{Parameter, Parameters};

/// Standard deviation of matrices.
const DEVIATION: f64 = 0.02;
/// Values of one item of work; even.
const VALUES: usize = 1 << 15;

impl Llama {
    /// A model of random weights: matrices normal with deviation 0.02, those that write to the residual stream
    /// with 0.02 / sqrt(2 layers) as in GPT-2, gains one.
    ///
    /// # Errors
    /// If the shape is no model.
    pub fn new(compute: &Compute, shape: LlamaShape, seed: u64) -> Result<Self, TrainError> {
        shape.check()?;
        let spec = shape.spec();
        let mut parameters = Parameters::default();
        for (index, tensor) in (0..).zip(shape.tensors()) {
            let sizes = tensor.shape(&spec);
            let mut values = vec![1.0; sizes.iter().product()];
            if sizes.len() > 1 {
                let deviation = match tensor {
                    Tensor::Output(_) | Tensor::Down(_) => {
                        DEVIATION / (2.0 * shape.layers as f64).sqrt()
                    }
                    _ => DEVIATION,
                };
                normal(compute, Noise { seed, choice: index }, deviation, &mut values);
            }
            parameters.push(Parameter::new(tensor.hf_name(), &sizes, values));
        }
        Ok(Self::with_parameters(shape, parameters))
    }
}

/// Fills with normal numbers, two from each pair of uniform ones (Box and Muller 1958).
pub(crate) fn normal(compute: &Compute, noise: Noise, deviation: f64, values: &mut [f32]) {
    let chunks = (0..).zip(values.chunks_mut(VALUES));
    compute.each(chunks, |(chunk, values)| {
        for (pair, values) in (0..).step_by(2).zip(values.chunks_mut(2)) {
            let uniform = |token| noise.uniform(Domain::Draw, *chunk, token);
            let radius = deviation * (-2.0 * libm::log(uniform(pair))).sqrt();
            let (sine, cosine) = libm::sincos(TAU * uniform(pair + 1));
            for (value, part) in values.iter_mut().zip([cosine, sine]) {
                *value = (radius * part) as f32;
            }
        }
    });
}
