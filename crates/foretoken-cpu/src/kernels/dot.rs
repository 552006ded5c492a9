//! The integer tile: rows of 8-bit activations times one panel of sixteen quantised outputs.
//!
//! Per group of 32 inputs: an exact i32 sum of the 32 products, then
//! `acc = fma(sum as f32, weight_scale * activation_scale, acc)`, groups in order. Weights are stored
//! unsigned, as the byte products of the machine want them, and the sum starts at minus the offset
//! times the sum of the activations, which is exact.
//!
//! Limits: one 512-bit `vpdpbusd` per cycle on Zen 4, eight per row and group, beside about three
//! float operations; 8 rows share each load (and unpacking) of 64 bytes of weights. Reached there: 0.7 of the
//! `vpdpbusd` rate at 64 rows; at one row 0.8 of a plain read of memory.

use half::f16;

use super::fma::extent;
use crate::simd::{LANES, Simd};

/// Inputs per group.
pub(crate) const GROUP: usize = 32;
/// Steps of four inputs per group.
pub(crate) const STEPS: usize = GROUP / 4;

/// Bytes by which weights are prefetched. One stream per thread is all there is to read, too few for the
/// hardware to keep memory busy; panels follow one another, so it is the next one's weights at the end.
const AHEAD: usize = 8192;

/// How a format stores the 32 x 16 weights of a group.
pub(crate) trait Quants {
    /// Bytes per group.
    const BYTES: usize;
    /// Added to every weight.
    const OFFSET: i32;

    /// Adds the products of one group for `R` rows: `x` points to row 0's activations.
    ///
    /// # Safety
    /// `x` has 32 values at each of `R` strides.
    unsafe fn group<S: Simd, const R: usize>(
        s: S,
        sums: &mut [S::I; R],
        bytes: &[u8],
        x: *const i8,
        stride: usize,
    );
}

/// Operands of the tile; strides count elements.
pub(crate) struct Dot<'a> {
    /// Rows of the activations and of `acc`.
    pub(crate) rows: usize,
    /// Groups of 32 inputs.
    pub(crate) groups: usize,
    /// `[rows][groups * 32]`, rows `x_stride` apart.
    pub(crate) x: &'a [i8],
    pub(crate) x_stride: usize,
    /// `[rows][groups]`, rows `x_stride / 32` apart: activation scales.
    pub(crate) x_scale: &'a [f32],
    /// As `x_scale`: sums of the group's activations.
    pub(crate) x_sum: &'a [i32],
    /// `[groups][16]`: weight scales.
    pub(crate) scales: &'a [f16],
    /// `[groups][Quants::BYTES]`.
    pub(crate) quants: &'a [u8],
    /// `[rows][16]`, rows `acc_stride` apart.
    pub(crate) acc: &'a mut [f32],
    pub(crate) acc_stride: usize,
}

/// Runs the tile over all rows.
#[inline(always)]
pub(crate) fn dot<S: Simd, Q: Quants>(s: S, mut a: Dot<'_>) {
    if a.rows == 0 || a.groups == 0 {
        return;
    }
    assert!(extent(a.rows, a.x_stride, a.groups * GROUP) <= a.x.len(), "x holds every row");
    let per_row = extent(a.rows, a.x_stride / GROUP, a.groups);
    assert!(per_row <= a.x_scale.len() && per_row <= a.x_sum.len(), "one scale and sum per group");
    assert!(a.groups * LANES <= a.scales.len(), "one scale per group and output");
    assert!(a.groups * Q::BYTES <= a.quants.len(), "weights of every group");
    assert!(a.acc_stride >= LANES, "accumulator rows do not overlap");
    assert!(extent(a.rows, a.acc_stride, LANES) <= a.acc.len(), "acc holds every row");
    let mut row = 0;
    while row < a.rows {
        let left = a.rows - row;
        // SAFETY: the extents were checked above, and each call stays within `row + R <= rows`.
        unsafe {
            row += if left >= 8 && S::DOT_ROWS >= 8 {
                tile::<S, Q, 8>(s, &mut a, row)
            } else if left >= 4 && S::DOT_ROWS >= 4 {
                tile::<S, Q, 4>(s, &mut a, row)
            } else if left >= 2 && S::DOT_ROWS >= 2 {
                tile::<S, Q, 2>(s, &mut a, row)
            } else {
                tile::<S, Q, 1>(s, &mut a, row)
            };
        }
    }
}

/// `R` rows in registers; returns `R`.
///
/// # Safety
/// The extents of `a` hold and `row + R <= a.rows`.
#[inline(always)]
unsafe fn tile<S: Simd, Q: Quants, const R: usize>(s: S, a: &mut Dot<'_>, row: usize) -> usize {
    let stride = a.x_stride / GROUP;
    // SAFETY: every offset below is within the extents the caller vouches for; arrays of sixteen need
    // the alignment of their element only, which slices of that element have.
    unsafe {
        let x = a.x.as_ptr().add(row * a.x_stride);
        let x_scale = a.x_scale.as_ptr().add(row * stride);
        let x_sum = a.x_sum.as_ptr().add(row * stride);
        let acc = a.acc.as_mut_ptr().add(row * a.acc_stride);
        let mut sums = [s.splat(0.0); R];
        for (r, sum) in sums.iter_mut().enumerate() {
            *sum = s.load(&*acc.add(r * a.acc_stride).cast());
        }
        for g in 0..a.groups {
            let mut exact = [s.splat_i32(0); R];
            for (r, exact) in exact.iter_mut().enumerate() {
                *exact = s.splat_i32(-Q::OFFSET * *x_sum.add(r * stride + g));
            }
            let bytes = std::slice::from_raw_parts(a.quants.as_ptr().add(g * Q::BYTES), Q::BYTES);
            for line in (0..Q::BYTES).step_by(4 * LANES) {
                s.prefetch(bytes.as_ptr().wrapping_add(AHEAD + line));
            }
            Q::group(s, &mut exact, bytes, x.add(g * GROUP), a.x_stride);
            let scale = s.load_f16(&*a.scales.as_ptr().add(g * LANES).cast());
            for (r, sum) in sums.iter_mut().enumerate() {
                let scale = s.mul(scale, s.splat(*x_scale.add(r * stride + g)));
                *sum = s.fma(s.to_float(exact[r]), scale, *sum);
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            s.store(*sum, &mut *acc.add(r * a.acc_stride).cast());
        }
    }
    R
}
