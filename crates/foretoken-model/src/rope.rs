//! Angles of the rotary position embedding, with every supported scaling.
//!
//! The formulas are those of transformers' `modeling_rope_utils`, computed in f64 by the portable
//! `libm`, so that a rotation is the same on every machine. A [`Rotation`] is fixed once, for the
//! context chosen at load: no rotation depends on a pass or on a running length.

use std::f64::consts::PI;

use crate::spec::{Rope, RopeScaling, YarnRamp};

/// The angles of a model's rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Radians per position, `[dims / 2]`.
    frequencies: Vec<f64>,
    /// Multiplies cosines and sines.
    magnitude: f64,
}

impl Rotation {
    /// The rotation of `rope` for sequences of up to `context` tokens.
    ///
    /// # Panics
    /// If a [`RopeScaling::PerFrequency`] has not one divisor per frequency.
    pub fn new(rope: &Rope, context: usize) -> Self {
        let plain = |theta: f64| inverse_powers(theta, rope.dims);
        let (frequencies, magnitude) = match &rope.scaling {
            RopeScaling::None => (plain(rope.theta), 1.0),
            RopeScaling::Linear { factor } => {
                (plain(rope.theta).into_iter().map(|f| f / factor).collect(), 1.0)
            }
            &RopeScaling::Dynamic { factor, original_context } => {
                let length = context.max(original_context) as f64 / original_context as f64;
                let dims = rope.dims as f64;
                let stretch = libm::pow(factor * length - (factor - 1.0), dims / (dims - 2.0));
                (plain(rope.theta * stretch), 1.0)
            }
            &RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let ramp = Llama3Ramp {
                    factor,
                    low: low_freq_factor,
                    high: high_freq_factor,
                    original: original_context as f64,
                };
                (plain(rope.theta).into_iter().map(|f| ramp.apply(f)).collect(), 1.0)
            }
            RopeScaling::Yarn { attention_factor, .. } => (yarn(rope), *attention_factor),
            RopeScaling::PerFrequency { divisors } => {
                assert!(divisors.len() == rope.dims / 2, "one divisor per frequency");
                let pairs = plain(rope.theta).into_iter().zip(divisors);
                (pairs.map(|(f, &divisor)| f / f64::from(divisor)).collect(), 1.0)
            }
        };
        Self { frequencies, magnitude }
    }

    /// Values that [`Self::fill`] writes: the rotated values per head.
    pub fn width(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Writes the cosines of `position`'s angles, then the sines, `[width / 2]` each.
    ///
    /// # Panics
    /// If `out` does not hold [`Self::width`] values.
    pub fn fill(&self, position: u32, out: &mut [f32]) {
        assert!(
            out.len() == self.width(),
            "the output holds one cosine and one sine per frequency"
        );
        let (cosines, sines) = out.split_at_mut(self.frequencies.len());
        for ((frequency, cosine), sine) in self.frequencies.iter().zip(cosines).zip(sines) {
            let (s, c) = libm::sincos(f64::from(position) * frequency);
            *cosine = (c * self.magnitude) as f32;
            *sine = (s * self.magnitude) as f32;
        }
    }
}

/// `theta ^ (-2 i / dims)` for `i` below `dims / 2`.
fn inverse_powers(theta: f64, dims: usize) -> Vec<f64> {
    (0..dims / 2).map(|i| 1.0 / libm::pow(theta, (2 * i) as f64 / dims as f64)).collect()
}

/// Llama 3.1's stretch by wavelength.
struct Llama3Ramp {
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
}

impl Llama3Ramp {
    fn apply(&self, frequency: f64) -> f64 {
        let wavelength = 2.0 * PI / frequency;
        if wavelength > self.original / self.low {
            return frequency / self.factor;
        }
        if wavelength < self.original / self.high {
            return frequency;
        }
        let smooth = (self.original / wavelength - self.low) / (self.high - self.low);
        (1.0 - smooth) * frequency / self.factor + smooth * frequency
    }
}

/// The `yarn` mixture of kept and divided frequencies, ramped between two dimensions.
fn yarn(rope: &Rope) -> Vec<f64> {
    let &RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, ramp, .. } =
        &rope.scaling
    else {
        return inverse_powers(rope.theta, rope.dims);
    };
    let dims = rope.dims as f64;
    let dimension = |rotations: f64| {
        dims * libm::log(original_context as f64 / (rotations * 2.0 * PI))
            / (2.0 * libm::log(rope.theta))
    };
    let (low, high) = (dimension(beta_fast), dimension(beta_slow));
    let (low, high) = match ramp {
        YarnRamp::Rounded => (libm::floor(low), libm::ceil(high)),
        YarnRamp::Exact => (low, high),
    };
    let low = low.max(0.0);
    let mut high = high.min(dims - 1.0);
    if low == high {
        // transformers' guard against a ramp of no width.
        high += 0.001;
    }
    let frequencies = inverse_powers(rope.theta, rope.dims).into_iter().enumerate();
    frequencies
        .map(|(i, frequency)| {
            let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            frequency / factor * divided + frequency * (1.0 - divided)
        })
        .collect()
}

#[cfg(test)]
mod tests;
