//! `q4_0`: groups of 32 nibbles less 8 with one f16 scale per output.
//!
//! A block is 64 inputs: a line of `[2 groups][16]` scales, then per group 4 lines `[16 outputs][4 inputs]`:
//! the low nibbles of line `i` are the inputs `4 i ..`, the high ones the inputs `16 + 4 i ..`; 4.5 bits
//! per weight.

use foretoken_tensor::Block;

use super::dot::{GROUP, LINE, Quants, line, sixteen};
use super::q8_0::{get_scale, put_scale};
use crate::simd::{LANES, Simd};

/// The format.
pub(crate) struct Q4_0;

/// Bytes of a group's nibbles.
pub(super) const BYTES: usize = GROUP * LANES / 2;

/// Byte and shift of input `k` of output `lane` in the nibbles of a group.
fn place(lane: usize, k: usize) -> (usize, u32) {
    let (half, k) = (k / 16, k % 16);
    (k / 4 * LINE + lane * 4 + k % 4, 4 * half as u32)
}

/// Stores the low four bits of a value among zeroed nibbles of a group.
pub(super) fn put_nibble(group: &mut [u8], lane: usize, k: usize, value: u8) {
    let (byte, shift) = place(lane, k);
    group[byte] |= (value & 15) << shift;
}

/// What [`put_nibble`] stored.
pub(super) fn get_nibble(group: &[u8], lane: usize, k: usize) -> u8 {
    let (byte, shift) = place(lane, k);
    group[byte] >> shift & 15
}

/// The low (half 0) or the high (half 1) nibbles of the line at `at`.
///
/// # Safety
/// It lies within the block.
#[inline(always)]
pub(super) unsafe fn nibbles<S: Simd, const HALF: usize>(
    s: S,
    block: *const u8,
    at: usize,
) -> S::B {
    // SAFETY: passed on.
    let bytes = unsafe { s.load_bytes(line(block, at)) };
    if HALF == 0 { s.low_nibbles(bytes) } else { s.high_nibbles(bytes) }
}

impl Quants for Q4_0 {
    const INPUTS: usize = 2 * GROUP;
    const BYTES: usize = LINE + 2 * BYTES;
    const OFFSET: i32 = 8;
    const CARRY: usize = 8;

    fn put(block: &mut [u8], lane: usize, first: usize, source: &Block) {
        let group = first / GROUP;
        put_scale(block, lane, group, source.d);
        for (k, quant) in source.quants[..GROUP].iter().enumerate() {
            let quant = (quant + 8).cast_unsigned();
            put_nibble(&mut block[LINE + group * BYTES..], lane, k, quant);
        }
    }

    fn get(block: &[u8], lane: usize, k: usize) -> f32 {
        let group = k / GROUP;
        let quant = get_nibble(&block[LINE + group * BYTES..], lane, k % GROUP);
        get_scale(block, lane, group) * (f32::from(quant) - 8.0)
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const HALF: usize>(
        s: S,
        block: *const u8,
        group: usize,
        i: usize,
    ) -> S::B {
        // SAFETY: four lines after the scales are the group.
        unsafe { nibbles::<S, HALF>(s, block, LINE + group * BYTES + i * LINE) }
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(s: S, block: *const u8, group: usize, _sum: usize) -> S::F {
        // SAFETY: a block begins with sixteen scales per group.
        unsafe { s.load_f16(sixteen(block, group * 2 * LANES)) }
    }
}
