//! The integer tile on AMX: exact sums by `TDPBSSD`, combined by AVX-512 as the specification says.
//!
//! Operands and results are those of [`dot`](super::dot), bit for bit. A product of tiles is up to 16 rows
//! times the 16 outputs of a panel over the inputs that share a weight scale (32, or 16), so every product
//! begins at zero and goes through memory to the vector units: group scales leave AMX no longer sums.
//!
//! Four products of a panel at a time, then of the next panel, so that all panels are read side by side and rows
//! stay in the first-level cache: weights are unpacked to signed bytes once for all rows, two batches before they
//! are multiplied, in a scratch of that cache; each tile of rows then has four products in flight while the
//! vector units combine the four before. A last tile of fewer rows begins earlier and its first rows are left alone.
//!
//! What is prefetched is spread over the products and their sums. The first-level cache has sixteen requests under
//! way; all prefetches of a batch at once, 34 of `q8_0`, hold up what follows them, and the time of memory and that
//! of arithmetic add up: 8 rows of `q8_0` take 1.56 times one row's time instead of 1.33, 16 rows 1.80 instead of 1.43.
//! How far ahead, from 2 to 16 KiB, matters little.
//!
//! Limits, by the manuals' figures: per product 16 cycles of `TDPBSSD` and for 16 rows 24
//! cycles of vector arithmetic (conversion, scale product, fma at two a cycle; 32 with minima), so the
//! vector units; `vpdpbusd` would need 64 cycles more instead of the 16 beside them. A tile of fewer rows costs
//! as much as a whole one, and its sums go through memory: fewer rows than a tile has are left to `vpdpbusd`.

use std::arch::x86_64::{_mm512_load_si512, _mm512_set1_epi8, _mm512_store_si512, _mm512_sub_epi8};

use super::dot::{self, Dot, GROUP, Group, LINE, Next, Quants};
use crate::amx::{Shape, TILE_ROWS, Tiles};
use crate::isa::{Amx, Avx512};
use crate::simd::{LANES, Simd};

/// Products of tiles in flight.
const BATCH: usize = 4;
/// Parts in which what lies ahead of a batch is prefetched: one per product, and one as each is combined.
const PARTS: usize = 2 * BATCH;
/// Batches by which weights are unpacked ahead.
const LATER: usize = 2;
/// Rows whose results are in registers at a time.
const REGISTER_ROWS: usize = 8;
/// Bytes by which weights are prefetched.
const AHEAD: usize = 4096;

/// What the groups of a batch bring, for every row: by product of tiles, or by group.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Weights {
    /// By group, `[steps][16 outputs][4 inputs]`, signed.
    bytes: [[u8; GROUP * LANES]; BATCH],
    /// By product.
    scales: [[f32; LANES]; BATCH],
    /// By group.
    minima: [[f32; LANES]; BATCH],
}

/// Exact sums of one batch and tile of rows: by product, `[rows][16 outputs]`.
type Sums = [[[i32; LANES]; TILE_ROWS]; BATCH];

/// Some are filled while others are used.
#[repr(C, align(64))]
struct Scratch {
    weights: [Weights; LATER + 1],
    sums: [Sums; 2],
}

/// Runs the tile over all rows and panels.
#[inline(always)]
pub(crate) fn dot<Q: Quants>(proof: Amx, a: Dot<'_>) {
    if a.rows < TILE_ROWS || a.blocks == 0 || a.panels == 0 {
        return dot::dot::<_, Q>(proof.vectors(), a);
    }
    a.check::<Q>();
    let inputs = GROUP / Q::SUMS;
    let (sums, rows, weights) = (
        Shape { rows: TILE_ROWS, bytes: 4 * LANES },
        Shape { rows: TILE_ROWS, bytes: inputs },
        Shape { rows: inputs / 4, bytes: LINE },
    );
    let shapes = [sums, sums, sums, sums, rows, rows, weights, weights];
    let tiles = Tiles::configure(proof, shapes);
    let weights = Weights {
        bytes: [[0; GROUP * LANES]; BATCH],
        scales: [[0.0; LANES]; BATCH],
        minima: [[0.0; LANES]; BATCH],
    };
    let mut scratch =
        Scratch { weights: [weights; LATER + 1], sums: [[[[0; LANES]; TILE_ROWS]; BATCH]; 2] };
    let sweep = Sweep {
        tiles: &tiles,
        x: a.x.as_ptr(),
        x_stride: a.x_stride,
        groups: a.groups.as_ptr(),
        stride: a.x_stride / GROUP,
        weights: a.weights.as_ptr(),
        panels: a.panels,
        panel: a.panel,
        next: a.next,
        count: a.blocks * Q::INPUTS / GROUP,
        acc: a.acc.as_mut_ptr(),
        acc_stride: a.acc_stride,
        rows: a.rows,
        row_tiles: a.rows.div_ceil(TILE_ROWS),
    };
    // SAFETY: the extents were checked, and the tiles are configured for the sweep.
    unsafe { sweep.run::<Q>(proof.vectors(), &mut scratch) };
}

/// All rows and panels; strides as in [`Dot`].
struct Sweep<'a> {
    tiles: &'a Tiles,
    x: *const i8,
    x_stride: usize,
    groups: *const Group,
    stride: usize,
    weights: *const u8,
    panels: usize,
    panel: usize,
    next: Next<'a>,
    /// Groups of 32 inputs.
    count: usize,
    acc: *mut f32,
    acc_stride: usize,
    rows: usize,
    row_tiles: usize,
}

/// A batch of groups of a panel, and a tile of rows.
#[derive(Clone, Copy, Default)]
struct Step {
    /// First group.
    group: usize,
    panel: usize,
    tile: usize,
}

impl Sweep<'_> {
    /// # Safety
    /// The operands have the extents, and the tiles have their shapes.
    #[inline(always)]
    unsafe fn run<Q: Quants>(&self, s: Avx512, scratch: &mut Scratch) {
        let (mut step, mut batch, mut half) = (Step::default(), 0, 0);
        let mut later = step;
        // SAFETY: passed on; steps are among the operands.
        unsafe {
            for weights in &mut scratch.weights[..LATER] {
                if later.group < self.count {
                    self.unpack::<Q>(s, later, weights);
                }
                later = self.next_batch::<Q>(later);
            }
            self.multiply::<Q>(s, step, &scratch.weights[0], &mut scratch.sums[0]);
            while step.group < self.count {
                let (next, current) = (self.after::<Q>(step), batch);
                if next.tile == 0 {
                    batch = (batch + 1) % (LATER + 1);
                }
                if next.group < self.count {
                    self.multiply::<Q>(
                        s,
                        next,
                        &scratch.weights[batch],
                        &mut scratch.sums[1 - half],
                    );
                }
                if step.tile == 0 {
                    if later.group < self.count {
                        let weights = &mut scratch.weights[(current + LATER) % (LATER + 1)];
                        self.unpack::<Q>(s, later, weights);
                    }
                    later = self.next_batch::<Q>(later);
                }
                self.combine::<Q>(s, step, &scratch.weights[current], &scratch.sums[half]);
                (step, half) = (next, 1 - half);
            }
        }
    }

    /// Tiles of rows in turn, then panels, then batches of groups: panels are read side by side.
    #[inline(always)]
    fn after<Q: Quants>(&self, step: Step) -> Step {
        let tile = step.tile + 1;
        if tile < self.row_tiles { Step { tile, ..step } } else { self.next_batch::<Q>(step) }
    }

    /// The first step that has other weights.
    #[inline(always)]
    fn next_batch<Q: Quants>(&self, Step { group, panel, .. }: Step) -> Step {
        if panel + 1 < self.panels {
            Step { group, panel: panel + 1, tile: 0 }
        } else {
            Step { group: group + BATCH / Q::SUMS, panel: 0, tile: 0 }
        }
    }

    /// Prefetches one of [`PARTS`] parts of what lies ahead of a batch, with its first tile of rows.
    #[inline(always)]
    fn prefetch<Q: Quants>(&self, s: Avx512, step: Step, part: usize) {
        if step.tile > 0 {
            return;
        }
        let per_block = Q::INPUTS / GROUP * LINE;
        let first = step.group * Q::BYTES / per_block;
        let lines = (BATCH / Q::SUMS * Q::BYTES).div_ceil(per_block);
        let ahead = self.ahead::<Q>(step.panel, first * LINE);
        for line in lines * part / PARTS..lines * (part + 1) / PARTS {
            s.prefetch(ahead.wrapping_add(line * LINE));
        }
    }

    /// Groups of a step.
    #[inline(always)]
    fn groups<Q: Quants>(&self, step: Step) -> usize {
        (self.count - step.group).min(BATCH / Q::SUMS)
    }

    /// First row of a tile.
    #[inline(always)]
    fn row(&self, tile: usize) -> usize {
        (tile * TILE_ROWS).min(self.rows - TILE_ROWS)
    }

    /// What is prefetched with the byte at `at` of a panel.
    #[inline(always)]
    fn ahead<Q: Quants>(&self, panel: usize, at: usize) -> *const u8 {
        let (at, bytes) = (at + AHEAD, self.count * GROUP / Q::INPUTS * Q::BYTES);
        if at < bytes {
            self.weights.wrapping_add(panel * self.panel + at)
        } else {
            self.next.weights.as_ptr().wrapping_add(panel * self.next.panel + at - bytes)
        }
    }

    /// Takes the weights of a batch out of their format.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn unpack<Q: Quants>(&self, s: Avx512, step: Step, to: &mut Weights) {
        let per_block = Q::INPUTS / GROUP;
        for j in 0..self.groups::<Q>(step) {
            let (block, group) = ((step.group + j) / per_block, (step.group + j) % per_block);
            // SAFETY: the panel has the block; the scratch's lines are aligned; the token proves AVX-512,
            // and a prefetch never faults.
            unsafe {
                let block = self.weights.add(step.panel * self.panel + block * Q::BYTES);
                let offset = _mm512_set1_epi8(Q::EXCESS.cast_signed());
                let at = to.bytes[j].as_mut_ptr();
                for i in 0..4 {
                    let first = Q::step::<_, 0>(s, block, group, i);
                    let second = Q::step::<_, 1>(s, block, group, i);
                    _mm512_store_si512(at.add(i * LINE).cast(), _mm512_sub_epi8(first, offset));
                    _mm512_store_si512(
                        at.add((i + 4) * LINE).cast(),
                        _mm512_sub_epi8(second, offset),
                    );
                }
                for sum in 0..Q::SUMS {
                    let scale = Q::scale(s, block, group, sum);
                    s.store(scale, &mut to.scales[j * Q::SUMS + sum]);
                }
                if Q::MINIMA {
                    s.store(Q::minus_minimum(s, block, group), &mut to.minima[j]);
                }
            }
        }
    }

    /// The products of a batch with a tile of rows.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn multiply<Q: Quants>(&self, s: Avx512, step: Step, weights: &Weights, to: &mut Sums) {
        let inputs = GROUP / Q::SUMS;
        for (product, to) in to.iter_mut().enumerate().take(self.groups::<Q>(step) * Q::SUMS) {
            self.prefetch::<Q>(s, step, product);
            // SAFETY: the rows of the tile have the inputs of each group; the tiles have these shapes.
            unsafe {
                let x = self.x.add(
                    self.row(step.tile) * self.x_stride + step.group * GROUP + product * inputs,
                );
                let weights = weights.bytes.as_ptr().cast::<u8>().add(product * inputs * LANES);
                let (x, to) = (x.cast(), to.as_mut_ptr().cast());
                match product {
                    0 => self.product::<0, 4, 6>(x, weights, to),
                    1 => self.product::<1, 5, 7>(x, weights, to),
                    2 => self.product::<2, 4, 6>(x, weights, to),
                    _ => self.product::<3, 5, 7>(x, weights, to),
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::run`], of tiles in memory.
    #[inline(always)]
    unsafe fn product<const C: usize, const A: usize, const B: usize>(
        &self,
        x: *const u8,
        weights: *const u8,
        to: *mut u8,
    ) {
        // SAFETY: passed on.
        unsafe {
            self.tiles.zero::<C>();
            self.tiles.load::<B>(weights, LINE);
            self.tiles.load::<A>(x, self.x_stride);
            self.tiles.multiply_bytes::<C, A, B>();
            self.tiles.store::<C>(to, 4 * LANES);
        }
    }

    /// Adds the sums of a step to the results.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn combine<Q: Quants>(&self, s: Avx512, step: Step, weights: &Weights, sums: &Sums) {
        let mut row = step.tile * TILE_ROWS - self.row(step.tile);
        // SAFETY: passed on; the rows stay within the tile.
        unsafe {
            while row + REGISTER_ROWS <= TILE_ROWS {
                self.combine_rows::<Q, REGISTER_ROWS>(s, (step, row), weights, sums);
                row += REGISTER_ROWS;
            }
            while row < TILE_ROWS {
                self.combine_rows::<Q, 1>(s, (step, row), weights, sums);
                row += 1;
            }
        }
    }

    /// As [`Self::combine`], for `R` rows of the tile from `row`.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn combine_rows<Q: Quants, const R: usize>(
        &self,
        s: Avx512,
        (step, row): (Step, usize),
        weights: &Weights,
        sums: &Sums,
    ) {
        // SAFETY: the rows and groups are within the extents; arrays of sixteen need the alignment of
        // their element only; the scratch's are aligned to a line.
        unsafe {
            let row_of_all = self.row(step.tile) + row;
            let acc = self.acc.add(row_of_all * self.acc_stride + step.panel * LANES);
            let groups = self.groups.add(row_of_all * self.stride + step.group);
            let mut totals = [s.splat(0.0); R];
            for (r, total) in totals.iter_mut().enumerate() {
                *total = s.load(&*acc.add(r * self.acc_stride).cast());
            }
            for j in 0..self.groups::<Q>(step) {
                let group = |r: usize| *groups.add(r * self.stride + j);
                for sum in 0..Q::SUMS {
                    let product = j * Q::SUMS + sum;
                    if row == 0 {
                        self.prefetch::<Q>(s, step, BATCH + product);
                    }
                    let scale = s.load(&weights.scales[product]);
                    for (r, total) in totals.iter_mut().enumerate() {
                        let exact = _mm512_load_si512(sums[product][row + r].as_ptr().cast());
                        let scale = s.mul(scale, s.splat(group(r).scale));
                        *total = s.fma(s.to_float(exact), scale, *total);
                    }
                }
                if Q::MINIMA {
                    let minimum = s.load(&weights.minima[j]);
                    for (r, total) in totals.iter_mut().enumerate() {
                        *total = s.fma(s.splat(group(r).scaled_sum), minimum, *total);
                    }
                }
            }
            for (r, total) in totals.iter().enumerate() {
                s.store(*total, &mut *acc.add(r * self.acc_stride).cast());
            }
        }
    }
}
