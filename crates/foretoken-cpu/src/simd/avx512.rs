//! Sixteen lanes in one 512-bit register.
//!
//! Every `unsafe` block below calls intrinsics of AVX-512 F, BW, DQ, VL or VNNI, or of AVX and F16C,
//! which the token proves to be present; loads and stores go through references to arrays of exactly
//! the size accessed, and ask for no alignment.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_GE_OQ, _CMP_NLT_UQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _MM_HINT_T1, _mm_add_ps, _mm_add_ss, _mm_cvtsi32_si128,
    _mm_cvtss_f32, _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehdup_ps, _mm_movehl_ps,
    _mm_prefetch, _mm_storeu_si128, _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
    _mm256_loadu_si256, _mm256_max_ps, _mm512_abs_ps, _mm512_add_epi32, _mm512_add_ps,
    _mm512_and_si512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps_si512,
    _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps,
    _mm512_cvtps_epi32, _mm512_div_ps, _mm512_dpbusd_epi32, _mm512_extractf32x8_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_mov_ps, _mm512_maskz_mov_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_permutex2var_epi16,
    _mm512_roundscale_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_sll_epi16, _mm512_slli_epi32, _mm512_srl_epi16, _mm512_srli_epi16,
    _mm512_srli_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps, _mm512_xor_ps,
};

use foretoken_tensor::arithmetic::BF16_MIN;
use half::{bf16, f16};

use super::{LANES, Products, Simd};
use crate::isa::Avx512;

impl Products for Avx512 {
    type I = __m512i;
    type B = __m512i;
    type P = __m512i;

    #[inline(always)]
    fn start(self, value: i32) -> Self::P {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn dot(self, sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P {
        let x = i32::from_ne_bytes(x.map(i8::cast_unsigned));
        // SAFETY: the token proves AVX-512 VNNI. The instruction sums in 32 bits without saturating.
        unsafe { _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(x)) }
    }

    #[inline(always)]
    fn finish(self, sum: Self::P) -> Self::I {
        sum
    }
}

impl Simd for Avx512 {
    type F = __m512;

    const FLOAT_TILE: usize = 16;
    const DOT_ROWS: usize = 6;
    const DOT_PANELS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        // SAFETY: the token proves AVX-512; 64 bytes are read.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[[bf16; 2]; LANES]) -> Self::I {
        // SAFETY: the token proves AVX-512; 64 bytes are read.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn even(self, pairs: Self::I) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)) }
    }

    #[inline(always)]
    fn odd(self, pairs: Self::I) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-0x1_0000))) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F {
        // SAFETY: the token proves AVX-512; 32 bytes are read.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, value: Self::F, to: &mut [f32; LANES]) {
        // SAFETY: the token proves AVX-512; 64 bytes are written.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_xor_ps(a, _mm512_set1_ps(-0.0)) }
    }

    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn zero_below(self, x: Self::F, limit: f32, value: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe {
            let keep = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(limit));
            _mm512_maskz_mov_ps(keep, value)
        }
    }

    #[inline(always)]
    fn to_bytes(self, a: Self::F) -> [i8; LANES] {
        let mut out = [0; LANES];
        // SAFETY: the token proves AVX-512; 16 bytes are written.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        }
        out
    }

    #[inline(always)]
    fn round_bf16(self, a: Self::F) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe {
            let bits = _mm512_castps_si512(a);
            let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff));
            let nearest = self.odd(_mm512_add_epi32(bits, half));
            let least = _mm512_set1_ps(BF16_MIN);
            let keep = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(_mm512_abs_ps(nearest), least);
            let failed = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let kept = _mm512_maskz_mov_ps(keep, nearest);
            _mm512_mask_mov_ps(kept, failed, _mm512_set1_ps(f32::NAN))
        }
    }

    #[inline(always)]
    fn store_pairs(self, low: Self::F, high: Self::F, to: &mut [u32; LANES]) {
        const UPPER: [u16; 2 * LANES] = {
            let mut words = [0; 2 * LANES];
            let mut i = 0;
            while i < words.len() {
                words[i] = 2 * i as u16 + 1;
                i += 1;
            }
            words
        };
        // SAFETY: the token proves AVX-512; 64 bytes are read, and written.
        unsafe {
            let upper = _mm512_loadu_si512(UPPER.as_ptr().cast());
            let (low, high) = (_mm512_castps_si512(low), _mm512_castps_si512(high));
            let pairs = _mm512_permutex2var_epi16(low, upper, high);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        }
    }

    #[inline(always)]
    fn transpose(self, block: &mut [[u32; LANES]; LANES]) {
        // SAFETY: the token proves AVX-512; each row is 64 bytes, read and written.
        unsafe {
            let zero = _mm512_setzero_ps();
            let (mut rows, mut fours, mut lanes) = ([zero; LANES], [zero; LANES], [zero; LANES]);
            for (row, from) in rows.iter_mut().zip(&*block) {
                *row = _mm512_loadu_ps(from.as_ptr().cast());
            }
            for i in (0..LANES).step_by(2) {
                fours[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
                fours[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
            }
            // Each quarter of `lanes[4 g + j]` becomes four rows from `4 g` on of column `j` of that quarter.
            for i in (0..LANES).step_by(4) {
                for (j, (a, b)) in [(i, i + 2), (i + 1, i + 3)].into_iter().enumerate() {
                    let [a, b] = [a, b].map(|i| _mm512_castps_pd(fours[i]));
                    lanes[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    lanes[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for j in 0..4 {
                let [a, b, c, d] = [lanes[j], lanes[4 + j], lanes[8 + j], lanes[12 + j]];
                let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
                let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                for (quarter, [low, high]) in [even, odd].into_iter().enumerate() {
                    let first = _mm512_shuffle_f32x4::<0x88>(low, high);
                    let second = _mm512_shuffle_f32x4::<0xdd>(low, high);
                    _mm512_storeu_ps(block[4 * quarter + j].as_mut_ptr().cast(), first);
                    _mm512_storeu_ps(block[4 * quarter + 8 + j].as_mut_ptr().cast(), second);
                }
            }
        }
    }

    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        // SAFETY: the token proves AVX-512, which includes AVX.
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        // SAFETY: the token proves AVX-512, which includes AVX.
        unsafe {
            let eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 4 * LANES]) -> Self::B {
        // SAFETY: the token proves AVX-512; 64 bytes are read.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> Self::F {
        // SAFETY: the token proves AVX-512; 16 bytes are read.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F {
        // SAFETY: the token proves AVX-512; 16 bytes are read.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn low_nibbles(self, bytes: Self::B) -> Self::B {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn high_nibbles(self, bytes: Self::B) -> Self::B {
        // SAFETY: the token proves AVX-512.
        self.low_nibbles(unsafe { _mm512_srli_epi16::<4>(bytes) })
    }

    #[inline(always)]
    fn or_bits(self, low: Self::B, high: Self::B, left: i32, mask: i8) -> Self::B {
        // SAFETY: the token proves AVX-512.
        unsafe {
            let shifted = if left >= 0 {
                _mm512_sll_epi16(high, _mm_cvtsi32_si128(left))
            } else {
                _mm512_srl_epi16(high, _mm_cvtsi32_si128(-left))
            };
            _mm512_or_si512(low, _mm512_and_si512(shifted, _mm512_set1_epi8(mask)))
        }
    }

    #[inline(always)]
    fn prefetch_near(self, at: *const u8) {
        // SAFETY: as of `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: the token proves AVX-512, which includes SSE; a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
