//! The small kernels of attention: exponentials of one chunk's scores, and merging two chunks.
//!
//! `[CHUNK]` scores are four vectors; the cost is about 60 operations per (row, head, chunk) beside
//! the links of the products.

use std::ops::Range;

use foretoken_tensor::CHUNK;
use foretoken_tensor::arithmetic::Softmax;

use super::exp::exp;
use crate::simd::{LANES, Simd};

/// (scores, positions seen, weights): the kernels below that make weights, as inputs `X` of the tile.
pub(crate) type ToWeights<X> = fn(&mut [f32; CHUNK], Range<usize>, &mut [X]) -> Softmax;

/// Writes `exp(score - max)` of the `seen` positions and zeros elsewhere, and returns the largest score
/// with the sum of the exponentials. The scores are used up.
#[inline(always)]
pub(crate) fn softmax<S: Simd>(
    s: S,
    scores: &mut [f32; CHUNK],
    seen: Range<usize>,
    weights: &mut [f32],
) -> Softmax {
    let (max, exponentials) = exponentials(s, scores, seen);
    let mut sum = s.splat(0.0);
    for (p, weights) in exponentials.iter().zip(weights.as_chunks_mut().0) {
        sum = s.add(sum, *p);
        s.store(*p, weights);
    }
    Softmax { max, sum: s.sum(sum) }
}

/// As [`softmax`], with the exponentials rounded to pairs of bfloat16, which the sum adds.
#[inline(always)]
pub(crate) fn softmax_pairs<S: Simd>(
    s: S,
    scores: &mut [f32; CHUNK],
    seen: Range<usize>,
    weights: &mut [u32],
) -> Softmax {
    let (max, exponentials) = exponentials(s, scores, seen);
    let mut sum = s.splat(0.0);
    for ([low, high], weights) in exponentials.as_chunks().0.iter().zip(weights.as_chunks_mut().0) {
        let (low, high) = (s.round_bf16(*low), s.round_bf16(*high));
        sum = s.add(s.add(sum, low), high);
        s.store_pairs(low, high, weights);
    }
    Softmax { max, sum: s.sum(sum) }
}

/// The largest score and the exponentials.
#[inline(always)]
fn exponentials<S: Simd>(
    s: S,
    scores: &mut [f32; CHUNK],
    seen: Range<usize>,
) -> (f32, [S::F; CHUNK / LANES]) {
    // Below every score, so it changes no maximum, and its exponential is exactly zero, which leaves
    // a lane of the sum alone.
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    let mut vectors = [s.splat(f32::NEG_INFINITY); CHUNK / LANES];
    let mut max = vectors[0];
    for (v, scores) in vectors.iter_mut().zip(scores.as_chunks().0) {
        *v = s.load(scores);
        max = s.max(*v, max);
    }
    let max = s.largest(max);
    for v in &mut vectors {
        *v = exp(s, s.add(*v, s.splat(-max)));
    }
    (max, vectors)
}

/// `Softmax::merge` of several states; writes the factors `(a, b)` of each.
#[inline(always)]
pub(crate) fn merge_states<S: Simd>(
    s: S,
    totals: &mut [Softmax],
    later: &[Softmax],
    factors: &mut [[f32; 2]],
) {
    assert!(totals.len() == later.len() && totals.len() == factors.len(), "one of each");
    let of = totals.chunks_mut(LANES).zip(later.chunks(LANES)).zip(factors.chunks_mut(LANES));
    for ((totals, later), factors) in of {
        let mut lanes = [[0.0; LANES]; 4];
        for (i, (total, later)) in totals.iter().zip(later).enumerate() {
            [lanes[0][i], lanes[1][i], lanes[2][i], lanes[3][i]] =
                [total.max, total.sum, later.max, later.sum];
        }
        let (x, y) = (s.load(&lanes[0]), s.load(&lanes[2]));
        let max = s.max(y, x);
        let a = exp(s, s.add(x, s.neg(max)));
        let b = exp(s, s.add(y, s.neg(max)));
        let sum = s.fma(s.load(&lanes[3]), b, s.mul(s.load(&lanes[1]), a));
        let [maxes, sums, ours, theirs] = &mut lanes;
        for (value, to) in [(max, maxes), (sum, sums), (a, ours), (b, theirs)] {
            s.store(value, to);
        }
        for (i, (total, factors)) in totals.iter_mut().zip(factors).enumerate() {
            *total = Softmax { max: lanes[0][i], sum: lanes[1][i] };
            *factors = [lanes[2][i], lanes[3][i]];
        }
    }
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
