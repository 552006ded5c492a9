//! Named parameters with their gradients.

use std::borrow::Cow;

use crate::compute::Compute;
use crate::vector;
use crate::weights::{StoredAs, Tensor};

/// Values of one item of work; partial sums are cut here.
const VALUES: usize = 1 << 15;

/// A tensor that is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name in a checkpoint, such as `model.norm.weight`.
    pub name: String,
    /// Sizes, outermost first. Matrices decay, vectors (gains and biases) do not.
    pub shape: Vec<usize>,
    /// Values in rows.
    pub values: Vec<f32>,
    /// The loss's derivative by each value; backward passes add to it.
    pub gradient: Vec<f32>,
    /// Multiplies the learning rate; 0 leaves the values as they are.
    pub rate: f32,
}

impl Parameter {
    /// A parameter at these values, with the learning rate of the schedule.
    ///
    /// # Panics
    /// If the shape has another number of values.
    pub fn new(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Self {
        assert!(shape.iter().product::<usize>() == values.len(), "the shape is that of the values");
        let gradient = vec![0.0; values.len()];
        Self { name: name.into(), shape: shape.to_vec(), values, gradient, rate: 1.0 }
    }

    /// The values, to be written.
    pub(crate) fn tensor(&self, stored: StoredAs) -> Tensor<'_> {
        Tensor { shape: Cow::Borrowed(&self.shape), values: &self.values, stored }
    }
}

/// The parameters of a model, in an order of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    tensors: Vec<Parameter>,
}

impl Parameters {
    /// Adds a parameter behind the others; returns its index.
    pub fn push(&mut self, parameter: Parameter) -> usize {
        self.tensors.push(parameter);
        self.tensors.len() - 1
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Parameter] {
        &self.tensors
    }

    /// All of them, to change values, gradients and rates.
    pub fn as_mut_slice(&mut self) -> &mut [Parameter] {
        &mut self.tensors
    }

    /// The parameter of that name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.tensors.iter().find(|parameter| parameter.name == name)
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.tensors.iter().map(|parameter| parameter.values.len()).sum()
    }

    /// The sum of the squares of all gradients; the root is the norm that clipping compares.
    ///
    /// With several sets of parameters, add their sums.
    pub fn gradient_square_sum(&self, compute: &Compute) -> f64 {
        let chunks = self.tensors.iter().flat_map(|parameter| parameter.gradient.chunks(VALUES));
        let mut sums: Vec<_> = chunks.map(|chunk| (chunk, 0.0)).collect();
        compute.backend().each(&mut sums, |(chunk, sum)| *sum = vector::square_sum(chunk));
        sums.iter().map(|(_, sum)| sum).sum()
    }
}

/// What to multiply gradients by so that their norm, the root of `square_sum`, is at most `limit`.
pub fn clip(square_sum: f64, limit: f32) -> f32 {
    let norm = square_sum.sqrt();
    if norm > f64::from(limit) { (f64::from(limit) / norm) as f32 } else { 1.0 }
}
