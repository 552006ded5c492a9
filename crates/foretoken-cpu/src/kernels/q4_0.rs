//! `q4_0`: groups of 32 nibbles less 8 with one f16 scale per output.
//!
//! A group of a panel is 4 times 64 bytes `[16 outputs][4 inputs]`: the low nibbles of part `i` are
//! the inputs `4 i ..`, the high ones the inputs `16 + 4 i ..`; 4.5 bits per weight with the scales.

use super::dot::{GROUP, Quants};
use crate::simd::{LANES, Simd};

/// The format.
pub(crate) struct Q4_0;

/// Byte and shift of input `k` of output `lane` in a group.
fn place(lane: usize, k: usize) -> (usize, u32) {
    let (half, k) = (k / 16, k % 16);
    (k / 4 * (4 * LANES) + lane * 4 + k % 4, 4 * half as u32)
}

/// Stores a GGUF block's 16 bytes (byte `j`: inputs `j` and `j + 16`) as output `lane` of a group.
pub(crate) fn put(group: &mut [u8], lane: usize, quants: &[u8]) {
    for (k, quant) in quants.iter().enumerate() {
        group[place(lane, k).0] = *quant;
    }
}

/// The weight of input `k` and output `lane`.
pub(crate) fn get(group: &[u8], lane: usize, k: usize) -> i32 {
    let (byte, shift) = place(lane, k);
    i32::from(group[byte] >> shift & 15) - Q4_0::OFFSET
}

impl Quants for Q4_0 {
    const BYTES: usize = GROUP * LANES / 2;
    const OFFSET: i32 = 8;

    #[inline(always)]
    unsafe fn group<S: Simd, const R: usize>(
        s: S,
        sums: &mut [S::I; R],
        bytes: &[u8],
        x: *const i8,
        stride: usize,
    ) {
        debug_assert_eq!(bytes.len(), Self::BYTES, "one group");
        for part in 0..4 {
            // SAFETY: four parts of 64 bytes are the group; `x` has 32 values per row.
            unsafe {
                let (low, high) = s.load_nibbles(&*bytes.as_ptr().add(part * 4 * LANES).cast());
                for (r, sum) in sums.iter_mut().enumerate() {
                    let x = x.add(r * stride + 4 * part);
                    *sum = s.dot(*sum, low, *x.cast());
                    *sum = s.dot(*sum, high, *x.add(16).cast());
                }
            }
        }
    }
}
