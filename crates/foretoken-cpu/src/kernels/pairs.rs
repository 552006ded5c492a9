//! Pairs of bfloat16: how they are multiplied and how f32 is rounded to them.
//!
//! Weights are pairs of inputs, `[inputs / 2][16 outputs][2]`, keys pairs of head dimensions and
//! values pairs of positions; each meets a pair of rounded inputs, `u32` with the even one in the lower
//! half. The tile is that of [`fma`](super::fma), a link is `arithmetic::add_pair`: one `vdpbf16ps`, or
//! where the machine lacks it two fused multiply-adds of shifted and masked halves, with equal bits
//! since nothing that multiplies is below `arithmetic::BF16_MIN`.
//!
//! On AMX weights are multiplied by `amx_pairs` instead, in another order.
//!
//! Limits: one 512-bit `vdpbf16ps` per cycle on Zen 4, twice the products of an fma.

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::fma::{Fma, fma_by};
use super::fma::{Fused, Link, Weight};
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx512, Avx512Bf16};
use crate::simd::{LANES, Simd};

/// Two neighbours of a sum, the even one first.
pub(crate) type Pair = [bf16; 2];

impl Weight for Pair {
    type Input = u32;
}

impl<S: Simd> Link<S, Pair> for Fused {
    type Operand = S::I;

    #[inline(always)]
    fn splat(self, s: S, input: u32) -> S::I {
        s.splat_i32(input.cast_signed())
    }

    #[inline(always)]
    fn load(self, s: S, from: &[Pair; LANES]) -> S::I {
        s.load_pairs(from)
    }

    #[inline(always)]
    fn add(self, s: S, input: S::I, weight: S::I, chain: S::F) -> S::F {
        s.fma(s.even(input), s.even(weight), s.fma(s.odd(input), s.odd(weight), chain))
    }
}

#[cfg(target_arch = "x86_64")]
impl Link<Avx512, Pair> for Avx512Bf16 {
    type Operand = std::arch::x86_64::__m512i;

    #[inline(always)]
    fn splat(self, s: Avx512, input: u32) -> Self::Operand {
        s.splat_i32(input.cast_signed())
    }

    #[inline(always)]
    fn load(self, s: Avx512, from: &[Pair; LANES]) -> Self::Operand {
        s.load_pairs(from)
    }

    #[inline(always)]
    fn add(
        self,
        _s: Avx512,
        input: Self::Operand,
        weight: Self::Operand,
        chain: std::arch::x86_64::__m512,
    ) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::{__m512bh, __m512i, _mm512_dpbf16_ps};
        // SAFETY: the token proves AVX-512 BF16; both types are 64 plain bytes.
        unsafe {
            let [input, weight] =
                [input, weight].map(|x| std::mem::transmute::<__m512i, __m512bh>(x));
            _mm512_dpbf16_ps(chain, input, weight)
        }
    }
}

/// The tile by `vdpbf16ps`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn fma_native(proof: Avx512Bf16, a: Fma<'_, Pair>) {
    fma_by(proof.0, proof, a);
}

/// Rounds values to pairs; missing ones are zeros.
#[inline(always)]
pub(crate) fn round<S: Simd>(s: S, values: &[f32], pairs: &mut [u32]) {
    assert_eq!(pairs.len(), values.len().div_ceil(2), "one pair per two values");
    let (whole, rest) = values.as_chunks::<{ 2 * LANES }>();
    let (to, rest_to) = pairs.split_at_mut(whole.len() * LANES);
    for (values, to) in whole.iter().zip(to.as_chunks_mut().0) {
        round_whole(s, values, to);
    }
    let (mut values, mut to) = ([0.0; 2 * LANES], [0; LANES]);
    values[..rest.len()].copy_from_slice(rest);
    round_whole(s, &values, &mut to);
    rest_to.copy_from_slice(&to[..rest_to.len()]);
}

#[inline(always)]
fn round_whole<S: Simd>(s: S, values: &[f32; 2 * LANES], to: &mut [u32; LANES]) {
    if let ([low, high], []) = values.as_chunks() {
        s.store_pairs(s.round_bf16(s.load(low)), s.round_bf16(s.load(high)), to);
    }
}
