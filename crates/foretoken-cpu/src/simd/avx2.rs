//! Sixteen lanes in two 256-bit registers.
//!
//! Every `unsafe` block below calls intrinsics of AVX2, FMA or F16C, which the token proves to be
//! present; loads and stores go through references to arrays of exactly the size accessed, and ask
//! for no alignment.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_NLT_UQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T1,
    _mm_loadu_si128, _mm_prefetch, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps,
    _mm256_and_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_ps, _mm256_min_ps,
    _mm256_mul_ps, _mm256_round_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_slli_epi16, _mm256_slli_epi32, _mm256_srai_epi16, _mm256_srli_epi16,
    _mm256_storeu_ps, _mm256_storeu_si256, _mm256_xor_ps,
};

use half::{bf16, f16};

use super::{LANES, Simd};
use crate::isa::Avx2;

/// The even and the odd bytes of 32, each as 16 words: words that pair up within a 32-bit lane.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    even: __m256i,
    odd: __m256i,
}

impl Words {
    #[inline(always)]
    fn new(_proof: Avx2, bytes: __m256i) -> Self {
        // SAFETY: the token proves AVX2.
        unsafe {
            let even = _mm256_and_si256(bytes, _mm256_set1_epi16(255));
            Self { even, odd: _mm256_srli_epi16::<8>(bytes) }
        }
    }
}

/// Applies an intrinsic to both halves.
macro_rules! both {
    ($f:expr, $($a:expr),+) => {
        // SAFETY: the token proves AVX2, FMA and F16C.
        unsafe { [$f($($a[0]),+), $f($($a[1]),+)] }
    };
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    type B = [Words; 2];

    const FLOAT_TILE: usize = 4;
    const DOT_ROWS: usize = 2;

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
    fn load_bf16(self, from: &[bf16; LANES]) -> Self::F {
        // SAFETY: the token proves AVX2; 16 bytes are read from each half.
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from[8..].as_ptr().cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        }
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
        let (n, bias) = (both!(_mm256_cvtps_epi32, n), self.splat_i32(127));
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
    fn splat_i32(self, value: i32) -> Self::I {
        // SAFETY: the token proves AVX2.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }

    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        both!(_mm256_cvtepi32_ps, a)
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 4 * LANES]) -> Self::B {
        // SAFETY: the token proves AVX2; 32 bytes are read from each half.
        let (low, high) = unsafe {
            (
                _mm256_loadu_si256(from.as_ptr().cast()),
                _mm256_loadu_si256(from[32..].as_ptr().cast()),
            )
        };
        [Words::new(self, low), Words::new(self, high)]
    }

    #[inline(always)]
    fn load_nibbles(self, from: &[u8; 4 * LANES]) -> (Self::B, Self::B) {
        // SAFETY: the token proves AVX2; 32 bytes are read from each half.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            let a = _mm256_loadu_si256(from.as_ptr().cast());
            let b = _mm256_loadu_si256(from[32..].as_ptr().cast());
            let (a_high, b_high) = (_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b));
            let low = [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)];
            let high = [_mm256_and_si256(a_high, mask), _mm256_and_si256(b_high, mask)];
            (
                [Words::new(self, low[0]), Words::new(self, low[1])],
                [Words::new(self, high[0]), Words::new(self, high[1])],
            )
        }
    }

    /// Multiplies as words: `maddubs`, the obvious instruction, saturates at 16 bits.
    #[inline(always)]
    fn dot(self, sum: Self::I, weights: Self::B, x: [i8; 4]) -> Self::I {
        // SAFETY: the token proves AVX2. Products of a byte and a signed byte fit 16 x 16 -> 32 bits.
        unsafe {
            let x = _mm256_set1_epi32(i32::from_ne_bytes(x.map(i8::cast_unsigned)));
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
            let odd = _mm256_srai_epi16::<8>(x);
            let low = _mm256_add_epi32(
                _mm256_madd_epi16(weights[0].even, even),
                _mm256_madd_epi16(weights[0].odd, odd),
            );
            let high = _mm256_add_epi32(
                _mm256_madd_epi16(weights[1].even, even),
                _mm256_madd_epi16(weights[1].odd, odd),
            );
            [_mm256_add_epi32(sum[0], low), _mm256_add_epi32(sum[1], high)]
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: the token proves AVX2, which includes SSE; a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
