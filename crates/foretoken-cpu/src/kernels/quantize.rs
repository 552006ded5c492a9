//! Activations to signed bytes in groups of 32, once per [`Op::Linear`](foretoken_tensor::Op).
//!
//! `[groups * 32]` f32 in; bytes and one [`Group`] per group out. It reads 4 bytes and writes 1.5
//! per value and runs from the first-level cache; at one row it is a thousandth of the product.

use foretoken_tensor::arithmetic::{GROUP, QUANT_MAX, QUANT_MIN_AMAX};

use super::dot::Group;
use crate::simd::Simd;

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
    let (whole, rest) = x.as_chunks();
    let (quants, _) = quants.as_chunks_mut();
    let (quants, last_quants) = quants.split_at_mut(whole.len());
    let (groups, last_groups) = groups.split_at_mut(whole.len());
    for ((x, quants), to) in whole.iter().zip(quants).zip(groups) {
        *to = group(s, x, quants);
    }
    let mut last = [0.0; GROUP];
    last[..rest.len()].copy_from_slice(rest);
    for (quants, to) in last_quants.iter_mut().zip(last_groups) {
        *to = group(s, &last, quants);
        last.fill(0.0);
    }
}

/// As `arithmetic::quantize_group`.
#[inline(always)]
fn group<S: Simd>(s: S, x: &[f32; GROUP], quants: &mut [i8; GROUP]) -> Group {
    // As integers, magnitudes order finite values, then infinity, then NaN.
    let mut largest = 0;
    for x in x {
        largest = largest.max(x.abs().to_bits());
    }
    let amax = f32::from_bits(largest);
    if !amax.is_finite() || amax < QUANT_MIN_AMAX {
        quants.fill(0);
        let scale = if amax.is_finite() { 0.0 } else { f32::NAN };
        return Group { scale, scaled_sum: scale * 0.0, sum: 0, high_sum: 0 };
    }
    let inverse = s.splat(QUANT_MAX / amax);
    let (halves, _) = x.as_chunks();
    let (bytes, _) = quants.as_chunks_mut();
    for (half, bytes) in halves.iter().zip(bytes) {
        *bytes = s.to_bytes(s.round(s.mul(s.load(half), inverse)));
    }
    let total = |quants: &[i8]| quants.iter().map(|q| i32::from(*q)).sum::<i32>();
    let (low, high) = quants.split_at(GROUP / 2);
    let high_sum = total(high);
    let sum = total(low) + high_sum;
    let scale = amax / QUANT_MAX;
    Group { scale, scaled_sum: scale * sum as f32, sum, high_sum }
}
