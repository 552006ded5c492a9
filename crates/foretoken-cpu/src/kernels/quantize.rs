//! Activations to signed bytes in groups of 32, once per [`Op::Linear`](foretoken_tensor::Op).
//!
//! `[groups * 32]` f32 in; bytes and one [`Group`] per group out. It reads 4 bytes and writes 1.5
//! per value and runs from the first-level cache; at one row it is a thousandth of the product.

use foretoken_tensor::arithmetic::{GROUP, QUANT_MAX, QUANT_MIN_AMAX};

use super::dot::Group;
use crate::simd::{LANES, Simd};

/// One stretch of a row of activations.
pub(crate) struct Quantize<'a> {
    /// Values; groups without are padded with zeros.
    pub(crate) x: &'a [f32],
    /// `[groups * 32]`.
    pub(crate) quants: &'a mut [i8],
    /// `[groups]`.
    pub(crate) groups: &'a mut [Group],
}

/// Quantises every group.
#[inline(always)]
pub(crate) fn quantize<S: Simd>(s: S, a: Quantize<'_>) {
    let Quantize { x, quants, groups } = a;
    assert!(
        x.len() <= quants.len() && quants.len() == groups.len() * GROUP,
        "a group has 32 bytes"
    );
    for (g, to) in groups.iter_mut().enumerate() {
        let mut values = [0.0; GROUP];
        let part = &x[x.len().min(g * GROUP)..x.len().min((g + 1) * GROUP)];
        values[..part.len()].copy_from_slice(part);
        let quants = &mut quants[g * GROUP..(g + 1) * GROUP];
        let scale = group(s, &values, quants);
        let (low, high) = quants.split_at(GROUP / 2);
        let total = |quants: &[i8]| quants.iter().map(|q| i32::from(*q)).sum::<i32>();
        let high_sum = total(high);
        let sum = total(low) + high_sum;
        *to = Group { scale, scaled_sum: scale * sum as f32, sum, high_sum };
    }
}

/// As `arithmetic::quantize_group`.
#[inline(always)]
fn group<S: Simd>(s: S, x: &[f32; GROUP], quants: &mut [i8]) -> f32 {
    // As integers, magnitudes order finite values, then infinity, then NaN.
    let mut largest = 0;
    for x in x {
        largest = largest.max(x.abs().to_bits());
    }
    let amax = f32::from_bits(largest);
    if !amax.is_finite() || amax < QUANT_MIN_AMAX {
        quants.fill(0);
        return if amax.is_finite() { 0.0 } else { f32::NAN };
    }
    let inverse = s.splat(QUANT_MAX / amax);
    let (halves, _) = x.as_chunks::<LANES>();
    for (half, quants) in halves.iter().zip(quants.chunks_exact_mut(LANES)) {
        let rounded = s.round(s.mul(s.load(half), inverse));
        quants.copy_from_slice(&s.to_bytes(rounded));
    }
    amax / QUANT_MAX
}
