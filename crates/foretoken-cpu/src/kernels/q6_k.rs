//! `q6_k`: 256 inputs in groups of 16 six-bit values less 32, each with a signed byte as scale over one
//! f16 factor.
//!
//! A block: half a line of `[16]` factors, `[16 groups]` of `[16]` scales, half a line unused, then per 32
//! inputs four lines of nibbles as in `q4_0` and two lines of upper bit pairs: pair `i` of byte
//! `[output][k]` of line `h` belongs to input `16 h + 4 i + k`; 6.625 bits per weight.

use foretoken_tensor::Block;

use super::dot::{GROUP, LINE, Quants, line, sixteen};
use super::q4_0::{self, get_nibble, nibbles, put_nibble};
use super::q8_0::{get_scale, put_scale};
use crate::simd::{LANES, Simd};

/// The format.
pub(crate) struct Q6K;

/// Where the scales begin.
const SCALES: usize = 2 * LANES;
/// Bytes of factors and scales.
const HEAD: usize = (SCALES + 16 * LANES).next_multiple_of(LINE);
/// Bytes of 32 inputs.
const BYTES: usize = q4_0::BYTES + 2 * LINE;

/// Byte and shift of the upper bits of an input among those of its 32.
fn place(lane: usize, k: usize) -> (usize, usize) {
    (q4_0::BYTES + k / 16 * LINE + lane * 4 + k % 4, k % 16 / 4 * 2)
}

impl Quants for Q6K {
    const INPUTS: usize = 8 * GROUP;
    const BYTES: usize = HEAD + 8 * BYTES;
    const SUMS: usize = 2;
    const OFFSET: i32 = 32;
    const CARRY: usize = 2;

    fn put(block: &mut [u8], lane: usize, _first: usize, source: &Block) {
        put_scale(block, lane, 0, source.d);
        for (g, scale) in source.scales.iter().enumerate() {
            block[SCALES + g * LANES + lane] = scale.cast_unsigned();
        }
        for (k, quant) in source.quants.iter().enumerate() {
            let group = &mut block[HEAD + k / GROUP * BYTES..];
            let (quant, (byte, shift)) = ((quant + 32).cast_unsigned(), place(lane, k % GROUP));
            put_nibble(group, lane, k % GROUP, quant);
            group[byte] |= (quant >> 4) << shift;
        }
    }

    fn get(block: &[u8], lane: usize, k: usize) -> f32 {
        let group = &block[HEAD + k / GROUP * BYTES..];
        let scale = block[SCALES + k / 16 * LANES + lane].cast_signed();
        let (byte, shift) = place(lane, k % GROUP);
        let quant = get_nibble(group, lane, k % GROUP) | (group[byte] >> shift & 3) << 4;
        get_scale(block, lane, 0) * f32::from(scale) * (f32::from(quant) - 32.0)
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const HALF: usize>(
        s: S,
        block: *const u8,
        group: usize,
        i: usize,
    ) -> S::B {
        let at = HEAD + group * BYTES;
        let upper = at + q4_0::BYTES + HALF * LINE;
        // SAFETY: six lines per 32 inputs follow the head.
        let (low, high) = unsafe {
            (nibbles::<S, HALF>(s, block, at + i * LINE), s.load_bytes(line(block, upper)))
        };
        s.or_bits(low, high, 4 - 2 * i as i32, 0x30)
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(s: S, block: *const u8, group: usize, sum: usize) -> S::F {
        // SAFETY: both lie within the head.
        let (d, scale) =
            unsafe { (sixteen(block, 0), sixteen(block, SCALES + (2 * group + sum) * LANES)) };
        s.mul(s.load_f16(d), s.load_i8(scale))
    }
}
