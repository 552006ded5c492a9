//! Activations to signed bytes in groups of 32, once per [`Op::Linear`](foretoken_tensor::Op).
//!
//! `[groups * 32]` f32 in; bytes, one scale and one sum per group out. It reads 4 bytes and writes 1.25
//! per value and runs from the first-level cache; at one row it is a thousandth of the product.

use foretoken_tensor::arithmetic::{GROUP, QUANT_MAX, QUANT_MIN_AMAX};

use crate::simd::{LANES, Simd};

/// One stretch of a row of activations.
pub(crate) struct Quantize<'a> {
    /// Values; a last group of fewer than 32 is padded with zeros.
    pub(crate) x: &'a [f32],
    /// `[groups * 32]`.
    pub(crate) quants: &'a mut [i8],
    /// `[groups]`.
    pub(crate) scales: &'a mut [f32],
    /// `[groups]`: the sum of the bytes.
    pub(crate) sums: &'a mut [i32],
}

/// Quantises every group.
#[inline(always)]
pub(crate) fn quantize<S: Simd>(s: S, a: Quantize<'_>) {
    let Quantize { x, quants, scales, sums } = a;
    let groups = x.len().div_ceil(GROUP);
    assert!(groups * GROUP <= quants.len(), "quants hold every group");
    assert!(groups <= scales.len() && groups <= sums.len(), "one scale and sum per group");
    for g in 0..groups {
        let mut values = [0.0; GROUP];
        let part = &x[g * GROUP..x.len().min((g + 1) * GROUP)];
        values[..part.len()].copy_from_slice(part);
        let quants = &mut quants[g * GROUP..(g + 1) * GROUP];
        scales[g] = group(s, &values, quants);
        sums[g] = 0;
        for quant in quants {
            sums[g] += i32::from(*quant);
        }
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
