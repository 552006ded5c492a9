//! `q5_k`: as `q4_k` with a fifth bit.
//!
//! A block: the head of `q4_k`, then per group four lines of nibbles and a line of fifth bits: bit `i` of
//! byte `[output][k]` belongs to input `4 i + k`; 5.625 bits per weight.

use foretoken_tensor::Block;

use super::dot::{GROUP, LINE, Quants, line};
use super::q4_0::{self, get_nibble, nibbles, put_nibble};
use super::q4_k::{HEAD, minus_minimum, put_head, scale, value};
use crate::simd::Simd;

/// The format.
pub(crate) struct Q5K;

/// Bytes of a group.
const BYTES: usize = q4_0::BYTES + LINE;

impl Quants for Q5K {
    const INPUTS: usize = 8 * GROUP;
    const BYTES: usize = HEAD + 8 * BYTES;
    const CARRY: usize = 4;
    const MINIMA: bool = true;

    fn put(block: &mut [u8], lane: usize, _first: usize, source: &Block) {
        put_head(block, lane, source);
        for (k, quant) in source.quants.iter().enumerate() {
            let (quant, group) = (quant.cast_unsigned(), &mut block[HEAD + k / GROUP * BYTES..]);
            let k = k % GROUP;
            put_nibble(group, lane, k, quant);
            group[q4_0::BYTES + lane * 4 + k % 4] |= (quant >> 4) << (k / 4);
        }
    }

    fn get(block: &[u8], lane: usize, k: usize) -> f32 {
        let group = &block[HEAD + k / GROUP * BYTES..];
        let (g, k) = (k / GROUP, k % GROUP);
        let high = group[q4_0::BYTES + lane * 4 + k % 4] >> (k / 4) & 1;
        value(block, lane, g, get_nibble(group, lane, k) | high << 4)
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const HALF: usize>(
        s: S,
        block: *const u8,
        group: usize,
        i: usize,
    ) -> S::B {
        let at = HEAD + group * BYTES;
        // SAFETY: five lines per group follow the head.
        let (low, high) = unsafe {
            (
                nibbles::<S, HALF>(s, block, at + i * LINE),
                s.load_bytes(line(block, at + q4_0::BYTES)),
            )
        };
        s.or_bits(low, high, 4 - (4 * HALF + i) as i32, 0x10)
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(s: S, block: *const u8, group: usize, _sum: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { scale(s, block, group) }
    }

    #[inline(always)]
    unsafe fn minus_minimum<S: Simd>(s: S, block: *const u8, group: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { minus_minimum(s, block, group) }
    }
}
