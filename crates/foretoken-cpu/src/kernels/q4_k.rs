//! `q4_k`: 256 inputs in eight groups of nibbles, each with a 6-bit scale and minimum over two f16 factors.
//!
//! A block: a line of `[16]` factors `d` and `[16]` factors `dmin`, a line per two groups
//! of `[16]` scales and `[16]` minima (bytes) each, then each group's nibbles as in `q4_0`; 4.625 bits per
//! weight, of which 0.125 for the wider scales.

use foretoken_tensor::Block;

use super::dot::{GROUP, LINE, Quants, sixteen};
use super::q4_0::{BYTES, get_nibble, nibbles, put_nibble};
use super::q8_0::{get_scale, put_scale};
use crate::simd::{LANES, Simd};

/// The format.
pub(crate) struct Q4K;

/// Groups of a block.
const GROUPS: usize = 8;
/// Bytes of factors, scales and minima.
pub(super) const HEAD: usize = LINE + GROUPS * 2 * LANES;

/// Stores factors, scales and minima.
pub(super) fn put_head(block: &mut [u8], lane: usize, source: &Block) {
    put_scale(block, lane, 0, source.d);
    put_scale(block, lane, 1, source.dmin);
    for (g, group) in block[LINE..HEAD].chunks_exact_mut(2 * LANES).enumerate() {
        group[lane] = source.scales[g].cast_unsigned();
        group[LANES + lane] = source.minima[g];
    }
}

/// The value of an integer, with what [`put_head`] stored.
pub(super) fn value(block: &[u8], lane: usize, group: usize, quant: u8) -> f32 {
    let bytes = &block[LINE + group * 2 * LANES..];
    let scale = get_scale(block, lane, 0) * f32::from(bytes[lane]);
    let minimum = get_scale(block, lane, 1) * f32::from(bytes[LANES + lane]);
    scale * f32::from(quant) - minimum
}

/// Scales of a group, exactly.
///
/// # Safety
/// `block` begins with a head.
#[inline(always)]
pub(super) unsafe fn scale<S: Simd>(s: S, block: *const u8, group: usize) -> S::F {
    // SAFETY: both lie within the head.
    let (d, scale) = unsafe { (sixteen(block, 0), sixteen(block, LINE + group * 2 * LANES)) };
    s.mul(s.load_f16(d), s.load_u8(scale))
}

/// Minima of a group less than zero, exactly.
///
/// # Safety
/// As [`scale`].
#[inline(always)]
pub(super) unsafe fn minus_minimum<S: Simd>(s: S, block: *const u8, group: usize) -> S::F {
    // SAFETY: both lie within the head.
    let (dmin, minimum) =
        unsafe { (sixteen(block, 2 * LANES), sixteen(block, LINE + group * 2 * LANES + LANES)) };
    s.mul(s.neg(s.load_f16(dmin)), s.load_u8(minimum))
}

impl Quants for Q4K {
    const INPUTS: usize = GROUPS * GROUP;
    const BYTES: usize = HEAD + GROUPS * BYTES;
    const CARRY: usize = 8;
    const MINIMA: bool = true;

    fn put(block: &mut [u8], lane: usize, _first: usize, source: &Block) {
        put_head(block, lane, source);
        for (k, quant) in source.quants.iter().enumerate() {
            let group = &mut block[HEAD + k / GROUP * BYTES..];
            put_nibble(group, lane, k % GROUP, quant.cast_unsigned());
        }
    }

    fn get(block: &[u8], lane: usize, k: usize) -> f32 {
        let group = k / GROUP;
        value(block, lane, group, get_nibble(&block[HEAD + group * BYTES..], lane, k % GROUP))
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const HALF: usize>(
        s: S,
        block: *const u8,
        group: usize,
        i: usize,
    ) -> S::B {
        // SAFETY: four lines per group follow the head.
        unsafe { nibbles::<S, HALF>(s, block, HEAD + group * BYTES + i * LINE) }
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
