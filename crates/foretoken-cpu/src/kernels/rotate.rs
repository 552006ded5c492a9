//! Rotary embedding of one head, in place, halves layout (Su et al. 2021).
//!
//! `[head_size]` f32 with `[dims / 2]` cosines and sines; a few vector operations per head.

use crate::simd::{LANES, Simd};

/// Rotates the pairs `(i, i + dims / 2)`; values at and beyond `dims` stay.
#[inline(always)]
pub(crate) fn rotate<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    assert_eq!(cos.len(), sin.len(), "one sine per cosine");
    let (low, rest) = head.split_at_mut(cos.len());
    let high = &mut rest[..cos.len()];
    let pairs = low.chunks_mut(LANES).zip(high.chunks_mut(LANES));
    for ((low, high), (cos, sin)) in pairs.zip(cos.chunks(LANES).zip(sin.chunks(LANES))) {
        let (x0, x1) = (s.load_part(low), s.load_part(high));
        let (cos, sin) = (s.load_part(cos), s.load_part(sin));
        s.store_part(s.fma(x0, cos, s.neg(s.mul(x1, sin))), low);
        s.store_part(s.fma(x1, cos, s.mul(x0, sin)), high);
    }
}
