//! Sixteen lanes in four 128-bit registers, for NEON with and without products of bytes.
//!
//! Never timed: it has run under an emulator only.

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int16x8_t, int32x4_t, uint8x16_t, vadd_f32, vaddq_f32, vaddq_s32,
    vandq_s32, vandq_u8, vbslq_f32, vcageq_f32, vceqq_f32, vcgtq_f32, vcltq_f32, vcombine_s8,
    vcombine_s16, vcvt_f32_f16, vcvtnq_s32_f32, vcvtq_f32_s32, vcvtq_f32_u32, vdivq_f32,
    vdupq_n_f32, vdupq_n_s8, vdupq_n_s16, vdupq_n_s32, vdupq_n_u8, veorq_u8, vfmaq_f32,
    vget_high_f32, vget_low_f32, vget_low_s8, vget_low_s16, vget_low_u8, vget_low_u16, vld1_u16,
    vld1q_f32, vld1q_s8, vld1q_s32, vld1q_u8, vmlal_high_s8, vmlal_s8, vmovl_high_s8,
    vmovl_high_s16, vmovl_high_u8, vmovl_high_u16, vmovl_s8, vmovl_s16, vmovl_u8, vmovl_u16,
    vmovn_s16, vmovn_s32, vmull_high_s8, vmull_s8, vmulq_f32, vnegq_f32, vorrq_u8, vpadalq_s16,
    vpaddlq_s16, vpaddq_s16, vpaddq_s32, vpadds_f32, vreinterpret_f16_u16, vreinterpretq_f32_s32,
    vreinterpretq_s8_s32, vreinterpretq_s8_u8, vreinterpretq_s32_f32, vreinterpretq_u32_f32,
    vrndnq_f32, vshlq_n_s32, vshlq_u8, vshrn_n_u32, vshrq_n_s32, vshrq_n_u8, vst1_u16, vst1q_f32,
    vst1q_s8,
};
use std::arch::asm;

use foretoken_tensor::arithmetic::BF16_MIN;
use half::{bf16, f16};

use super::{LANES, Products, Simd};
use crate::isa::{DotProd, I8mm, Neon};

/// Applies an intrinsic to all four registers.
macro_rules! four {
    ($f:expr, $($a:expr),+) => {
        // SAFETY: the token proves NEON.
        unsafe { [$f($($a[0]),+), $f($($a[1]),+), $f($($a[2]),+), $f($($a[3]),+)] }
    };
}

/// Sums of plain NEON: of every other product of a lane in 16 bits, and of all before in 32.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    narrow: [[int16x8_t; 2]; 4],
    wide: [int32x4_t; 4],
}

impl Products for Neon {
    type I = [int32x4_t; 4];
    type B = [uint8x16_t; 4];
    type P = Sums;

    #[inline(always)]
    fn start(self, value: i32) -> Sums {
        // SAFETY: the token proves NEON.
        unsafe { Sums { narrow: [[vdupq_n_s16(0); 2]; 4], wide: [vdupq_n_s32(value); 4] } }
    }

    #[inline(always)]
    fn dot(self, mut sum: Sums, weights: Self::B, x: [i8; 4]) -> Sums {
        let x = everywhere(x);
        for (sum, weights) in sum.narrow.iter_mut().zip(weights) {
            // SAFETY: the token proves NEON.
            unsafe {
                let weights = vreinterpretq_s8_u8(weights);
                sum[0] = vmlal_s8(sum[0], vget_low_s8(weights), vget_low_s8(x));
                sum[1] = vmlal_high_s8(sum[1], weights, x);
            }
        }
        sum
    }

    #[inline(always)]
    fn start_bytes(self, _x_sum: i32) -> Sums {
        self.start(0)
    }

    /// Two products just fit 16 bits: `2 * 128 * 127`.
    #[inline(always)]
    fn dot_bytes(self, mut sum: Sums, weights: Self::B, x: [i8; 4]) -> Sums {
        let x = everywhere(x);
        for (sum, weights) in sum.wide.iter_mut().zip(weights) {
            // SAFETY: the token proves NEON.
            unsafe {
                let weights = signed(weights);
                let low = vmull_s8(vget_low_s8(weights), vget_low_s8(x));
                *sum = vpadalq_s16(*sum, vpaddq_s16(low, vmull_high_s8(weights, x)));
            }
        }
        sum
    }

    #[inline(always)]
    fn carry(self, sum: Sums) -> Sums {
        Sums { wide: self.finish(sum), ..self.start(0) }
    }

    #[inline(always)]
    fn finish(self, sum: Sums) -> Self::I {
        let mut wide = sum.wide;
        for (wide, [low, high]) in wide.iter_mut().zip(sum.narrow) {
            // SAFETY: the token proves NEON.
            unsafe {
                *wide = vaddq_s32(*wide, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
            }
        }
        wide
    }
}

impl Products for DotProd {
    type I = [int32x4_t; 4];
    type B = [uint8x16_t; 4];
    type P = [int32x4_t; 4];

    #[inline(always)]
    fn start(self, value: i32) -> Self::P {
        // SAFETY: the token proves NEON.
        unsafe { [vdupq_n_s32(value); 4] }
    }

    #[inline(always)]
    fn dot(self, sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P {
        let weights = four!(vreinterpretq_s8_u8, weights);
        four!(sdot, sum, weights, [everywhere(x); 4])
    }

    #[inline(always)]
    fn start_bytes(self, _x_sum: i32) -> Self::P {
        self.start(0)
    }

    #[inline(always)]
    fn dot_bytes(self, sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P {
        let weights = four!(signed, weights);
        four!(sdot, sum, weights, [everywhere(x); 4])
    }

    #[inline(always)]
    fn finish(self, sum: Self::P) -> Self::I {
        sum
    }
}

impl Products for I8mm {
    type I = [int32x4_t; 4];
    type B = [uint8x16_t; 4];
    type P = [int32x4_t; 4];

    #[inline(always)]
    fn start(self, value: i32) -> Self::P {
        // SAFETY: the token proves NEON.
        unsafe { [vdupq_n_s32(value); 4] }
    }

    #[inline(always)]
    fn dot(self, sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P {
        four!(usdot, sum, weights, [everywhere(x); 4])
    }

    #[inline(always)]
    fn finish(self, sum: Self::P) -> Self::I {
        sum
    }
}

impl<T: Products<I = [int32x4_t; 4], B = [uint8x16_t; 4]>> Simd for T {
    type F = [float32x4_t; 4];

    const FLOAT_TILE: usize = 4;
    const DOT_ROWS: usize = 2;
    const DOT_PANELS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        // SAFETY: the token proves NEON.
        unsafe { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        let quarters = quarters(from);
        four!(vld1q_f32, quarters)
    }

    #[inline(always)]
    fn load_pairs(self, from: &[[bf16; 2]; LANES]) -> Self::I {
        let quarters = quarters(from).map(<*const _>::cast);
        four!(vld1q_s32, quarters)
    }

    #[inline(always)]
    fn even(self, pairs: Self::I) -> Self::F {
        let upper = four!(vshlq_n_s32::<16>, pairs);
        four!(vreinterpretq_f32_s32, upper)
    }

    #[inline(always)]
    fn odd(self, pairs: Self::I) -> Self::F {
        let mask = self.splat_i32(-0x1_0000);
        let upper = four!(vandq_s32, pairs, mask);
        four!(vreinterpretq_f32_s32, upper)
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F {
        let quarters = quarters(from).map(<*const _>::cast);
        let bits = four!(vld1_u16, quarters);
        let halves = four!(vreinterpret_f16_u16, bits);
        four!(vcvt_f32_f16, halves)
    }

    #[inline(always)]
    fn store(self, value: Self::F, to: &mut [f32; LANES]) {
        for (value, to) in value.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: the token proves NEON; 16 bytes are written.
            unsafe { vst1q_f32(to.as_mut_ptr(), value) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        four!(vaddq_f32, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        four!(vmulq_f32, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        four!(vdivq_f32, a, b)
    }

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        four!(vfmaq_f32, c, a, b)
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        let larger = four!(vcgtq_f32, a, b);
        four!(vbslq_f32, larger, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        let smaller = four!(vcltq_f32, a, b);
        four!(vbslq_f32, smaller, a, b)
    }

    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        four!(vnegq_f32, a)
    }

    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        four!(vrndnq_f32, a)
    }

    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        let n = four!(vcvtnq_s32_f32, n);
        let bias = self.splat_i32(127);
        let biased = four!(vaddq_s32, n, bias);
        let shifted = four!(vshlq_n_s32::<23>, biased);
        four!(vreinterpretq_f32_s32, shifted)
    }

    #[inline(always)]
    fn zero_below(self, x: Self::F, limit: f32, value: Self::F) -> Self::F {
        let (limit, zero) = (self.splat(limit), self.splat(0.0));
        let below = four!(vcltq_f32, x, limit);
        four!(vbslq_f32, below, zero, value)
    }

    #[inline(always)]
    fn to_bytes(self, a: Self::F) -> [i8; LANES] {
        let words = four!(vcvtnq_s32_f32, a);
        let words = four!(vmovn_s32, words);
        let mut out = [0; LANES];
        // SAFETY: the token proves NEON; sixteen bytes are written.
        unsafe {
            let low = vmovn_s16(vcombine_s16(words[0], words[1]));
            let high = vmovn_s16(vcombine_s16(words[2], words[3]));
            vst1q_s8(out.as_mut_ptr(), vcombine_s8(low, high));
        }
        out
    }

    #[inline(always)]
    fn round_bf16(self, a: Self::F) -> Self::F {
        let bits = four!(vreinterpretq_s32_f32, a);
        let (one, half) = (self.splat_i32(1), self.splat_i32(0x7fff));
        let even = four!(vshrq_n_s32::<16>, bits);
        let even = four!(vandq_s32, even, one);
        let half = four!(vaddq_s32, half, even);
        let nearest = self.odd(four!(vaddq_s32, bits, half));
        let (least, zero, nan) = (self.splat(BF16_MIN), self.splat(0.0), self.splat(f32::NAN));
        let keep = four!(vcageq_f32, nearest, least);
        let kept = four!(vbslq_f32, keep, nearest, zero);
        let number = four!(vceqq_f32, a, a);
        four!(vbslq_f32, number, kept, nan)
    }

    #[inline(always)]
    fn store_pairs(self, low: Self::F, high: Self::F, to: &mut [u32; LANES]) {
        for (value, to) in low.into_iter().chain(high).zip(to.as_chunks_mut::<2>().0) {
            // SAFETY: the token proves NEON; 8 bytes are written.
            unsafe {
                let words = vshrn_n_u32::<16>(vreinterpretq_u32_f32(value));
                vst1_u16(to.as_mut_ptr().cast(), words);
            }
        }
    }

    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        // SAFETY: the token proves NEON.
        unsafe {
            let four = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
            vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
        }
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I {
        // SAFETY: the token proves NEON.
        unsafe { [vdupq_n_s32(value); 4] }
    }

    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        four!(vcvtq_f32_s32, a)
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> Self::F {
        // SAFETY: the token proves NEON; sixteen bytes are read.
        let words = unsafe {
            let bytes = vld1q_u8(from.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            let low = [vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low)];
            let high = [vmovl_u16(vget_low_u16(high)), vmovl_high_u16(high)];
            [low[0], low[1], high[0], high[1]]
        };
        four!(vcvtq_f32_u32, words)
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F {
        // SAFETY: the token proves NEON; sixteen bytes are read.
        unsafe {
            let bytes = vld1q_s8(from.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            let low = [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low)];
            let high = [vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)];
            self.to_float([low[0], low[1], high[0], high[1]])
        }
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 4 * LANES]) -> Self::B {
        let quarters = quarters(from);
        four!(vld1q_u8, quarters)
    }

    #[inline(always)]
    fn low_nibbles(self, bytes: Self::B) -> Self::B {
        // SAFETY: the token proves NEON.
        let mask = unsafe { [vdupq_n_u8(15); 4] };
        four!(vandq_u8, bytes, mask)
    }

    #[inline(always)]
    fn high_nibbles(self, bytes: Self::B) -> Self::B {
        four!(vshrq_n_u8::<4>, bytes)
    }

    #[inline(always)]
    fn or_bits(self, low: Self::B, high: Self::B, left: i32, mask: i8) -> Self::B {
        // SAFETY: the token proves NEON.
        let (count, mask) =
            unsafe { ([vdupq_n_s8(left as i8); 4], [vdupq_n_u8(mask.cast_unsigned()); 4]) };
        let shifted = four!(vshlq_u8, high, count);
        let bits = four!(vandq_u8, shifted, mask);
        four!(vorrq_u8, low, bits)
    }

    #[inline(always)]
    fn prefetch_near(self, at: *const u8) {
        // SAFETY: as of `prefetch`.
        unsafe {
            asm!("prfm pldl1keep, [{}]", in(reg) at, options(readonly, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch never faults, and it changes neither memory nor flags.
        unsafe {
            asm!("prfm pldl2keep, [{}]", in(reg) at, options(readonly, nostack, preserves_flags));
        }
    }
}

/// Where the four registers of an array of sixteen begin.
#[inline(always)]
fn quarters<T, const N: usize>(from: &[T; N]) -> [*const T; 4] {
    let step = N / 4;
    [from.as_ptr(), from[step..].as_ptr(), from[2 * step..].as_ptr(), from[3 * step..].as_ptr()]
}

/// Four bytes in every lane.
#[inline(always)]
fn everywhere(x: [i8; 4]) -> int8x16_t {
    // SAFETY: called from levels whose token proves NEON.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(x.map(i8::cast_unsigned)))) }
}

/// Bytes less 128.
///
/// # Safety
/// A token proves NEON.
#[inline(always)]
unsafe fn signed(weights: uint8x16_t) -> int8x16_t {
    // SAFETY: passed on.
    unsafe { vreinterpretq_s8_u8(veorq_u8(weights, vdupq_n_u8(128))) }
}

/// Adds to each lane its four products; the intrinsic is not stable.
///
/// # Safety
/// A token proves the products of signed bytes.
#[inline(always)]
unsafe fn sdot(mut sum: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: passed on; registers are all it reads and changes.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// As [`sdot`], with unsigned weights.
///
/// # Safety
/// A token proves the products of bytes of mixed signs.
#[inline(always)]
unsafe fn usdot(mut sum: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: passed on; registers are all it reads and changes.
    unsafe {
        asm!(
            "usdot {sum:v}.4s, {weights:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
