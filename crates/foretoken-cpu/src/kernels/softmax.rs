//! The two small kernels of attention: exponentials of one chunk's scores, and merging two chunks.
//!
//! `[CHUNK]` scores are four vectors; the cost is about 60 operations per (row, head, chunk) beside
//! `2 * 64 * head_size / 16` fma of the products.

use std::ops::Range;

use foretoken_tensor::CHUNK;
use foretoken_tensor::arithmetic::Softmax;

use super::exp::exp;
use crate::simd::{LANES, Simd};

/// Replaces the scores at `seen` positions by `exp(score - max)`, the others by zero, and returns the
/// largest score with the sum of the exponentials.
#[inline(always)]
pub(crate) fn softmax<S: Simd>(s: S, scores: &mut [f32; CHUNK], seen: Range<usize>) -> Softmax {
    // Below every score, so it changes no maximum, and its exponential is exactly zero, which leaves
    // a lane of the sum alone.
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    let (vectors, _) = scores.as_chunks_mut::<LANES>();
    let mut max = s.splat(f32::NEG_INFINITY);
    for v in vectors.iter() {
        max = s.max(s.load(v), max);
    }
    let max = s.largest(max);
    let mut sum = s.splat(0.0);
    for v in vectors {
        let p = exp(s, s.add(s.load(v), s.splat(-max)));
        sum = s.add(sum, p);
        s.store(p, v);
    }
    Softmax { max, sum: s.sum(sum) }
}

/// `total = fma(later, b, total * a)`.
#[inline(always)]
pub(crate) fn merge<S: Simd>(s: S, total: &mut [f32], later: &[f32], a: f32, b: f32) {
    assert_eq!(total.len(), later.len(), "both have one value per head dimension");
    let (totals, rest) = total.as_chunks_mut::<LANES>();
    assert!(rest.is_empty(), "padded to whole vectors");
    for (total, later) in totals.iter_mut().zip(later.as_chunks::<LANES>().0) {
        let y = s.fma(s.load(later), s.splat(b), s.mul(s.load(total), s.splat(a)));
        s.store(y, total);
    }
}
