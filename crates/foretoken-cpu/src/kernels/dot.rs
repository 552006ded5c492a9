//! The integer tile: rows of 8-bit activations times panels of sixteen quantised outputs.
//!
//! Per group of 32 inputs: exact i32 sums of the products that share a weight scale, then
//! `acc = fma(sum as f32, weight_scale * activation_scale, acc)` and, for formats with minima,
//! `acc = fma(activation_sum, -minimum, acc)`, groups in order. Weights are stored unsigned, as the byte
//! products of the machine want them, and a sum starts at minus the offset times the sum of the
//! activations, which is exact.
//!
//! A panel is one stream of blocks in whole cache lines: a format's scales, then its weights group by
//! group. [`Quants`] says where things are; the tile is the same for every format.
//!
//! Limits: one 512-bit `vpdpbusd` per cycle on Zen 4, eight per row and group, beside about four
//! float operations; 8 rows share each load (and unpacking) of weights. Reached there: 0.7 of the `vpdpbusd`
//! rate at 64 rows of `q8_0`. At one row memory, of which 0.9 of a plain read: see `docs/kernels.md`.

use bytemuck::{Pod, Zeroable};
use foretoken_tensor::Block;

use super::fma::extent;
use crate::simd::{LANES, Simd};

/// Inputs per group of activations.
pub(crate) const GROUP: usize = 32;
/// Bytes of one step: four inputs of sixteen outputs.
pub(crate) const LINE: usize = 4 * LANES;

/// Bytes by which weights are prefetched in each stream, at least.
const AHEAD: usize = 4096;

/// Panels that are read after those of a call: their first bytes are prefetched on its last.
#[derive(Clone, Copy, Default)]
pub(crate) struct Next<'a> {
    /// From the first panel; may be empty.
    pub(crate) weights: &'a [u8],
    /// Bytes from one to the next.
    pub(crate) panel: usize,
}

/// What the products with a group of 32 activations need beside the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Group {
    /// Scale of the bytes.
    pub(crate) scale: f32,
    /// `scale * sum`, rounded.
    pub(crate) scaled_sum: f32,
    /// Sum of the bytes.
    pub(crate) sum: i32,
    /// Sum of the last 16 of them.
    pub(crate) high_sum: i32,
}

// SAFETY: four plain fields of four bytes; zeros are valid.
unsafe impl Zeroable for Group {}
// SAFETY: `repr(C)`, no padding, every bit pattern is valid.
unsafe impl Pod for Group {}

/// How a format stores the weights of a panel.
pub(crate) trait Quants {
    /// Inputs per block, a multiple of 32.
    const INPUTS: usize;
    /// Bytes per block, whole lines.
    const BYTES: usize;
    /// Sums per group: 2 if each half of a group has its scale.
    const SUMS: usize = 1;
    /// Added to every weight in storage.
    const OFFSET: i32 = 0;
    /// Products whose sum surely fits 16 signed bits, in steps: `steps * 2 * 127 * largest < 2^15`.
    const CARRY: usize;
    /// What stored bytes exceed the weights by, modulo 256.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "tiles ask for it"))]
    const EXCESS: u8 = Self::OFFSET as u8;
    /// Whether groups have minima.
    const MINIMA: bool = false;

    /// Stores a GGUF block, taken apart, as output `lane` of a block of the panel, from input `first` on.
    fn put(block: &mut [u8], lane: usize, first: usize, source: &Block);

    /// The value of input `k` and output `lane`.
    fn get(block: &[u8], lane: usize, k: usize) -> f32;

    /// The weights of steps `i` and `i + 4` of a group, `i < 4`.
    ///
    /// # Safety
    /// `block` has [`Self::BYTES`] bytes.
    unsafe fn steps<S: Simd>(s: S, block: *const u8, group: usize, i: usize) -> (S::B, S::B);

    /// Scales of a sum of a group, exactly.
    ///
    /// # Safety
    /// As [`Self::steps`].
    unsafe fn scale<S: Simd>(s: S, block: *const u8, group: usize, sum: usize) -> S::F;

    /// Minima of a group less than zero, exactly.
    ///
    /// # Safety
    /// As [`Self::steps`].
    #[inline(always)]
    unsafe fn minus_minimum<S: Simd>(s: S, _block: *const u8, _group: usize) -> S::F {
        s.splat(0.0)
    }

    /// A sum before its first product, given the sum of the activations.
    #[inline(always)]
    fn start<S: Simd>(s: S, sum: i32) -> S::P {
        s.start(-Self::OFFSET * sum)
    }

    /// Adds the products of a step.
    #[inline(always)]
    fn dot<S: Simd>(s: S, sum: S::P, weights: S::B, x: [i8; 4]) -> S::P {
        s.dot(sum, weights, x)
    }
}

/// Operands of the tile; strides count elements.
pub(crate) struct Dot<'a> {
    /// Rows of the activations and of `acc`.
    pub(crate) rows: usize,
    /// Panels of sixteen outputs.
    pub(crate) panels: usize,
    /// Blocks of [`Quants::INPUTS`] inputs.
    pub(crate) blocks: usize,
    /// `[rows][blocks * INPUTS]`, rows `x_stride` apart.
    pub(crate) x: &'a [i8],
    pub(crate) x_stride: usize,
    /// `[rows][blocks * INPUTS / 32]`, rows `x_stride / 32` apart.
    pub(crate) groups: &'a [Group],
    /// `[panels][blocks][BYTES]`, panels `panel` bytes apart.
    pub(crate) weights: &'a [u8],
    pub(crate) panel: usize,
    pub(crate) next: Next<'a>,
    /// `[rows][panels * 16]`, rows `acc_stride` apart.
    pub(crate) acc: &'a mut [f32],
    pub(crate) acc_stride: usize,
}

impl Dot<'_> {
    /// Checks the extents, on which every kernel relies.
    #[inline(always)]
    pub(super) fn check<Q: Quants>(&self) {
        let Self { rows, panels, blocks, .. } = *self;
        let inputs = blocks * Q::INPUTS;
        let groups = extent(rows, self.x_stride / GROUP, inputs / GROUP);
        assert!(extent(rows, self.x_stride, inputs) <= self.x.len(), "x holds every row");
        assert!(groups <= self.groups.len(), "so do groups");
        let weights = extent(panels, self.panel, blocks * Q::BYTES);
        assert!(weights <= self.weights.len(), "every block");
        assert!(self.acc_stride >= panels * LANES, "accumulator rows do not overlap");
        let acc = extent(rows, self.acc_stride, panels * LANES);
        assert!(acc <= self.acc.len(), "acc holds every row");
    }
}

/// Runs the tile over all rows and panels.
#[inline(always)]
pub(crate) fn dot<S: Simd, Q: Quants>(s: S, mut a: Dot<'_>) {
    if a.rows == 0 || a.blocks == 0 || a.panels == 0 {
        return;
    }
    a.check::<Q>();
    let mut panel = 0;
    while panel < a.panels {
        let wide = if a.rows == 1 { 4 } else { 1 };
        let panels = if a.panels - panel >= wide { wide } else { 1 };
        let mut row = 0;
        while row < a.rows {
            let left = a.rows - row;
            // SAFETY: the extents were checked above; each call stays within the rows and panels left.
            unsafe {
                row += if panels == 4 {
                    tile::<S, Q, 1, 4>(s, &mut a, row, panel)
                } else if left >= 8 && S::DOT_ROWS >= 8 {
                    tile::<S, Q, 8, 1>(s, &mut a, row, panel)
                } else if left >= 4 && S::DOT_ROWS >= 4 {
                    tile::<S, Q, 4, 1>(s, &mut a, row, panel)
                } else if left >= 2 && S::DOT_ROWS >= 2 {
                    tile::<S, Q, 2, 1>(s, &mut a, row, panel)
                } else {
                    tile::<S, Q, 1, 1>(s, &mut a, row, panel)
                };
            }
        }
        panel += panels;
    }
}

/// `R` rows and `P` panels in registers; returns `R`.
///
/// # Safety
/// The extents of `a` hold, `row + R <= a.rows` and `panel + P <= a.panels`.
#[inline(always)]
unsafe fn tile<S: Simd, Q: Quants, const R: usize, const P: usize>(
    s: S,
    a: &mut Dot<'_>,
    row: usize,
    panel: usize,
) -> usize {
    let stride = a.x_stride / GROUP;
    let blocks_ahead = AHEAD.div_ceil(Q::BYTES);
    // What follows these panels in memory, if more of them are to come, or else the next call's.
    let next = if panel + P < a.panels {
        (a.weights.as_ptr().wrapping_add((panel + P) * a.panel), a.panel)
    } else {
        (a.next.weights.as_ptr(), a.next.panel)
    };
    // SAFETY: every offset below is within the extents the caller vouches for; arrays of sixteen need
    // the alignment of their element only, which slices of that element have.
    unsafe {
        let mut rows = Rows {
            x: a.x.as_ptr().add(row * a.x_stride),
            x_stride: a.x_stride,
            groups: a.groups.as_ptr().add(row * stride),
            stride,
        };
        let mut block = a.weights.as_ptr().add(panel * a.panel);
        let (mut ahead, mut stride_ahead) = (block.wrapping_add(blocks_ahead * Q::BYTES), a.panel);
        let acc = a.acc.as_mut_ptr().add(row * a.acc_stride + panel * LANES);
        let mut sums = [[s.splat(0.0); R]; P];
        for (p, sums) in sums.iter_mut().enumerate() {
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = s.load(&*acc.add(r * a.acc_stride + p * LANES).cast());
            }
        }
        for at in 0..a.blocks {
            if at + blocks_ahead == a.blocks.max(blocks_ahead) {
                (ahead, stride_ahead) = next;
            }
            let groups = Q::INPUTS / GROUP;
            for g in 0..groups {
                for (p, sums) in sums.iter_mut().enumerate() {
                    let block = block.add(p * a.panel);
                    let lines = Q::BYTES / LINE;
                    for line in g * lines / groups..(g + 1) * lines / groups {
                        s.prefetch(ahead.wrapping_add(p * stride_ahead + line * LINE));
                    }
                    group::<S, Q, R>(s, sums, block, g, rows);
                }
                rows.x = rows.x.add(GROUP);
                rows.groups = rows.groups.add(1);
            }
            block = block.add(Q::BYTES);
            ahead = ahead.wrapping_add(Q::BYTES);
        }
        for (p, sums) in sums.iter().enumerate() {
            for (r, sum) in sums.iter().enumerate() {
                s.store(*sum, &mut *acc.add(r * a.acc_stride + p * LANES).cast());
            }
        }
    }
    R
}

/// One group of several rows.
#[derive(Clone, Copy)]
struct Rows {
    x: *const i8,
    x_stride: usize,
    groups: *const Group,
    stride: usize,
}

/// Adds the products of one group of a panel.
///
/// # Safety
/// `rows` has a group at each of `R` strides, and `block` is one of the format.
#[inline(always)]
unsafe fn group<S: Simd, Q: Quants, const R: usize>(
    s: S,
    sums: &mut [S::F; R],
    block: *const u8,
    g: usize,
    rows: Rows,
) {
    // SAFETY: all offsets stay within a group of 32 activations, and `block` is passed on.
    unsafe {
        let of_row = |r: usize| *rows.groups.add(r * rows.stride);
        let mut low = [Q::start(s, 0); R];
        let mut high = low;
        for r in 0..R {
            let x = of_row(r);
            if Q::SUMS == 1 {
                low[r] = Q::start(s, x.sum);
            } else {
                low[r] = Q::start(s, x.sum - x.high_sum);
                high[r] = Q::start(s, x.high_sum);
            }
        }
        for i in 0..4 {
            let (first, second) = Q::steps(s, block, g, i);
            for r in 0..R {
                let x = rows.x.add(r * rows.x_stride + 4 * i);
                low[r] = Q::dot(s, low[r], first, *x.cast());
                let other = if Q::SUMS == 1 { &mut low[r] } else { &mut high[r] };
                *other = Q::dot(s, *other, second, *x.add(16).cast());
            }
            let steps = (i + 1) * 2 / Q::SUMS;
            if steps.is_multiple_of(Q::CARRY) && i < 3 {
                for r in 0..R {
                    low[r] = s.carry(low[r]);
                    if Q::SUMS == 2 {
                        high[r] = s.carry(high[r]);
                    }
                }
            }
        }
        combine::<S, Q, R>(s, sums, &low, (block, g, 0), rows);
        if Q::SUMS == 2 {
            combine::<S, Q, R>(s, sums, &high, (block, g, 1), rows);
        }
        if Q::MINIMA {
            let minimum = Q::minus_minimum(s, block, g);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = s.fma(s.splat(of_row(r).scaled_sum), minimum, *sum);
            }
        }
    }
}

/// Adds exact sums to the results.
///
/// # Safety
/// As [`group`].
#[inline(always)]
unsafe fn combine<S: Simd, Q: Quants, const R: usize>(
    s: S,
    sums: &mut [S::F; R],
    exact: &[S::P; R],
    (block, g, sum): (*const u8, usize, usize),
    rows: Rows,
) {
    // SAFETY: passed on.
    let scale = unsafe { Q::scale(s, block, g, sum) };
    for (r, (sum, exact)) in sums.iter_mut().zip(exact).enumerate() {
        // SAFETY: passed on.
        let x_scale = unsafe { (*rows.groups.add(r * rows.stride)).scale };
        *sum = s.fma(s.to_float(s.finish(*exact)), s.mul(scale, s.splat(x_scale)), *sum);
    }
}

/// Sixteen bytes of a block, from `at`.
///
/// # Safety
/// They lie within it.
#[inline(always)]
pub(crate) unsafe fn sixteen<'a, T>(block: *const u8, at: usize) -> &'a [T; LANES] {
    // SAFETY: blocks are whole lines at the start of a line, and `at` is a multiple of sixteen.
    unsafe { &*block.add(at).cast() }
}

/// A line of a block, from `at`.
///
/// # Safety
/// It lies within it.
#[inline(always)]
pub(crate) unsafe fn line<'a>(block: *const u8, at: usize) -> &'a [u8; LINE] {
    // SAFETY: passed on; bytes need no alignment.
    unsafe { &*block.add(at).cast() }
}
