//! Sixteen lanes in two 256-bit registers, for AVX2 with and without VNNI.
//!
//! Every `unsafe` block below calls intrinsics of AVX2, FMA or F16C, which the token proves to be
//! present; loads and stores go through references to arrays of exactly the size accessed, and ask
//! for no alignment.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GE_OQ, _CMP_NLT_UQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _MM_HINT_T1, _mm_add_ps, _mm_add_ss, _mm_cvtsi32_si128,
    _mm_cvtss_f32, _mm_loadl_epi64, _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehdup_ps,
    _mm_movehl_ps, _mm_prefetch, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_andnot_ps, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_div_ps, _mm256_dpbusd_avx_epi32, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_or_si256, _mm256_packus_epi32,
    _mm256_permute4x64_epi64, _mm256_round_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_sll_epi16,
    _mm256_slli_epi32, _mm256_srl_epi16, _mm256_srli_epi16, _mm256_srli_epi32, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_xor_ps, _mm256_xor_si256,
};

use foretoken_tensor::arithmetic::BF16_MIN;
use half::{bf16, f16};

use super::{LANES, Products, Simd};
use crate::isa::{Avx2, AvxVnni};

/// Applies an intrinsic to both halves.
macro_rules! both {
    ($f:expr, $($a:expr),+) => {
        // SAFETY: the token proves AVX2, FMA and F16C, and the level its own.
        unsafe { [$f($($a[0]),+), $f($($a[1]),+)] }
    };
}

/// Sums of AVX2: of adjacent products in 16 bits, and of all before in 32.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    narrow: [__m256i; 2],
    wide: [__m256i; 2],
}

impl Products for Avx2 {
    type I = [__m256i; 2];
    type B = [__m256i; 2];
    type P = Sums;

    #[inline(always)]
    fn start(self, value: i32) -> Sums {
        // SAFETY: the token proves AVX2.
        unsafe { Sums { narrow: [_mm256_setzero_si256(); 2], wide: [_mm256_set1_epi32(value); 2] } }
    }

    #[inline(always)]
    fn dot(self, sum: Sums, weights: Self::B, x: [i8; 4]) -> Sums {
        let products = both!(_mm256_maddubs_epi16, weights, [four(x); 2]);
        Sums { narrow: both!(_mm256_add_epi16, sum.narrow, products), ..sum }
    }

    #[inline(always)]
    fn start_bytes(self, _x_sum: i32) -> Sums {
        self.start(0)
    }

    /// Two products of a magnitude and a byte of the other's sign just fit 16 bits: `2 * 128 * 127`.
    #[inline(always)]
    fn dot_bytes(self, sum: Sums, weights: Self::B, x: [i8; 4]) -> Sums {
        // SAFETY: the token proves AVX2.
        let (offset, ones) = unsafe { (_mm256_set1_epi8(-128), _mm256_set1_epi16(1)) };
        let signed = both!(_mm256_xor_si256, weights, [offset; 2]);
        let magnitudes = both!(_mm256_abs_epi8, signed);
        let x = both!(_mm256_sign_epi8, [four(x); 2], signed);
        let products = both!(_mm256_maddubs_epi16, magnitudes, x);
        let products = both!(_mm256_madd_epi16, products, [ones; 2]);
        Sums { wide: both!(_mm256_add_epi32, sum.wide, products), ..sum }
    }

    #[inline(always)]
    fn carry(self, sum: Sums) -> Sums {
        // SAFETY: the token proves AVX2.
        let zero = unsafe { _mm256_setzero_si256() };
        Sums { narrow: [zero; 2], wide: self.finish(sum) }
    }

    #[inline(always)]
    fn finish(self, sum: Sums) -> Self::I {
        // SAFETY: the token proves AVX2.
        let ones = unsafe { _mm256_set1_epi16(1) };
        let products = both!(_mm256_madd_epi16, sum.narrow, [ones; 2]);
        both!(_mm256_add_epi32, sum.wide, products)
    }
}

impl Products for AvxVnni {
    type I = [__m256i; 2];
    type B = [__m256i; 2];
    type P = [__m256i; 2];

    #[inline(always)]
    fn start(self, value: i32) -> Self::P {
        // SAFETY: the token proves AVX2.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }

    #[inline(always)]
    fn dot(self, sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P {
        both!(_mm256_dpbusd_avx_epi32, sum, weights, [four(x); 2])
    }

    #[inline(always)]
    fn finish(self, sum: Self::P) -> Self::I {
        sum
    }
}

impl<T: Products<I = [__m256i; 2], B = [__m256i; 2]>> Simd for T {
    type F = [__m256; 2];

    const FLOAT_TILE: usize = 4;
    const DOT_ROWS: usize = 4;
    const DOT_PANELS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        // SAFETY: the token proves AVX2.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        let halves: [_; 2] = [from.as_ptr(), from[8..].as_ptr()];
        both!(_mm256_loadu_ps, halves)
    }

    #[inline(always)]
    fn load_pairs(self, from: &[[bf16; 2]; LANES]) -> Self::I {
        // SAFETY: the token proves AVX2; 32 bytes are read from each half.
        unsafe {
            [
                _mm256_loadu_si256(from.as_ptr().cast()),
                _mm256_loadu_si256(from[8..].as_ptr().cast()),
            ]
        }
    }

    #[inline(always)]
    fn even(self, pairs: Self::I) -> Self::F {
        let upper = both!(_mm256_slli_epi32::<16>, pairs);
        both!(_mm256_castsi256_ps, upper)
    }

    #[inline(always)]
    fn odd(self, pairs: Self::I) -> Self::F {
        let mask = self.splat_i32(-0x1_0000);
        let upper = both!(_mm256_and_si256, pairs, mask);
        both!(_mm256_castsi256_ps, upper)
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F {
        // SAFETY: the token proves AVX2 and F16C; 16 bytes are read from each half.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from[8..].as_ptr().cast())),
            ]
        }
    }

    #[inline(always)]
    fn store(self, value: Self::F, to: &mut [f32; LANES]) {
        // SAFETY: the token proves AVX2; 32 bytes are written to each half.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(to[8..].as_mut_ptr(), value[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_add_ps, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_mul_ps, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_div_ps, a, b)
    }

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fmadd_ps, a, b, c)
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_max_ps, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_min_ps, a, b)
    }

    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        let sign = self.splat(-0.0);
        both!(_mm256_xor_ps, sign, a)
    }

    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        both!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>, a)
    }

    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        // SAFETY: the token proves AVX2.
        let bias = unsafe { [_mm256_set1_epi32(127); 2] };
        let n = both!(_mm256_cvtps_epi32, n);
        let biased = both!(_mm256_add_epi32, n, bias);
        let shifted = both!(_mm256_slli_epi32::<23>, biased);
        both!(_mm256_castsi256_ps, shifted)
    }

    #[inline(always)]
    fn zero_below(self, x: Self::F, limit: f32, value: Self::F) -> Self::F {
        let limit = self.splat(limit);
        let keep = both!(_mm256_cmp_ps::<_CMP_NLT_UQ>, x, limit);
        both!(_mm256_and_ps, keep, value)
    }

    #[inline(always)]
    fn to_bytes(self, a: Self::F) -> [i8; LANES] {
        let mut words = [0i32; LANES];
        // SAFETY: the token proves AVX2; 32 bytes are written to each half.
        unsafe {
            _mm256_storeu_si256(words.as_mut_ptr().cast(), _mm256_cvtps_epi32(a[0]));
            _mm256_storeu_si256(words[8..].as_mut_ptr().cast(), _mm256_cvtps_epi32(a[1]));
        }
        let mut out = [0; LANES];
        for (to, word) in out.iter_mut().zip(words) {
            *to = word as i8;
        }
        out
    }

    #[inline(always)]
    fn round_bf16(self, a: Self::F) -> Self::F {
        let bits = both!(_mm256_castps_si256, a);
        let even = both!(_mm256_srli_epi32::<16>, bits);
        let (one, half) = (self.splat_i32(1), self.splat_i32(0x7fff));
        let even = both!(_mm256_and_si256, even, one);
        let half = both!(_mm256_add_epi32, half, even);
        let nearest = self.odd(both!(_mm256_add_epi32, bits, half));
        let (sign, least) = (self.splat(-0.0), self.splat(BF16_MIN));
        let magnitude = both!(_mm256_andnot_ps, sign, nearest);
        let keep = both!(_mm256_cmp_ps::<_CMP_GE_OQ>, magnitude, least);
        let kept = both!(_mm256_and_ps, keep, nearest);
        let (failed, nan) = (both!(_mm256_cmp_ps::<_CMP_UNORD_Q>, a, a), self.splat(f32::NAN));
        both!(_mm256_blendv_ps, kept, nan, failed)
    }

    #[inline(always)]
    fn store_pairs(self, low: Self::F, high: Self::F, to: &mut [u32; LANES]) {
        for (values, to) in [low, high].into_iter().zip(to.as_chunks_mut::<8>().0) {
            let bits = both!(_mm256_castps_si256, values);
            let words = both!(_mm256_srli_epi32::<16>, bits);
            // SAFETY: the token proves AVX2; 32 bytes are written.
            unsafe {
                // The instruction packs within each half of its operands.
                let packed = _mm256_packus_epi32(words[0], words[1]);
                let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
                _mm256_storeu_si256(to.as_mut_ptr().cast(), ordered);
            }
        }
    }

    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let eight = _mm256_add_ps(a[0], a[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let eight = _mm256_max_ps(a[0], a[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I {
        // SAFETY: the token proves AVX2.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }

    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        both!(_mm256_cvtepi32_ps, a)
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> Self::F {
        // SAFETY: the token proves AVX2; 8 bytes are read from each half.
        let bytes = unsafe {
            [_mm_loadl_epi64(from.as_ptr().cast()), _mm_loadl_epi64(from[8..].as_ptr().cast())]
        };
        let wide = both!(_mm256_cvtepu8_epi32, bytes);
        both!(_mm256_cvtepi32_ps, wide)
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F {
        // SAFETY: the token proves AVX2; 8 bytes are read from each half.
        let bytes = unsafe {
            [_mm_loadl_epi64(from.as_ptr().cast()), _mm_loadl_epi64(from[8..].as_ptr().cast())]
        };
        let wide = both!(_mm256_cvtepi8_epi32, bytes);
        both!(_mm256_cvtepi32_ps, wide)
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 4 * LANES]) -> Self::B {
        let halves: [_; 2] = [from.as_ptr().cast(), from[32..].as_ptr().cast()];
        both!(_mm256_loadu_si256, halves)
    }

    #[inline(always)]
    fn low_nibbles(self, bytes: Self::B) -> Self::B {
        // SAFETY: the token proves AVX2.
        let mask = unsafe { [_mm256_set1_epi8(15); 2] };
        both!(_mm256_and_si256, bytes, mask)
    }

    #[inline(always)]
    fn high_nibbles(self, bytes: Self::B) -> Self::B {
        self.low_nibbles(both!(_mm256_srli_epi16::<4>, bytes))
    }

    #[inline(always)]
    fn or_bits(self, low: Self::B, high: Self::B, left: i32, mask: i8) -> Self::B {
        // SAFETY: the token proves AVX2.
        let (count, mask) =
            unsafe { ([_mm_cvtsi32_si128(left.abs()); 2], [_mm256_set1_epi8(mask); 2]) };
        let shifted = if left >= 0 {
            both!(_mm256_sll_epi16, high, count)
        } else {
            both!(_mm256_srl_epi16, high, count)
        };
        let bits = both!(_mm256_and_si256, shifted, mask);
        both!(_mm256_or_si256, low, bits)
    }

    #[inline(always)]
    fn prefetch_near(self, at: *const u8) {
        // SAFETY: as of `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: the token proves AVX2, which includes SSE; a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

/// Four bytes in every lane.
#[inline(always)]
fn four(x: [i8; 4]) -> __m256i {
    // SAFETY: called from levels whose token proves AVX2.
    unsafe { _mm256_set1_epi32(i32::from_ne_bytes(x.map(i8::cast_unsigned))) }
}
