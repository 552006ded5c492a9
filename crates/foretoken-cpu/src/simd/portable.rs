//! Sixteen lanes as an array: the twin that defines the others, and the fallback.

use foretoken_tensor::arithmetic::round_bf16;
use half::{bf16, f16};

use super::{LANES, Products, Simd};
use crate::isa::Portable;

/// Applies a function lane by lane.
macro_rules! lanes {
    (|$lane:ident| $value:expr) => {{
        let mut out = [0.0; LANES];
        for ($lane, to) in out.iter_mut().enumerate() {
            *to = $value;
        }
        out
    }};
}

impl Products for Portable {
    type I = [i32; LANES];
    type B = [u8; 4 * LANES];
    type P = [i32; LANES];

    #[inline(always)]
    fn start(self, value: i32) -> Self::P {
        [value; LANES]
    }

    #[inline(always)]
    fn dot(self, mut sum: Self::P, weights: Self::B, x: [i8; 4]) -> Self::P {
        // Loops over lanes, without checks of overflow, are what compilers turn into vectors.
        let mut fours = [0; LANES];
        for (four, bytes) in fours.iter_mut().zip(weights.as_chunks().0) {
            *four = u32::from_le_bytes(*bytes);
        }
        for (i, x) in x.into_iter().enumerate() {
            for (sum, four) in sum.iter_mut().zip(fours) {
                let weight = (four >> (8 * i) & 0xff).cast_signed();
                *sum = sum.wrapping_add(weight * i32::from(x));
            }
        }
        sum
    }

    #[inline(always)]
    fn finish(self, sum: Self::P) -> Self::I {
        sum
    }
}

impl Simd for Portable {
    type F = [f32; LANES];

    const FLOAT_TILE: usize = 1;
    const DOT_ROWS: usize = 1;
    const DOT_PANELS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        *from
    }

    #[inline(always)]
    fn load_pairs(self, from: &[[bf16; 2]; LANES]) -> Self::I {
        let mut out = [0; LANES];
        for (to, [even, odd]) in out.iter_mut().zip(from) {
            *to = (u32::from(even.to_bits()) | u32::from(odd.to_bits()) << 16).cast_signed();
        }
        out
    }

    #[inline(always)]
    fn even(self, pairs: Self::I) -> Self::F {
        lanes!(|i| f32::from_bits(pairs[i].cast_unsigned() << 16))
    }

    #[inline(always)]
    fn odd(self, pairs: Self::I) -> Self::F {
        lanes!(|i| f32::from_bits(pairs[i].cast_unsigned() & 0xffff_0000))
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F {
        lanes!(|i| from[i].to_f32())
    }

    #[inline(always)]
    fn store(self, value: Self::F, to: &mut [f32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        lanes!(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        lanes!(|i| -a[i])
    }

    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        lanes!(|i| a[i].round_ties_even())
    }

    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        lanes!(|i| f32::from_bits((n[i] as i32).wrapping_add(127).cast_unsigned() << 23))
    }

    #[inline(always)]
    fn zero_below(self, x: Self::F, limit: f32, value: Self::F) -> Self::F {
        lanes!(|i| if x[i] < limit { 0.0 } else { value[i] })
    }

    #[inline(always)]
    fn to_bytes(self, a: Self::F) -> [i8; LANES] {
        let mut out = [0; LANES];
        for (to, value) in out.iter_mut().zip(a) {
            *to = value as i8;
        }
        out
    }

    #[inline(always)]
    fn round_bf16(self, a: Self::F) -> Self::F {
        lanes!(|i| round_bf16(a[i]))
    }

    #[inline(always)]
    fn store_pairs(self, low: Self::F, high: Self::F, to: &mut [u32; LANES]) {
        let pairs = low.as_chunks().0.iter().chain(high.as_chunks().0);
        for (to, [even, odd]) in to.iter_mut().zip(pairs) {
            *to = even.to_bits() >> 16 | odd.to_bits();
        }
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I {
        [value; LANES]
    }

    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        lanes!(|i| a[i] as f32)
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 4 * LANES]) -> Self::B {
        *from
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> Self::F {
        lanes!(|i| f32::from(from[i]))
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F {
        lanes!(|i| f32::from(from[i]))
    }

    #[inline(always)]
    fn low_nibbles(self, bytes: Self::B) -> Self::B {
        bytes.map(|byte| byte & 15)
    }

    #[inline(always)]
    fn high_nibbles(self, bytes: Self::B) -> Self::B {
        bytes.map(|byte| byte >> 4)
    }

    #[inline(always)]
    fn or_bits(self, mut low: Self::B, high: Self::B, left: i32, mask: i8) -> Self::B {
        for (low, high) in low.iter_mut().zip(high) {
            let shifted = if left >= 0 { high << left } else { high >> -left };
            *low |= shifted & mask.cast_unsigned();
        }
        low
    }

    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}

    #[inline(always)]
    fn prefetch_near(self, _at: *const u8) {}
}
