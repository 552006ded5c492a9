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
use half::f16;

use crate::simd::{LANES, Simd};

/// Steps of a cut: 32 KiB of f32 in four panels, which stay in the nearer caches while rows pass over them.
pub(super) const CUT: usize = 128;

/// A stored weight type.
pub(crate) trait Weight: Pod {
    /// What it is multiplied with.
    type Input: Pod;
}

impl Weight for f32 {
    type Input = f32;
}

impl Weight for f16 {
    type Input = f32;
}

/// How a weight is multiplied and added.
pub(crate) trait Link<S: Simd, W: Weight>: Copy {
    /// An operand in sixteen lanes.
    type Operand: Copy;
    /// The same input in every lane.
    fn splat(self, s: S, input: W::Input) -> Self::Operand;
    /// Sixteen weights.
    fn load(self, s: S, from: &[W; LANES]) -> Self::Operand;
    /// The chain with one link more.
    fn add(self, s: S, input: Self::Operand, weight: Self::Operand, chain: S::F) -> S::F;
}

/// By the level's fused multiply-add.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fused;

impl<S: Simd> Link<S, f32> for Fused {
    type Operand = S::F;

    #[inline(always)]
    fn splat(self, s: S, input: f32) -> S::F {
        s.splat(input)
    }

    #[inline(always)]
    fn load(self, s: S, from: &[f32; LANES]) -> S::F {
        s.load(from)
    }

    #[inline(always)]
    fn add(self, s: S, input: S::F, weight: S::F, chain: S::F) -> S::F {
        s.fma(input, weight, chain)
    }
}

impl<S: Simd> Link<S, f16> for Fused {
    type Operand = S::F;

    #[inline(always)]
    fn splat(self, s: S, input: f32) -> S::F {
        s.splat(input)
    }

    #[inline(always)]
    fn load(self, s: S, from: &[f16; LANES]) -> S::F {
        s.load_f16(from)
    }

    #[inline(always)]
    fn add(self, s: S, input: S::F, weight: S::F, chain: S::F) -> S::F {
        s.fma(input, weight, chain)
    }
}

/// Operands of the tile; strides count elements.
pub(crate) struct Fma<'a, W: Weight> {
    /// Rows of `x` and of `acc`.
    pub(crate) rows: usize,
    /// Panels of sixteen outputs.
    pub(crate) panels: usize,
    /// Links added to each chain.
    pub(crate) steps: usize,
    /// `[rows][steps]`, rows `x_stride` apart.
    pub(crate) x: &'a [W::Input],
    pub(crate) x_stride: usize,
    /// `[panels][steps][16]`, panels `w_panel` and steps `w_step` apart.
    pub(crate) w: &'a [W],
    pub(crate) w_panel: usize,
    pub(crate) w_step: usize,
    /// What the next call reads, laid out as `w`; its size may differ, and empty is none. It is prefetched,
    /// each block of rows its share, so that memory is busy for as long as the arithmetic is.
    pub(crate) next: &'a [W],
    /// `[rows][panels * 16]`, rows `acc_stride` apart.
    pub(crate) acc: &'a mut [f32],
    pub(crate) acc_stride: usize,
}

impl<W: Weight> Fma<'_, W> {
    /// The [`CUT`] steps from `start`, or those that are left. What they read next is the cut behind them.
    #[inline(always)]
    pub(super) fn cut(&mut self, start: usize) -> Fma<'_, W> {
        let end = self.steps.min(start + CUT);
        Fma {
            steps: end - start,
            x: &self.x[start..],
            w: &self.w[start * self.w_step..],
            next: if end < self.steps { &self.w[end * self.w_step..] } else { self.next },
            acc: &mut *self.acc,
            ..*self
        }
    }

    /// Checks that the operands have the extents that rows, panels and steps ask for; none is zero.
    #[inline(always)]
    pub(super) fn check(&self) {
        let panel = extent(self.steps, self.w_step, LANES);
        assert!(extent(self.rows, self.x_stride, self.steps) <= self.x.len(), "x holds every row");
        assert!(extent(self.panels, self.w_panel, panel) <= self.w.len(), "w holds every panel");
        let width = self.panels * LANES;
        assert!(self.acc_stride >= width, "accumulator rows do not overlap");
        assert!(extent(self.rows, self.acc_stride, width) <= self.acc.len(), "acc holds every row");
    }
}

/// Starts to load every line of `bytes`.
#[inline(always)]
pub(crate) fn prefetch<S: Simd>(s: S, bytes: &[u8]) {
    for line in bytes.chunks(64) {
        s.prefetch(line.as_ptr());
    }
}

/// One past the last element of `count` runs of `run`, `stride` apart.
pub(crate) fn extent(count: usize, stride: usize, run: usize) -> usize {
    if count == 0 { 0 } else { (count - 1) * stride + run }
}

/// Runs the tile over all rows and panels.
#[inline(always)]
pub(crate) fn fma<S: Simd, W: Weight>(s: S, a: Fma<'_, W>)
where
    Fused: Link<S, W>,
{
    fma_by(s, Fused, a);
}

/// As [`fma`], by other means.
#[inline(always)]
pub(crate) fn fma_by<S: Simd, W: Weight>(s: S, link: impl Link<S, W>, mut a: Fma<'_, W>) {
    if a.rows == 0 || a.panels == 0 {
        return;
    }
    for start in (0..a.steps).step_by(CUT) {
        rows(s, link, a.cut(start));
    }
}

/// All rows and panels.
#[inline(always)]
fn rows<S: Simd, W: Weight>(s: S, link: impl Link<S, W>, mut a: Fma<'_, W>) {
    a.check();
    let mut row = 0;
    while row < a.rows {
        let left = a.rows - row;
        // SAFETY: the extents were checked above, and each call stays within `row + R <= rows`.
        unsafe {
            row += if left >= 8 && S::FLOAT_TILE >= 8 {
                panels::<S, W, _, 8>(s, link, &mut a, row)
            } else if left >= 4 && S::FLOAT_TILE >= 4 {
                panels::<S, W, _, 4>(s, link, &mut a, row)
            } else if left >= 2 && S::FLOAT_TILE >= 2 {
                panels::<S, W, _, 2>(s, link, &mut a, row)
            } else {
                panels::<S, W, _, 1>(s, link, &mut a, row)
            };
        }
    }
}

/// All panels of `R` rows; returns `R`.
///
/// # Safety
/// The extents of `a` hold and `row + R <= a.rows`.
#[inline(always)]
unsafe fn panels<S: Simd, W: Weight, L: Link<S, W>, const R: usize>(
    s: S,
    link: L,
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
                tile::<S, W, L, R, 4>(s, link, a, row, panel)
            } else if left >= 2 && widest >= 2 {
                tile::<S, W, L, R, 2>(s, link, a, row, panel)
            } else {
                tile::<S, W, L, R, 1>(s, link, a, row, panel)
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
unsafe fn tile<S: Simd, W: Weight, L: Link<S, W>, const R: usize, const P: usize>(
    s: S,
    link: L,
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
        let step = a.w_step * R.max(8) / a.rows.max(8);
        let next = a.next.as_ptr().wrapping_add(panel * a.w_panel + row / 8 * a.steps * step);
        let mut sums = [[s.splat(0.0); P]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = s.load(&*acc.add(r * a.acc_stride + p * LANES).cast());
            }
        }
        for k in 0..a.steps {
            let mut weights = [link.load(s, &*w.add(k * a.w_step).cast()); P];
            for (p, weight) in weights.iter_mut().enumerate() {
                *weight = link.load(s, &*w.add(p * a.w_panel + k * a.w_step).cast());
                if !a.next.is_empty() {
                    s.prefetch(next.wrapping_add(p * a.w_panel + k * step).cast());
                }
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = link.splat(s, *x.add(r * a.x_stride + k));
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = link.add(s, x, weights[p], *sum);
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
