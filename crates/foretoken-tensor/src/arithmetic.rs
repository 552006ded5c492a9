//! The arithmetic of every operator, one scalar primitive at a time.
//!
//! This module *is* the specification: a backend reproduces each function here bit for bit, on
//! every instruction set, for every number of rows and threads. The rules behind it:
//!
//! - everything is `f32` with subnormals kept; [`f32::mul_add`] is a fused multiply-add, and
//!   nothing written as two operations may be fused, nor the reverse;
//! - the order of every floating-point sum is fixed, either one chain ([`dot`], [`dot_pairs`]) or sixteen lanes
//!   ([`LaneSum`]); only products with bfloat16 weights have two orders, and a backend has one of them ([`PairSum`]);
//! - sums of integers are exact, so any instruction may compute them;
//! - a vector tail uses the same formulas as the body.
//!
//! The promise covers finite numbers. Non-finite values stay non-finite, but which NaN comes out is
//! not specified.
//!
//! It knows no buffers and no operators; the scalar reference backend assembles those.

use half::bf16;

/// Lanes of a [`LaneSum`].
pub const LANES: usize = 16;

/// Values per activation group of the integer formats.
pub const GROUP: usize = 32;

/// Inputs of a block of [`dot_blocks`].
pub const PAIR_BLOCK: usize = 32;

/// Largest magnitude of a quantised activation.
pub const QUANT_MAX: f32 = 127.0;

/// A group whose largest magnitude is below this quantises to zeros with scale zero; above it
/// `127 / amax` is finite.
pub const QUANT_MIN_AMAX: f32 = 1e-30;

/// Below this [`exp`] is exactly zero; at it the result is still a normal number.
pub const EXP_MIN: f32 = -87.0;

/// Above this [`exp`] stays at its value here, which is finite.
pub const EXP_MAX: f32 = 88.0;

/// Below this a number that is rounded to bfloat16 becomes +0. Products of what remains are multiples
/// of `2^-114`, so no partial sum of them is subnormal, and instructions that flush subnormals
/// ([`add_pair`], [`add_block`]) show no difference.
pub const BF16_MIN: f32 = f32::from_bits(77 << 23);

/// `log2(e)`.
pub const LOG2E: f32 = std::f32::consts::LOG2_E;

/// The upper 15 bits of `ln 2`: its product with any exponent of [`exp`] is exact.
pub const LN2_HI: f32 = f32::from_bits(0x3f31_7200);

/// `ln 2 - LN2_HI`.
pub const LN2_LO: f32 = f32::from_bits(0x35bf_be8e);

/// Coefficients of `exp(r)` for `|r| <= ln(2) / 2`, highest power first: the relative minimax
/// polynomial of degree 6 whose two lowest coefficients are exactly one (error `2^-28`).
pub const EXP_COEFFICIENTS: [f32; 7] = [
    f32::from_bits(0x3ab5_11f9),
    f32::from_bits(0x3c09_1d05),
    f32::from_bits(0x3d2a_ac79),
    f32::from_bits(0x3e2a_aa49),
    f32::from_bits(0x3eff_fffe),
    1.0,
    1.0,
];

/// `x · w` as one chain: from +0, `acc = fma(x[k], w[k], acc)` for `k` in order.
///
/// The product of f32 and f16 weights with inputs, and of queries with f32 keys; kernels keep
/// outputs, not terms, in their lanes.
pub fn dot(x: &[f32], w: &[f32]) -> f32 {
    assert_eq!(x.len(), w.len(), "the factors of a dot product are of one length");
    x.iter().zip(w).fold(0.0, |acc, (&x, &w)| x.mul_add(w, acc))
}

/// One link of a product of bfloat16 pairs, which are exact as f32: the odd index first,
/// `fma(x[0], w[0], fma(x[1], w[1], acc))`. A pair without a partner has zeros in its place.
///
/// It is what `VDPBF16PS` computes (Intel's manual, and bit for bit on Zen 4) for operands of [`round_bf16`].
pub fn add_pair(acc: f32, x: [f32; 2], w: [f32; 2]) -> f32 {
    x[0].mul_add(w[0], x[1].mul_add(w[1], acc))
}

/// `x · w` as one chain of pairs from +0: a product of bfloat16 weights with inputs, and that of
/// bfloat16 keys with queries. Both factors are rounded by [`round_bf16`].
pub fn dot_pairs(x: &[f32], w: &[f32]) -> f32 {
    assert_eq!(x.len(), w.len(), "the factors of a dot product are of one length");
    let pair = |values: &[f32]| [values[0], values.get(1).copied().unwrap_or(0.0)];
    x.chunks(2).zip(w.chunks(2)).fold(0.0, |acc, (x, w)| add_pair(acc, pair(x), pair(w)))
}

/// One block of a product of bfloat16 pairs, at most [`PAIR_BLOCK`] inputs: the products of even and of odd
/// index in a chain from +0 each, the sum of both chains, then that added to `acc`.
///
/// It is what `TDPBF16PS` computes for operands of [`round_bf16`] by the operation that Intel's manual (volume 2)
/// gives; Intel's intrinsics guide writes one chain from `acc` instead.
pub fn add_block(acc: f32, x: &[f32], w: &[f32]) -> f32 {
    assert_eq!(x.len(), w.len(), "the factors of a block are of one length");
    assert!(x.len() <= PAIR_BLOCK, "a block has at most 32 inputs");
    let mut chains = [0.0; 2];
    for (i, (&x, &w)) in x.iter().zip(w).enumerate() {
        chains[i % 2] = x.mul_add(w, chains[i % 2]);
    }
    acc + (chains[0] + chains[1])
}

/// `x · w` by blocks in order from +0: the other product of bfloat16 weights with inputs. Both factors are
/// rounded by [`round_bf16`].
pub fn dot_blocks(x: &[f32], w: &[f32]) -> f32 {
    assert_eq!(x.len(), w.len(), "the factors of a dot product are of one length");
    let blocks = x.chunks(PAIR_BLOCK).zip(w.chunks(PAIR_BLOCK));
    blocks.fold(0.0, |acc, (x, w)| add_block(acc, x, w))
}

/// The order in which a backend sums the products of bfloat16 weights with inputs, for every number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PairSum {
    /// [`dot_pairs`].
    #[default]
    Chain,
    /// [`dot_blocks`], where matrix units sum that way.
    Blocks,
}

impl PairSum {
    /// `x · w` in this order.
    pub fn dot(self, x: &[f32], w: &[f32]) -> f32 {
        match self {
            Self::Chain => dot_pairs(x, w),
            Self::Blocks => dot_blocks(x, w),
        }
    }
}

/// One term of a product of an integer format: `fma(sum, weight_scale * activation_scale, acc)`,
/// where `sum` is the exact sum of the products of integers of one group, those that share a scale.
pub fn add_group(acc: f32, sum: i32, weight_scale: f32, activation_scale: f32) -> f32 {
    (sum as f32).mul_add(weight_scale * activation_scale, acc)
}

/// What the minimum of a group takes off: `fma(activation_sum, -minimum, acc)`, after the group's
/// [`add_group`], where `activation_sum` is the group's [`activation_sum`].
pub fn add_minimum(acc: f32, minimum: f32, activation_sum: f32) -> f32 {
    activation_sum.mul_add(-minimum, acc)
}

/// The sum of a group's activations, `scale * sum` of their bytes, rounded once.
pub fn activation_sum(scale: f32, q: &[i8]) -> f32 {
    scale * q.iter().map(|q| i32::from(*q)).sum::<i32>() as f32
}

/// Quantises one group of at most [`GROUP`] activations to signed bytes and returns their scale.
///
/// `amax = max |x|`. Below [`QUANT_MIN_AMAX`] everything is zero. Otherwise the scale is
/// `amax / 127` and `q = round_ties_even(x * (127 / amax))`, whose magnitude never exceeds 127. A group
/// that holds an infinity or a NaN gets zeros and the scale NaN, so that the damage shows in the
/// result. (The bits of `|x|`, compared as integers, order finite values, then infinity, then NaN.)
pub fn quantize_group(x: &[f32], q: &mut [i8]) -> f32 {
    assert_eq!(x.len(), q.len(), "a group has one byte per activation");
    let amax = f32::from_bits(x.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0));
    if !amax.is_finite() || amax < QUANT_MIN_AMAX {
        q.fill(0);
        return if amax.is_finite() { 0.0 } else { f32::NAN };
    }
    let inverse = QUANT_MAX / amax;
    for (q, x) in q.iter_mut().zip(x) {
        *q = (x * inverse).round_ties_even() as i8;
    }
    amax / QUANT_MAX
}

/// Quantises a row of activations in groups of [`GROUP`]; the last group may be shorter.
///
/// `q` has the row's length, `scales` one value per group.
pub fn quantize_row(x: &[f32], q: &mut [i8], scales: &mut [f32]) {
    assert_eq!(x.len(), q.len(), "a row has one byte per activation");
    assert_eq!(scales.len(), x.len().div_ceil(GROUP), "a row has one scale per group");
    for ((x, q), scale) in x.chunks(GROUP).zip(q.chunks_mut(GROUP)).zip(scales) {
        *scale = quantize_group(x, q);
    }
}

/// A sum over sixteen lanes: element `i` goes to lane `i % 16`, then the lanes are halved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneSum([f32; LANES]);

impl LaneSum {
    /// All lanes at +0.
    pub const ZERO: Self = Self([0.0; LANES]);

    /// `lane += value` for element `index`.
    pub fn add(&mut self, index: usize, value: f32) {
        self.0[index % LANES] += value;
    }

    /// `lane = fma(value, value, lane)` for element `index`.
    pub fn add_square(&mut self, index: usize, value: f32) {
        let lane = &mut self.0[index % LANES];
        *lane = value.mul_add(value, *lane);
    }

    /// Adds the upper half of the lanes to the lower until one is left.
    pub fn total(mut self) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                self.0[i] += self.0[i + half];
            }
        }
        self.0[0]
    }
}

/// The factor of a root-mean-square norm: `1 / sqrt(sum(x²) / len + eps)`, the sum by lanes with
/// fused multiply-add. A normed value is `(x * factor) * weight`.
pub fn rms_factor(x: &[f32], eps: f32) -> f32 {
    let mut sum = LaneSum::ZERO;
    for (i, &x) in x.iter().enumerate() {
        sum.add_square(i, x);
    }
    1.0 / (sum.total() / x.len() as f32 + eps).sqrt()
}

/// `e^x`, shared by attention and [`swiglu`]; within 1 ulp of the true value (tested).
///
/// Exactly +0 below [`EXP_MIN`], exactly 1 at zero, never above its value at [`EXP_MAX`], NaN of a
/// NaN. With `n = round_ties_even(x * LOG2E)` and `r = x - n ln 2` (two fused steps, the first
/// exact), it is the polynomial in `r` by fused Horner steps, times `2^n` put together from bits.
#[inline]
pub fn exp(x: f32) -> f32 {
    if x < EXP_MIN {
        return 0.0;
    }
    let x = if x > EXP_MAX { EXP_MAX } else { x };
    let n = (x * LOG2E).round_ties_even();
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, x));
    let [first, rest @ ..] = EXP_COEFFICIENTS;
    let p = rest.iter().fold(first, |p, &c| p.mul_add(r, c));
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// `x / (1 + exp(-x))`, the sigmoid linear unit.
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `silu(gate) * up`.
pub fn swiglu(gate: f32, up: f32) -> f32 {
    silu(gate) * up
}

/// Rotates the pair `(x0, x1)` by the angle of the given cosine and sine:
/// `(fma(x0, cos, -(x1 * sin)), fma(x1, cos, x0 * sin))`.
pub fn rotate_pair(x0: f32, x1: f32, cos: f32, sin: f32) -> (f32, f32) {
    (x0.mul_add(cos, -(x1 * sin)), x1.mul_add(cos, x0 * sin))
}

/// Rounds to bfloat16, to nearest even; results below [`BF16_MIN`] become +0. A NaN stays one.
///
/// What multiplies or is multiplied by a bfloat16 is such a number: weights, their inputs, and with
/// bfloat16 keys and values these, the scaled queries, and the exponentials of scores.
#[inline]
pub fn to_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let nearest = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    let kept = if nearest & 0x7fff < (BF16_MIN.to_bits() >> 16) as u16 { 0 } else { nearest };
    bf16::from_bits(if x.is_nan() { 0x7fc0 } else { kept })
}

/// [`to_bf16`] and back.
#[inline]
pub fn round_bf16(x: f32) -> f32 {
    f32::from_bits(u32::from(to_bf16(x).to_bits()) << 16)
}

/// The softmax-weighted sum of values over one chunk of keys or several merged ones: with scores
/// `s_j`, `max = max s_j`, `sum = Σ exp(s_j - max)` and, kept beside it by the caller, the vector
/// `out = Σ exp(s_j - max) v_j` (Milakov and Gimelshein 2018).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softmax {
    /// Largest score.
    pub max: f32,
    /// Sum of the exponentials.
    pub sum: f32,
}

impl Softmax {
    /// Merges a later chunk into this one and returns the new state with the factors `(a, b)` by
    /// which the vectors merge: `out = fma(later_out, b, out * a)`, like the sums.
    ///
    /// `a = exp(self.max - max)`, `b = exp(later.max - max)` with `max` the larger of both.
    pub fn merge(self, later: Self) -> (Self, f32, f32) {
        let max = if later.max > self.max { later.max } else { self.max };
        let (a, b) = (exp(self.max - max), exp(later.max - max));
        (Self { max, sum: later.sum.mul_add(b, self.sum * a) }, a, b)
    }
}

#[cfg(test)]
mod tests;
