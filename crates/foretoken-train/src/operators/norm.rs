//! RMSNorm: `y = x / sqrt(mean(x²) + eps) gain`.

use crate::compute::{Compute, ROWS};
use crate::vector::{self, NormRow};

/// A norm, over a gain that others own.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm<'a> {
    /// `[width]`.
    pub gain: &'a [f32],
    /// Added to the mean square.
    pub eps: f32,
}

/// Where the gradients of a norm go; both are added to.
#[derive(Debug)]
pub struct NormGradient<'a> {
    /// `[rows][width]`.
    pub x: &'a mut [f32],
    /// `[width]`.
    pub gain: &'a mut [f32],
}

impl RmsNorm<'_> {
    /// Writes the normed rows.
    pub fn forward(&self, compute: &mut Compute, x: &[f32], y: &mut [f32]) {
        let width = self.gain.len();
        let chunks = x.chunks(ROWS * width).zip(y.chunks_mut(ROWS * width));
        compute.each(chunks, |(x, y)| {
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                vector::scale_by(x, self.factor(x), self.gain, y);
            }
        });
    }

    /// From `dy`, the gradient of the output.
    pub fn backward(&self, compute: &mut Compute, x: &[f32], dy: &[f32], to: NormGradient<'_>) {
        let NormGradient { x: d, gain: total } = to;
        let width = self.gain.len();
        let chunk = ROWS * width;
        let mut gains = vec![0.0; x.len().div_ceil(chunk) * width];
        let of_rows = x.chunks(chunk).zip(dy.chunks(chunk)).zip(d.chunks_mut(chunk));
        compute.each(of_rows.zip(gains.chunks_mut(width)), |(((x, dy), d), dgain)| {
            let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
            for ((x, dy), d) in rows.zip(d.chunks_exact_mut(width)) {
                let factor = self.factor(x);
                let mean = vector::dot3(x, dy, self.gain) / width as f32;
                let (gain, slope) = (self.gain, mean * factor * factor);
                vector::norm_gradient(NormRow { x, dy, gain, factor, slope, d, dgain });
            }
        });
        gains.chunks_exact(width).for_each(|part| vector::add(total, part));
    }

    fn factor(&self, x: &[f32]) -> f32 {
        1.0 / (vector::dot(x, x) / x.len() as f32 + self.eps).sqrt()
    }
}
