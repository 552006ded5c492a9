//! The float tile: rows times panels of sixteen outputs, accumulated by chains of fma.
//!
//! `acc[r][p * 16 + lane] = fma(x[r][k], w[p][k][lane], acc[r][p * 16 + lane])` for `k` in order.
//! One chain per (row, output) in memory order of `k` is the whole specification, so a product may be
//! cut anywhere along `k` (the accumulators are stored and read back exactly), and tile shapes never
//! show in the bits. Three operators are this tile with other strides: projections (`k` = inputs),
//! attention scores (`k` = head dimension, lanes = keys) and attention's weighted sum of values
//! (`k` = keys, lanes = head dimension).
//!
//! Limits: one 512-bit fma per cycle on Zen 4, with 8 x 2 or 4 x 4 accumulators to hide its latency
//! of 4; each weight vector loaded serves up to 8 rows, each broadcast up to 4 panels. Reached there: 0.9 of that
//! at 64 rows of f32, 0.8 of bf16; at one row the memory's bandwidth.

use bytemuck::Pod;
use half::{bf16, f16};

use crate::simd::{LANES, Simd};

/// A stored weight type.
pub(crate) trait Weight: Pod {
    /// Sixteen of them as f32, exactly.
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F;
}

impl Weight for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F {
        s.load(from)
    }
}

impl Weight for bf16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F {
        s.load_bf16(from)
    }
}

impl Weight for f16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F {
        s.load_f16(from)
    }
}

/// Operands of the tile; strides count elements.
pub(crate) struct Fma<'a, W> {
    /// Rows of `x` and of `acc`.
    pub(crate) rows: usize,
    /// Panels of sixteen outputs.
    pub(crate) panels: usize,
    /// Links added to each chain.
    pub(crate) steps: usize,
    /// `[rows][steps]`, rows `x_stride` apart.
    pub(crate) x: &'a [f32],
    pub(crate) x_stride: usize,
    /// `[panels][steps][16]`, panels `w_panel` and steps `w_step` apart.
    pub(crate) w: &'a [W],
    pub(crate) w_panel: usize,
    pub(crate) w_step: usize,
    /// Elements from the start of each panel of `w` to what the next call reads: it is prefetched, each
    /// block of rows its share, so that memory is busy for as long as the arithmetic is. 0 is none.
    pub(crate) ahead: usize,
    /// `[rows][panels * 16]`, rows `acc_stride` apart.
    pub(crate) acc: &'a mut [f32],
    pub(crate) acc_stride: usize,
}

/// One past the last element of `count` runs of `run`, `stride` apart.
pub(crate) fn extent(count: usize, stride: usize, run: usize) -> usize {
    if count == 0 { 0 } else { (count - 1) * stride + run }
}

/// Runs the tile over all rows and panels.
#[inline(always)]
pub(crate) fn fma<S: Simd, W: Weight>(s: S, mut a: Fma<'_, W>) {
    if a.rows == 0 || a.panels == 0 || a.steps == 0 {
        return;
    }
    let panel = extent(a.steps, a.w_step, LANES);
    assert!(extent(a.rows, a.x_stride, a.steps) <= a.x.len(), "x holds every row");
    assert!(extent(a.panels, a.w_panel, panel) <= a.w.len(), "w holds every panel");
    let width = a.panels * LANES;
    assert!(a.acc_stride >= width, "accumulator rows do not overlap");
    assert!(extent(a.rows, a.acc_stride, width) <= a.acc.len(), "acc holds every row");
    let mut row = 0;
    while row < a.rows {
        let left = a.rows - row;
        // SAFETY: the extents were checked above, and each call stays within `row + R <= rows`.
        unsafe {
            row += if left >= 8 && S::FLOAT_TILE >= 8 {
                panels::<S, W, 8>(s, &mut a, row)
            } else if left >= 4 && S::FLOAT_TILE >= 4 {
                panels::<S, W, 4>(s, &mut a, row)
            } else if left >= 2 && S::FLOAT_TILE >= 2 {
                panels::<S, W, 2>(s, &mut a, row)
            } else {
                panels::<S, W, 1>(s, &mut a, row)
            };
        }
    }
}

/// All panels of `R` rows; returns `R`.
///
/// # Safety
/// The extents of `a` hold and `row + R <= a.rows`.
#[inline(always)]
unsafe fn panels<S: Simd, W: Weight, const R: usize>(
    s: S,
    a: &mut Fma<'_, W>,
    row: usize,
) -> usize {
    let widest = S::FLOAT_TILE / R;
    let mut panel = 0;
    while panel < a.panels {
        let left = a.panels - panel;
        // SAFETY: passed on, and `panel + P <= a.panels`.
        unsafe {
            panel += if left >= 4 && widest >= 4 {
                tile::<S, W, R, 4>(s, a, row, panel)
            } else if left >= 2 && widest >= 2 {
                tile::<S, W, R, 2>(s, a, row, panel)
            } else {
                tile::<S, W, R, 1>(s, a, row, panel)
            };
        }
    }
    R
}

/// `R` rows by `P` panels in registers; returns `P`.
///
/// # Safety
/// The extents of `a` hold, `row + R <= a.rows` and `panel + P <= a.panels`.
#[inline(always)]
unsafe fn tile<S: Simd, W: Weight, const R: usize, const P: usize>(
    s: S,
    a: &mut Fma<'_, W>,
    row: usize,
    panel: usize,
) -> usize {
    // SAFETY: every offset below is within the extents the caller vouches for; arrays of sixteen need
    // the alignment of their element only, which slices of that element have.
    unsafe {
        let x = a.x.as_ptr().add(row * a.x_stride);
        let w = a.w.as_ptr().add(panel * a.w_panel);
        let acc = a.acc.as_mut_ptr().add(row * a.acc_stride + panel * LANES);
        let step = a.w_step * size_of::<W>() * R.max(8) / a.rows.max(8);
        let next = w.cast::<u8>().wrapping_add(a.ahead * size_of::<W>() + row / 8 * a.steps * step);
        let mut sums = [[s.splat(0.0); P]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = s.load(&*acc.add(r * a.acc_stride + p * LANES).cast());
            }
        }
        for k in 0..a.steps {
            let mut weights = [s.splat(0.0); P];
            for (p, weight) in weights.iter_mut().enumerate() {
                *weight = W::load(s, &*w.add(p * a.w_panel + k * a.w_step).cast());
                if a.ahead > 0 {
                    s.prefetch(next.wrapping_add(p * a.w_panel * size_of::<W>() + k * step));
                }
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = s.splat(*x.add(r * a.x_stride + k));
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma(x, weights[p], *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                s.store(*sum, &mut *acc.add(r * a.acc_stride + p * LANES).cast());
            }
        }
    }
    P
}
