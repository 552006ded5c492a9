//! Packed matrices of the reference: values, or groups of integers with a scale.

use crate::arithmetic::{GROUP, add_group, dot, quantize_row};
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
    /// `f32`, `f16`, `bf16`: the exact values.
    Floats(Vec<f32>),
    /// `q8_0`, `q4_0`: signed integers and a scale per [`GROUP`], rows padded with zeros to whole
    /// groups.
    Groups { quants: Vec<i8>, scales: Vec<f32> },
}

/// An input row as a format multiplies it.
pub(super) enum Input<'a> {
    /// As it is.
    Floats(&'a [f32]),
    /// Quantised.
    Groups { quants: Vec<i8>, scales: Vec<f32> },
}

impl ReferenceMatrix {
    pub(super) fn pack(view: &MatrixView<'_>, format: WeightFormat) -> Result<Self, PackError> {
        let mut converter = view.convert(format)?;
        let mut bytes = vec![0; converter.row_bytes()];
        let mut weights = match format {
            WeightFormat::Q8_0 | WeightFormat::Q4_0 => {
                Weights::Groups { quants: Vec::new(), scales: Vec::new() }
            }
            _ => Weights::Floats(Vec::new()),
        };
        for row in 0..view.rows {
            converter.row(row, &mut bytes)?;
            match &mut weights {
                Weights::Floats(values) => {
                    let start = values.len();
                    values.resize(start + view.cols, 0.0);
                    (format.spec().decode)(&bytes, &mut values[start..]);
                }
                Weights::Groups { quants, scales } => {
                    for block in bytes.chunks_exact(format.spec().block_bytes) {
                        scales.push(half::f16::from_le_bytes([block[0], block[1]]).to_f32());
                        push_quants(format, &block[2..], quants);
                    }
                }
            }
        }
        Ok(Self { rows: view.rows, cols: view.cols, weights })
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Floats(values) => size_of_val(values.as_slice()),
            Weights::Groups { quants, scales } => quants.len() + size_of_val(scales.as_slice()),
        }
    }

    /// Row `row` as f32: the embedding of a token.
    pub(super) fn decode_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of a matrix of {} rows", self.rows);
        assert_eq!(out.len(), self.cols, "a decoded row has one value per column");
        match &self.weights {
            Weights::Floats(values) => out.copy_from_slice(&values[row * self.cols..][..self.cols]),
            Weights::Groups { quants, scales } => {
                let groups = self.cols.div_ceil(GROUP);
                let scales = &scales[row * groups..];
                let quants = &quants[row * groups * GROUP..];
                for (i, out) in out.iter_mut().enumerate() {
                    *out = scales[i / GROUP] * f32::from(quants[i]);
                }
            }
        }
    }

    /// Prepares an input row, `[cols]`, for [`Self::product`].
    pub(super) fn input<'a>(&self, x: &'a [f32]) -> Input<'a> {
        assert_eq!(x.len(), self.cols, "an input has one value per column");
        match &self.weights {
            Weights::Floats(_) => Input::Floats(x),
            Weights::Groups { .. } => {
                let (mut quants, mut scales) =
                    (vec![0; x.len()], vec![0.0; x.len().div_ceil(GROUP)]);
                quantize_row(x, &mut quants, &mut scales);
                Input::Groups { quants, scales }
            }
        }
    }

    /// The product of an input with the weights of one output.
    pub(super) fn product(&self, x: &Input<'_>, output: usize) -> f32 {
        match (&self.weights, x) {
            (Weights::Floats(w), Input::Floats(x)) => dot(x, &w[output * self.cols..][..self.cols]),
            (
                Weights::Groups { quants: w, scales: dw },
                Input::Groups { quants: x, scales: dx },
            ) => {
                let groups = self.cols.div_ceil(GROUP);
                let w = w[output * groups * GROUP..].chunks_exact(GROUP);
                let dw = &dw[output * groups..];
                let mut acc = 0.0;
                for (((x, w), dx), dw) in x.chunks(GROUP).zip(w).zip(dx).zip(dw) {
                    let sum = x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
                    acc = add_group(acc, sum, *dw, *dx);
                }
                acc
            }
            _ => unreachable!("an input is prepared by the matrix that multiplies it"),
        }
    }
}

/// The integers of one block without its scale, in the order of the values.
fn push_quants(format: WeightFormat, block: &[u8], quants: &mut Vec<i8>) {
    if format == WeightFormat::Q8_0 {
        quants.extend(block.iter().map(|q| q.cast_signed()));
    } else {
        quants.extend(block.iter().map(|q| (q & 15).cast_signed() - 8));
        quants.extend(block.iter().map(|q| (q >> 4).cast_signed() - 8));
    }
}
