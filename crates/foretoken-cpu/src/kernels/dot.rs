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
//! A group of all rows and panels is multiplied before the next, in tiles that fit the registers; the results stay
//! in the first-level cache. So the panels of a unit are read side by side, once, whatever the number of rows, and
//! every tile prefetches a share of what is read later: memory is asked for lines all the time. Tile by tile over
//! whole panels, memory waited while the second tile was multiplied, and 16 rows took 2.1 instead of 1.3 times
//! one row's time.
//!
//! Limits: at one row memory, of which more is reached than by a plain read. From about 16 rows of `q8_0` and 8 of
//! the smaller formats arithmetic: eight `vpdpbusd` and three float operations per row, panel and group,
//! of which Emerald Rapids does two a cycle and Zen 4 one. A tile of 6 rows and 4 panels has 24 sums on their way, where
//! 12 hide the latency of `vpdpbusd` and 8 do not, and loads 10 operands for 24 products. Reached at 64 rows of
//! `q8_0`: two thirds of two a cycle. See `docs/kernels.md`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use foretoken_tensor::Block;

use super::fma::extent;
use crate::simd::{LANES, Simd};

/// Inputs per group of activations.
pub(crate) const GROUP: usize = 32;
/// Bytes of one step: four inputs of sixteen outputs.
pub(crate) const LINE: usize = 4 * LANES;

/// Steps of a group.
const STEPS: usize = GROUP / 4;
/// Panels that a tile may have.
const PANELS: usize = 4;
/// Bytes by which weights are prefetched in each panel, at least.
const AHEAD: usize = 2048;

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

impl Group {
    /// Sums of the halves, or of both in one.
    #[inline(always)]
    fn sums(self, count: usize) -> [i32; 2] {
        if count == 1 { [self.sum, 0] } else { [self.sum - self.high_sum, self.high_sum] }
    }
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

    /// The weights of step `i`, below 4, of a half of a group, inputs `16 HALF + 4 i ..`.
    ///
    /// # Safety
    /// `block` has [`Self::BYTES`] bytes.
    unsafe fn step<S: Simd, const HALF: usize>(
        s: S,
        block: *const u8,
        group: usize,
        i: usize,
    ) -> S::B;

    /// Scales of a sum of a group, exactly.
    ///
    /// # Safety
    /// As [`Self::step`].
    unsafe fn scale<S: Simd>(s: S, block: *const u8, group: usize, sum: usize) -> S::F;

    /// Minima of a group less than zero, exactly.
    ///
    /// # Safety
    /// As [`Self::step`].
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
pub(crate) fn dot<S: Simd, Q: Quants>(s: S, a: Dot<'_>) {
    if a.rows == 0 || a.blocks == 0 || a.panels == 0 {
        return;
    }
    a.check::<Q>();
    let (rows, panels, blocks) = (a.rows, a.panels, a.blocks);
    let width = if rows == 1 || S::DOT_PANELS == PANELS { PANELS } else { 1 };
    let tiles = rows.div_ceil(S::DOT_ROWS) * (panels / width + panels % width);
    let mut sweep = Sweep { a, block: 0, group: 0, share: panels.div_ceil(tiles) };
    for block in 0..blocks {
        for group in 0..Q::INPUTS / GROUP {
            (sweep.block, sweep.group) = (block, group);
            // SAFETY: the extents were checked above.
            unsafe { sweep.tiles::<S, Q>(s, (rows, panels), width) };
        }
    }
}

/// A sweep over the weights, at one group of inputs.
struct Sweep<'a> {
    a: Dot<'a>,
    /// The block,
    block: usize,
    /// and the group in it.
    group: usize,
    /// Panels of the group ahead that each tile prefetches.
    share: usize,
}

impl Sweep<'_> {
    /// The group of all rows and panels, in tiles of `width` panels.
    ///
    /// # Safety
    /// The operands have so many rows and panels.
    #[inline(always)]
    unsafe fn tiles<S: Simd, Q: Quants>(
        &mut self,
        s: S,
        (rows, panels): (usize, usize),
        width: usize,
    ) {
        let (mut panel, mut ahead) = (0, 0);
        while panel < panels {
            let wide = width == PANELS && panels - panel >= PANELS;
            let mut row = 0;
            while row < rows {
                let left = rows - row;
                let height = left.div_ceil(left.div_ceil(S::DOT_ROWS));
                let fetched = ahead..panels.min(ahead + self.share);
                // SAFETY: these rows and panels are left.
                unsafe {
                    if wide {
                        self.rows::<S, Q, PANELS>(s, (row, panel), height, fetched);
                    } else {
                        self.rows::<S, Q, 1>(s, (row, panel), height, fetched);
                    }
                }
                ahead += self.share;
                row += height;
            }
            panel += if wide { PANELS } else { 1 };
        }
    }

    /// The [`tile`](Self::tile) of `height` rows, at most [`Simd::DOT_ROWS`].
    ///
    /// # Safety
    /// As of a tile.
    #[inline(always)]
    unsafe fn rows<S: Simd, Q: Quants, const P: usize>(
        &mut self,
        s: S,
        at: (usize, usize),
        height: usize,
        fetched: Range<usize>,
    ) {
        // SAFETY: passed on.
        unsafe {
            match height {
                6 if S::DOT_ROWS >= 6 => self.tile::<S, Q, 6, P>(s, at, fetched),
                5 if S::DOT_ROWS >= 5 => self.tile::<S, Q, 5, P>(s, at, fetched),
                4 if S::DOT_ROWS >= 4 => self.tile::<S, Q, 4, P>(s, at, fetched),
                3 if S::DOT_ROWS >= 3 => self.tile::<S, Q, 3, P>(s, at, fetched),
                2 if S::DOT_ROWS >= 2 => self.tile::<S, Q, 2, P>(s, at, fetched),
                _ => self.tile::<S, Q, 1, P>(s, at, fetched),
            }
        }
    }

    /// `R` rows and `P` panels; meanwhile the group ahead is prefetched in the panels `fetched`.
    ///
    /// # Safety
    /// The operands have `R` rows from `row` and `P` panels from `panel`.
    #[inline(always)]
    unsafe fn tile<S: Simd, Q: Quants, const R: usize, const P: usize>(
        &mut self,
        s: S,
        (row, panel): (usize, usize),
        fetched: Range<usize>,
    ) {
        // SAFETY: the offsets stay within the group of the rows and panels; arrays of sixteen need the
        // alignment of their element only, which slices of that element have.
        unsafe {
            let (stride, acc_stride) = (self.a.x_stride / GROUP, self.a.acc_stride);
            let first = row * stride + self.block * (Q::INPUTS / GROUP) + self.group;
            let rows = (self.a.x.as_ptr().add(first * GROUP), self.a.groups.as_ptr().add(first));
            let block = panel * self.a.panel + self.block * Q::BYTES;
            let block = self.a.weights.as_ptr().add(block);
            let acc = self.a.acc.as_mut_ptr().add(row * acc_stride + panel * LANES);
            if R == 1 {
                for panel in fetched.clone() {
                    self.prefetch::<S, Q>(s, panel..panel + 1, 0..lines::<Q>());
                }
            } else {
                self.prefetch::<S, Q>(s, fetched.clone(), STEPS..lines::<Q>());
            }
            for sum in 0..Q::SUMS {
                let exact = self.sums::<S, Q, R, P>(s, rows, block, (sum, &fetched));
                for p in 0..P {
                    let scale = Q::scale(s, block.add(p * self.a.panel), self.group, sum);
                    for (r, exact) in exact.iter().enumerate() {
                        let acc = &mut *acc.add(r * acc_stride + p * LANES).cast();
                        let scale = s.mul(scale, s.splat((*rows.1.add(r * stride)).scale));
                        s.store(s.fma(s.to_float(exact[p]), scale, s.load(acc)), acc);
                    }
                }
            }
            if Q::MINIMA {
                for p in 0..P {
                    let minimum = Q::minus_minimum(s, block.add(p * self.a.panel), self.group);
                    for r in 0..R {
                        let acc = &mut *acc.add(r * acc_stride + p * LANES).cast();
                        let sum = s.splat((*rows.1.add(r * stride)).scaled_sum);
                        s.store(s.fma(sum, minimum, s.load(acc)), acc);
                    }
                }
            }
        }
    }

    /// The exact sums of a tile that share a weight scale: `sum` of [`Quants::SUMS`].
    ///
    /// # Safety
    /// As [`Self::tile`], for its rows and block.
    #[inline(always)]
    unsafe fn sums<S: Simd, Q: Quants, const R: usize, const P: usize>(
        &self,
        s: S,
        (x, groups): (*const i8, *const Group),
        block: *const u8,
        (sum, fetched): (usize, &Range<usize>),
    ) -> [[S::I; P]; R] {
        let mut sums = [[Q::start(s, 0); P]; R];
        // SAFETY: passed on.
        unsafe {
            for (r, sums) in sums.iter_mut().enumerate() {
                let group = *groups.add(r * self.a.x_stride / GROUP);
                *sums = [Q::start(s, group.sums(Q::SUMS)[sum]); P];
            }
            if Q::SUMS == 1 || sum == 0 {
                self.half::<S, Q, R, P, 0>(s, &mut sums, (x, block), fetched);
            }
            if Q::SUMS == 1 || sum == 1 {
                self.half::<S, Q, R, P, 1>(s, &mut sums, (x, block), fetched);
            }
        }
        let mut exact = [[s.splat_i32(0); P]; R];
        for (exact, sum) in exact.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            *exact = s.finish(*sum);
        }
        exact
    }

    /// Adds the products of half a group.
    ///
    /// # Safety
    /// As [`Self::sums`].
    #[inline(always)]
    unsafe fn half<S: Simd, Q: Quants, const R: usize, const P: usize, const HALF: usize>(
        &self,
        s: S,
        sums: &mut [[S::P; P]; R],
        (x, block): (*const i8, *const u8),
        fetched: &Range<usize>,
    ) {
        for i in 0..STEPS / 2 {
            let step = STEPS / 2 * HALF + i;
            if R > 1 {
                self.prefetch::<S, Q>(s, fetched.clone(), step..lines::<Q>().min(step + 1));
            }
            // SAFETY: passed on.
            unsafe {
                let mut weights = [Q::step::<S, HALF>(s, block, self.group, i); P];
                for (p, weights) in weights.iter_mut().enumerate() {
                    let block = block.add(p * self.a.panel);
                    *weights = Q::step::<S, HALF>(s, block, self.group, i);
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = *x.add(r * self.a.x_stride + 4 * step).cast();
                    for (sum, weights) in sums.iter_mut().zip(&weights) {
                        *sum = Q::dot(s, *sum, *weights, x);
                    }
                }
            }
            let last = STEPS / Q::SUMS * (HALF + 1).min(Q::SUMS) - 1;
            if (step + 1).is_multiple_of(Q::CARRY) && step < last {
                for sum in sums.as_flattened_mut() {
                    *sum = s.carry(*sum);
                }
            }
        }
    }

    /// Prefetches lines of the group ahead in some panels.
    #[inline(always)]
    fn prefetch<S: Simd, Q: Quants>(&self, s: S, panels: Range<usize>, lines: Range<usize>) {
        let block = self.block + AHEAD.div_ceil(Q::BYTES);
        let (weights, stride, block) = if block < self.a.blocks {
            (self.a.weights, self.a.panel, block)
        } else {
            (self.a.next.weights, self.a.next.panel, block - self.a.blocks)
        };
        let first = self.group * (Q::BYTES / LINE) / (Q::INPUTS / GROUP);
        for line in lines {
            let at = weights.as_ptr().wrapping_add(block * Q::BYTES + (first + line) * LINE);
            for panel in panels.clone() {
                s.prefetch_near(at.wrapping_add(panel * stride));
            }
        }
    }
}

/// Lines of a group, rounded up.
const fn lines<Q: Quants>() -> usize {
    (Q::BYTES / LINE).div_ceil(Q::INPUTS / GROUP)
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
