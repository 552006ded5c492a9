//! Packed matrices of the reference: values, or groups of integers with a scale.

use super::groups::{GroupInput, Groups};
use crate::arithmetic::{PairSum, dot, round_bf16};
use crate::{MatrixView, PackError, WeightFormat};

/// A weight matrix of [`Reference`](crate::Reference), `[rows, cols]`.
#[derive(Debug, Clone)]
pub struct ReferenceMatrix {
    rows: usize,
    cols: usize,
    weights: Weights,
}

/// What the product of a format multiplies.
#[derive(Debug, Clone)]
enum Weights {
    /// `f32`, `f16`: the exact values.
    Floats(Vec<f32>),
    /// `bf16`: the values, rounded.
    Pairs(Vec<f32>, PairSum),
    /// The formats of integers.
    Groups(Groups),
}

/// An input row as a format multiplies it.
pub(super) enum Input<'a> {
    /// As it is.
    Floats(&'a [f32]),
    /// Rounded.
    Pairs(Vec<f32>),
    /// Quantised.
    Groups(GroupInput),
}

impl ReferenceMatrix {
    pub(super) fn pack(view: &MatrixView<'_>, format: WeightFormat) -> Result<Self, PackError> {
        let mut converter = view.convert(format)?;
        let mut bytes = vec![0; converter.row_bytes()];
        let mut weights = match format.spec().integers {
            Some(integers) => Weights::Groups(Groups::new(integers.group)),
            None if format == WeightFormat::Bf16 => Weights::Pairs(Vec::new(), PairSum::default()),
            None => Weights::Floats(Vec::new()),
        };
        for row in 0..view.rows {
            converter.row(row, &mut bytes)?;
            match &mut weights {
                Weights::Floats(values) => push_floats(format, &bytes, values),
                Weights::Pairs(values, _) => {
                    let start = values.len();
                    push_floats(format, &bytes, values);
                    round(&mut values[start..]);
                }
                Weights::Groups(groups) => groups.push(format.spec(), &bytes),
            }
        }
        Ok(Self { rows: view.rows, cols: view.cols, weights })
    }

    /// Sums pairs in another order than the default from now on.
    pub(crate) fn set_pair_sum(&mut self, order: PairSum) {
        if let Weights::Pairs(_, sum) = &mut self.weights {
            *sum = order;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Floats(values) | Weights::Pairs(values, _) => size_of_val(values.as_slice()),
            Weights::Groups(groups) => groups.bytes(),
        }
    }

    /// Row `row` as f32: the embedding of a token.
    pub(super) fn decode_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of a matrix of {} rows", self.rows);
        assert_eq!(out.len(), self.cols, "a decoded row has one value per column");
        match &self.weights {
            Weights::Floats(values) | Weights::Pairs(values, _) => {
                out.copy_from_slice(&values[row * self.cols..][..self.cols]);
            }
            Weights::Groups(groups) => groups.decode_row(row, self.rows, out),
        }
    }

    /// Prepares an input row, `[cols]`, for [`Self::product`].
    pub(super) fn input<'a>(&self, x: &'a [f32]) -> Input<'a> {
        assert_eq!(x.len(), self.cols, "an input has one value per column");
        match &self.weights {
            Weights::Floats(_) => Input::Floats(x),
            Weights::Pairs(..) => {
                let mut x = x.to_vec();
                round(&mut x);
                Input::Pairs(x)
            }
            Weights::Groups(_) => Input::Groups(GroupInput::new(x)),
        }
    }

    /// The product of an input with the weights of one output.
    pub(super) fn product(&self, x: &Input<'_>, output: usize) -> f32 {
        let of_output = output * self.cols..(output + 1) * self.cols;
        match (&self.weights, x) {
            (Weights::Floats(w), Input::Floats(x)) => dot(x, &w[of_output]),
            (Weights::Pairs(w, sum), Input::Pairs(x)) => sum.dot(x, &w[of_output]),
            (Weights::Groups(w), Input::Groups(x)) => w.product(x, output, self.rows),
            _ => unreachable!("an input is prepared by the matrix that multiplies it"),
        }
    }
}

fn push_floats(format: WeightFormat, bytes: &[u8], values: &mut Vec<f32>) {
    let start = values.len();
    values.resize(start + bytes.len() / format.spec().block_bytes, 0.0);
    (format.spec().decode)(bytes, &mut values[start..]);
}

fn round(values: &mut [f32]) {
    for value in values {
        *value = round_bf16(*value);
    }
}
