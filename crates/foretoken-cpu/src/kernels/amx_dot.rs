//! The integer tile on AMX: exact sums by `TDPBSSD`, combined by AVX-512 as the specification says.
//!
//! Operands and results are those of [`dot`](super::dot), bit for bit. A product of tiles is up to 16 rows
//! times the 16 outputs of a panel over the inputs that share a weight scale (32, or 16), so every product
//! begins at zero and goes through memory to the vector units: group scales leave AMX no longer sums.
//!
//! Per panel, four products at a time: their weights are unpacked to signed bytes once for all rows, in a
//! scratch of the first-level cache; each tile of rows then has four products in flight while the vector
//! units combine the four before. A last tile of fewer rows begins earlier and its first rows are left alone.
//!
//! Limits, by the manuals' figures, not measured: per product 16 cycles of `TDPBSSD` and for 16 rows 24
//! cycles of vector arithmetic (conversion, scale product, fma at two a cycle; 32 with minima), so the
//! vector units; `vpdpbusd` would need 64 cycles more instead of the 16 beside them. Below [`FEW_ROWS`] it
//! keeps up with memory, and serves.

use std::arch::x86_64::{_mm512_load_si512, _mm512_set1_epi8, _mm512_store_si512, _mm512_sub_epi8};

use super::dot::{self, Dot, GROUP, Group, LINE, Quants};
use crate::amx::{Shape, TILE_ROWS, Tiles};
use crate::isa::{Amx, Avx512};
use crate::simd::{LANES, Simd};

/// Fewer rows than this are multiplied by AVX-512.
pub(crate) const FEW_ROWS: usize = 8;
/// Products of tiles in flight.
const BATCH: usize = 4;
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

/// Two of each: one is filled while the other is used.
#[repr(C, align(64))]
struct Scratch {
    weights: [Weights; 2],
    sums: [Sums; 2],
}

/// Runs the tile over all rows and panels.
#[inline(always)]
pub(crate) fn dot<Q: Quants>(proof: Amx, a: Dot<'_>) {
    if a.rows < FEW_ROWS || a.blocks == 0 || a.panels == 0 {
        return dot::dot::<_, Q>(proof.vectors(), a);
    }
    a.check::<Q>();
    let height = a.rows.min(TILE_ROWS);
    let inputs = GROUP / Q::SUMS;
    let (sums, rows, weights) = (
        Shape { rows: height, bytes: 4 * LANES },
        Shape { rows: height, bytes: inputs },
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
        Scratch { weights: [weights; 2], sums: [[[[0; LANES]; TILE_ROWS]; BATCH]; 2] };
    let (s, stride) = (proof.vectors(), a.x_stride / GROUP);
    for panel in 0..a.panels {
        // SAFETY: the extents were checked, and `panel` is one of them; the tiles are configured for it.
        unsafe {
            let panel = Panel {
                tiles: &tiles,
                x: a.x.as_ptr(),
                x_stride: a.x_stride,
                groups: a.groups.as_ptr(),
                stride,
                weights: a.weights.as_ptr().add(panel * a.panel),
                count: a.blocks * Q::INPUTS / GROUP,
                acc: a.acc.as_mut_ptr().add(panel * LANES),
                acc_stride: a.acc_stride,
                rows: a.rows,
                height,
            };
            panel.run::<Q>(s, &mut scratch);
        }
    }
}

/// One panel; strides as in [`Dot`].
struct Panel<'a> {
    tiles: &'a Tiles,
    x: *const i8,
    x_stride: usize,
    groups: *const Group,
    stride: usize,
    weights: *const u8,
    /// Groups of 32 inputs.
    count: usize,
    acc: *mut f32,
    acc_stride: usize,
    rows: usize,
    /// Rows of a tile.
    height: usize,
}

/// A batch of groups and a tile of rows.
#[derive(Clone, Copy)]
struct Step {
    /// First group and their number.
    group: usize,
    groups: usize,
    /// First row of the tile, and how many of its rows belong to the tile before.
    row: usize,
    done: usize,
}

impl Panel<'_> {
    /// # Safety
    /// The panel's extents hold and the tiles have its shapes.
    #[inline(always)]
    unsafe fn run<Q: Quants>(&self, s: Avx512, scratch: &mut Scratch) {
        let row_tiles = self.rows.div_ceil(self.height);
        let steps = self.count.div_ceil(BATCH / Q::SUMS) * row_tiles;
        // SAFETY: passed on; each step is below `steps`.
        unsafe {
            let first = self.step::<Q>(0);
            self.unpack::<Q>(s, first, &mut scratch.weights[0]);
            self.multiply::<Q>(first, &scratch.weights[0], &mut scratch.sums[0]);
            for i in 0..steps {
                let batch = |i: usize| i / row_tiles % 2;
                if i + 1 < steps {
                    let next = self.step::<Q>(i + 1);
                    let weights = &mut scratch.weights[batch(i + 1)];
                    if (i + 1).is_multiple_of(row_tiles) {
                        self.unpack::<Q>(s, next, weights);
                    }
                    self.multiply::<Q>(next, weights, &mut scratch.sums[(i + 1) % 2]);
                }
                let (weights, sums) = (&scratch.weights[batch(i)], &scratch.sums[i % 2]);
                self.combine::<Q>(s, self.step::<Q>(i), weights, sums);
            }
        }
    }

    #[inline(always)]
    fn step<Q: Quants>(&self, i: usize) -> Step {
        let row_tiles = self.rows.div_ceil(self.height);
        let (batch, tile) = (i / row_tiles, i % row_tiles);
        let group = batch * (BATCH / Q::SUMS);
        let row = (tile * self.height).min(self.rows - self.height);
        let groups = (self.count - group).min(BATCH / Q::SUMS);
        Step { group, groups, row, done: tile * self.height - row }
    }

    /// Takes the weights of a batch out of their format.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn unpack<Q: Quants>(&self, s: Avx512, step: Step, to: &mut Weights) {
        let per_block = Q::INPUTS / GROUP;
        for j in 0..step.groups {
            let (block, group) = ((step.group + j) / per_block, (step.group + j) % per_block);
            // SAFETY: the panel has the block; the scratch's lines are aligned; the token proves AVX-512,
            // and a prefetch never faults.
            unsafe {
                let block = self.weights.add(block * Q::BYTES);
                let lines = Q::BYTES / LINE;
                for line in group * lines / per_block..(group + 1) * lines / per_block {
                    s.prefetch(block.wrapping_add(AHEAD + line * LINE));
                }
                let offset = _mm512_set1_epi8(Q::EXCESS.cast_signed());
                let at = to.bytes[j].as_mut_ptr();
                for i in 0..4 {
                    let (first, second) = Q::steps(s, block, group, i);
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
    unsafe fn multiply<Q: Quants>(&self, step: Step, weights: &Weights, to: &mut Sums) {
        let inputs = GROUP / Q::SUMS;
        for (product, to) in to.iter_mut().enumerate().take(step.groups * Q::SUMS) {
            // SAFETY: the rows of the tile have the inputs of each group; the tiles have these shapes.
            unsafe {
                let x =
                    self.x.add(step.row * self.x_stride + step.group * GROUP + product * inputs);
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
        let mut row = step.done;
        // SAFETY: passed on; the rows stay within the tile.
        unsafe {
            while row + REGISTER_ROWS <= self.height {
                self.combine_rows::<Q, REGISTER_ROWS>(s, (step, row), weights, sums);
                row += REGISTER_ROWS;
            }
            while row < self.height {
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
            let acc = self.acc.add((step.row + row) * self.acc_stride);
            let groups = self.groups.add((step.row + row) * self.stride + step.group);
            let mut totals = [s.splat(0.0); R];
            for (r, total) in totals.iter_mut().enumerate() {
                *total = s.load(&*acc.add(r * self.acc_stride).cast());
            }
            for j in 0..step.groups {
                let group = |r: usize| *groups.add(r * self.stride + j);
                for sum in 0..Q::SUMS {
                    let product = j * Q::SUMS + sum;
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
