//! `q8_0`: groups of 32 signed bytes with one f16 scale per output, stored with 128 added.
//!
//! A group of a panel is 8 steps of `[16 outputs][4 inputs]` bytes, 512 in all, the order in which
//! `vpdpbusd` takes them; 8.5 bits per weight with the scales.

use super::dot::{GROUP, Quants, STEPS};
use crate::simd::{LANES, Simd};

/// The format.
pub(crate) struct Q8_0;

/// Where input `k` of output `lane` lies in a group.
pub(crate) fn index(lane: usize, k: usize) -> usize {
    k / 4 * (4 * LANES) + lane * 4 + k % 4
}

/// Stores a GGUF block's 32 bytes as output `lane` of a group.
pub(crate) fn put(group: &mut [u8], lane: usize, quants: &[u8]) {
    for (k, quant) in quants.iter().enumerate() {
        group[index(lane, k)] = quant ^ 0x80;
    }
}

/// The weight of input `k` and output `lane`.
pub(crate) fn get(group: &[u8], lane: usize, k: usize) -> i32 {
    i32::from(group[index(lane, k)]) - Q8_0::OFFSET
}

impl Quants for Q8_0 {
    const BYTES: usize = GROUP * LANES;
    const OFFSET: i32 = 128;

    #[inline(always)]
    unsafe fn group<S: Simd, const R: usize>(
        s: S,
        sums: &mut [S::I; R],
        bytes: &[u8],
        x: *const i8,
        stride: usize,
    ) {
        debug_assert_eq!(bytes.len(), Self::BYTES, "one group");
        for step in 0..STEPS {
            // SAFETY: eight steps of 64 bytes are the group; `x` has 32 values per row.
            unsafe {
                let weights = s.load_bytes(&*bytes.as_ptr().add(step * 4 * LANES).cast());
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = s.dot(*sum, weights, *x.add(r * stride + 4 * step).cast());
                }
            }
        }
    }
}
