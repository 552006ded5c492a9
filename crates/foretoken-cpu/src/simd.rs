//! Sixteen lanes of any machine: the vocabulary in which kernels are written once.
//!
//! The width is part of the arithmetic (sums over a row run in sixteen lanes), so every level offers
//! exactly sixteen, as an array or as registers of 128, 256 or 512 bits. Each method is one IEEE
//! operation per lane, hence equal bits at every level. The trait is implemented by proof tokens:
//! holding one makes its methods sound, and kernels that only use slices need no `unsafe`.
//!
//! Every method, and every kernel generic over [`Simd`], is `#[inline(always)]` and avoids closures:
//! the code must end up inside a function that carries the level's `#[target_feature]`, see
//! [`table`](crate::table).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use half::{bf16, f16};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Products of bytes, in which levels of the same registers may differ. What is given serves levels whose
/// [`Products::dot`] takes any unsigned byte and sums in 32 bits.
pub(crate) trait Products: Copy {
    /// Sixteen i32.
    type I: Copy;
    /// Sixteen times four unsigned bytes.
    type B: Copy;
    /// Sixteen sums of products of bytes on their way to [`Products::I`].
    type P: Copy;

    /// Sums that begin with a value.
    fn start(self, value: i32) -> Self::P;
    /// Adds to each lane the exact sum of its four products `weight * x` with weights below 64, as long as
    /// [`Products::carry`] comes before sums of adjacent products leave 16 bits.
    fn dot(self, sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P;
    /// Sums for [`Products::dot_bytes`], given the sum of all `x` to come.
    #[inline(always)]
    fn start_bytes(self, x_sum: i32) -> Self::P {
        self.start(-128 * x_sum)
    }
    /// Adds the products `(weight - 128) * x`, `x >= -127`, in the end exactly.
    #[inline(always)]
    fn dot_bytes(self, sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P {
        self.dot(sum, weights, x)
    }
    /// Makes room in narrow sums.
    #[inline(always)]
    fn carry(self, sum: Self::P) -> Self::P {
        sum
    }
    /// The sums.
    fn finish(self, sum: Self::P) -> Self::I;
}

/// Operations on sixteen lanes.
pub(crate) trait Simd: Products {
    /// Sixteen f32.
    type F: Copy;

    /// Float accumulators (rows x panels) that fit the registers beside the operands of a tile.
    const FLOAT_TILE: usize;
    /// Rows of integer tiles, whose sums fit the registers beside their operands; up to 6.
    const DOT_ROWS: usize;
    /// Panels of those tiles, 1 or 4; those of one row have 4.
    const DOT_PANELS: usize;

    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::F;
    /// Reads lanes in order.
    fn load(self, from: &[f32; LANES]) -> Self::F;
    /// Reads a pair of bfloat16 per lane, the even one in the lower half.
    fn load_pairs(self, from: &[[bf16; 2]; LANES]) -> Self::I;
    /// The lower halves of the lanes, bfloat16, exactly.
    fn even(self, pairs: Self::I) -> Self::F;
    /// The upper halves.
    fn odd(self, pairs: Self::I) -> Self::F;
    /// Reads half-precision lanes, exactly.
    fn load_f16(self, from: &[f16; LANES]) -> Self::F;
    /// Writes lanes in order.
    fn store(self, value: Self::F, to: &mut [f32; LANES]);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` where either is no number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where either is no number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `-a`.
    fn neg(self, a: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` for integers `n` within -126..=127; any value elsewhere.
    fn pow2(self, n: Self::F) -> Self::F;
    /// +0 where `x < limit`, else `value`.
    fn zero_below(self, x: Self::F, limit: f32, value: Self::F) -> Self::F;
    /// Lanes as signed bytes; they hold integers within -127..=127 (any byte for other values).
    fn to_bytes(self, a: Self::F) -> [i8; LANES];

    /// As `arithmetic::round_bf16`.
    fn round_bf16(self, a: Self::F) -> Self::F;
    /// Writes thirty-two values that [`Simd::round_bf16`] has rounded as pairs of neighbours.
    fn store_pairs(self, low: Self::F, high: Self::F, to: &mut [u32; LANES]);

    /// The same integer in every lane.
    fn splat_i32(self, value: i32) -> Self::I;
    /// Exact for magnitudes below 2^24.
    fn to_float(self, a: Self::I) -> Self::F;
    /// Reads sixteen unsigned bytes.
    fn load_u8(self, from: &[u8; LANES]) -> Self::F;
    /// Reads sixteen signed bytes.
    fn load_i8(self, from: &[i8; LANES]) -> Self::F;
    /// Reads bytes, lane after lane.
    fn load_bytes(self, from: &[u8; 4 * LANES]) -> Self::B;
    /// The lower four bits of each byte.
    fn low_nibbles(self, bytes: Self::B) -> Self::B;
    /// The upper four.
    fn high_nibbles(self, bytes: Self::B) -> Self::B;
    /// `low | (high << left) & mask` per byte, or shifted right by `-left`; the mask excludes bits that come
    /// from a neighbour in 16 bits.
    fn or_bits(self, low: Self::B, high: Self::B, left: i32, mask: i8) -> Self::B;

    /// Starts to load a line into the second-level cache, whose queue of misses is longer than the first's;
    /// `at` may point anywhere.
    fn prefetch(self, at: *const u8);
    /// As [`Simd::prefetch`], into the first-level cache.
    fn prefetch_near(self, at: *const u8);

    /// Sum of the lanes, halving.
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(a, &mut lanes);
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(a, &mut lanes);
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                let (a, b) = (lanes[lane], lanes[lane + width]);
                lanes[lane] = if a > b { a } else { b };
            }
            width /= 2;
        }
        lanes[0]
    }

    /// Exchanges rows and columns.
    #[inline(always)]
    fn transpose(self, block: &mut [[u32; LANES]; LANES]) {
        let from = *block;
        for (row, to) in block.iter_mut().enumerate() {
            for (to, from) in to.iter_mut().zip(&from) {
                *to = from[row];
            }
        }
    }

    /// Reads up to sixteen values; missing lanes are +0.
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::F {
        let mut lanes = [0.0; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Writes the first `to.len()` lanes, at most sixteen.
    #[inline(always)]
    fn store_part(self, value: Self::F, to: &mut [f32]) {
        let mut lanes = [0.0; LANES];
        self.store(value, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }
}
