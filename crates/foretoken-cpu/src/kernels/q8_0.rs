//! `q8_0`: groups of 32 signed bytes with one f16 scale per output, stored with 128 added.
//!
//! A block is 64 inputs: a line of `[2 groups][16]` scales, then per group 8 lines `[16 outputs][4 inputs]`,
//! the order in which `vpdpbusd` takes them; 8.5 bits per weight.

use foretoken_tensor::Block;
use half::f16;

use super::dot::{GROUP, LINE, Quants, line, sixteen};
use crate::simd::{LANES, Simd};

/// The format.
pub(crate) struct Q8_0;

/// Bytes of a group.
const BYTES: usize = GROUP * LANES;

/// Where input `k` of output `lane` lies in a block.
fn place(lane: usize, k: usize) -> usize {
    LINE + k / 4 * LINE + lane * 4 + k % 4
}

/// Stores the scale of a group of a block that begins with `[groups][16]` of them.
pub(super) fn put_scale(block: &mut [u8], lane: usize, group: usize, scale: f16) {
    let at = 2 * (group * LANES + lane);
    block[at..at + 2].copy_from_slice(&scale.to_ne_bytes());
}

/// What [`put_scale`] stored.
pub(super) fn get_scale(block: &[u8], lane: usize, group: usize) -> f32 {
    let at = 2 * (group * LANES + lane);
    f16::from_ne_bytes([block[at], block[at + 1]]).to_f32()
}

impl Quants for Q8_0 {
    const INPUTS: usize = 2 * GROUP;
    const BYTES: usize = LINE + 2 * BYTES;
    const EXCESS: u8 = 0x80;
    const CARRY: usize = 8;

    fn put(block: &mut [u8], lane: usize, first: usize, source: &Block) {
        put_scale(block, lane, first / GROUP, source.d);
        for (k, quant) in source.quants[..GROUP].iter().enumerate() {
            block[place(lane, first + k)] = quant.cast_unsigned() ^ 0x80;
        }
    }

    fn get(block: &[u8], lane: usize, k: usize) -> f32 {
        let quant = (block[place(lane, k)] ^ 0x80).cast_signed();
        get_scale(block, lane, k / GROUP) * f32::from(quant)
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const HALF: usize>(
        s: S,
        block: *const u8,
        group: usize,
        i: usize,
    ) -> S::B {
        // SAFETY: eight lines after the scales are the group.
        unsafe { s.load_bytes(line(block, LINE + group * BYTES + (4 * HALF + i) * LINE)) }
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(s: S, block: *const u8, group: usize, _sum: usize) -> S::F {
        // SAFETY: a block begins with sixteen scales per group.
        unsafe { s.load_f16(sixteen(block, group * 2 * LANES)) }
    }

    #[inline(always)]
    fn start<S: Simd>(s: S, sum: i32) -> S::P {
        s.start_bytes(sum)
    }

    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::P, weights: S::B, x: [i8; 4]) -> S::P {
        s.dot_bytes(sum, weights, x)
    }
}
