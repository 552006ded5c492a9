//! Products with bfloat16 weights on AMX, by `TDPBF16PS`; and those of training.
//!
//! Operands are those of [`fma`](super::fma) for pairs, whose panels are tiles as they lie: 16 pairs of inputs
//! by 16 outputs. An output is a sum of `arithmetic::add_block` over blocks of 32 inputs in order, whatever the
//! number of rows and a row's place among them, and may be cut between blocks. The chain of the other levels is
//! another order, so no number of rows is left to them: one and two rows are multiplied by
//! [`pair_blocks`](super::pair_blocks), which sums as tiles do.
//!
//! Accumulators stay in tiles over all inputs, of more than 32 rows over a cut of them: up to two tiles of rows
//! by two panels. Tiles of rows have one height; where it does not divide the rows, the second tile begins before
//! the first ends: both are loaded before either is stored, so what they share is written twice with the same
//! bits. Inputs behind the last whole block are a sweep of their own with tiles of that many, since what lies
//! behind a row is not to be read. The first tiles of rows prefetch the weights for all.
//!
//! Limits, by the manuals' figures: 16 cycles per product of whole tiles, 512 products of
//! inputs a cycle where one `vdpbf16ps` has 32; a block of two by two takes 64 cycles and loads four tiles in
//! 32. Sixteen rows read weights at 64 bytes a cycle and 64 rows at 16, more than memory gives; yet a pass of 64 took
//! 2.23 times one of one row, see "AMX" in `docs/kernels.md`. Up to 16 rows are limited by memory: alone, two panels
//! side by side read 0.93 to 0.98 of what vector loads do from memory, and as much from the last-level cache.

use std::ops::Range;

use foretoken_tensor::arithmetic::PAIR_BLOCK;

use super::fma::{CUT, Fma, extent};
use super::gemm::{Start, Tile};
use super::pair_blocks::{self, FEW_ROWS};
use super::pairs::Pair;
use crate::amx::{Shape, TILE_ROW, TILE_ROWS, Tiles};
use crate::isa::Amx;
use crate::simd::{LANES, Simd};

/// Steps of a block.
const BLOCK: usize = PAIR_BLOCK / 2;
/// Steps by which weights are prefetched: 2 KiB.
const AHEAD: usize = 32;
/// The most rows that pass over the weights once; more do so cut by cut.
const ONE_PASS: usize = 2 * TILE_ROWS;
const _: () = assert!(CUT.is_multiple_of(BLOCK), "a cut leaves blocks whole");
/// Rows whose sums in a partial panel are put aside at once.
const EDGE_ROWS: usize = 32;

/// Operands, checked, of [`Fma`] or [`Tile`]; strides count elements.
struct Operands {
    rows: usize,
    panels: usize,
    steps: usize,
    x: *const u32,
    x_stride: usize,
    w: *const Pair,
    w_panel: usize,
    w_step: usize,
    start: Start,
    acc: *mut f32,
    acc_stride: usize,
}

/// Runs the tile over all rows and panels.
#[inline(always)]
pub(crate) fn fma(proof: Amx, mut a: Fma<'_, Pair>) {
    if a.rows <= FEW_ROWS {
        return pair_blocks::fma(proof.vectors(), a);
    }
    if a.panels == 0 || a.steps == 0 {
        return;
    }
    if a.rows <= ONE_PASS {
        return sweep(proof, a);
    }
    for start in (0..a.steps).step_by(CUT) {
        sweep(proof, a.cut(start));
    }
}

/// As [`fma`], all steps at once; there are some, as there are rows and panels. What is read next lies behind them
/// and is prefetched as they are, so the operands' `next` is not asked.
#[inline(always)]
fn sweep(proof: Amx, a: Fma<'_, Pair>) {
    a.check();
    let Fma { rows, panels, steps, x, x_stride, w, w_panel, w_step, acc, acc_stride, .. } = a;
    let operands = Operands {
        rows,
        panels,
        steps,
        x: x.as_ptr(),
        x_stride,
        w: w.as_ptr(),
        w_panel,
        w_step,
        start: Start::Out,
        acc: acc.as_mut_ptr(),
        acc_stride,
    };
    // SAFETY: the extents were checked.
    unsafe { operands.run(proof) }
}

/// The tile of training's products, whose left factor lies in rows. A last panel that is partial has its sums
/// beside the output meanwhile.
#[inline(always)]
pub(crate) fn gemm(proof: Amx, mut a: Tile<'_, Pair>) {
    let (rows, columns) = (a.out.rows(), a.out.columns());
    if rows == 0 || columns == 0 || a.steps == 0 {
        return;
    }
    assert!(a.a_step == 1 && a.a_group == LANES * a.a_row, "the left factor lies in rows");
    assert!(extent(rows, a.a_row, a.steps) <= a.a.len(), "a holds every row");
    let panels = columns.div_ceil(LANES);
    assert!(extent(panels, a.b_panel, a.steps * LANES) <= a.b.len(), "b holds every panel");
    let (whole, (acc, acc_stride)) = (columns / LANES, a.out.as_mut_ptr());
    let operands = Operands {
        rows,
        panels: whole,
        steps: a.steps,
        x: a.a.as_ptr(),
        x_stride: a.a_row,
        w: a.b.as_ptr(),
        w_panel: a.b_panel,
        w_step: LANES,
        start: a.start,
        acc,
        acc_stride,
    };
    if whole > 0 {
        // SAFETY: the extents were checked, and `out` is held exclusively.
        unsafe { operands.run(proof) }
    }
    if whole == panels {
        return;
    }
    let first = whole * LANES;
    for row in (0..rows).step_by(EDGE_ROWS) {
        let rows = row..rows.min(row + EDGE_ROWS);
        let mut sums = [[0.0; LANES]; EDGE_ROWS];
        for (sums, row) in sums.iter_mut().zip(rows.clone()) {
            sums[..columns - first].copy_from_slice(&a.out.row(row)[first..]);
        }
        let operands = Operands {
            rows: rows.len(),
            panels: 1,
            x: operands.x.wrapping_add(row * a.a_row),
            w: operands.w.wrapping_add(whole * a.b_panel),
            acc: sums.as_mut_ptr().cast(),
            acc_stride: LANES,
            ..operands
        };
        // SAFETY: as above; the sums are those of the rows.
        unsafe { operands.run(proof) }
        for (sums, row) in sums.iter().zip(rows) {
            a.out.row_mut(row)[first..].copy_from_slice(&sums[..columns - first]);
        }
    }
}

impl Operands {
    /// Whole blocks, then what is behind them.
    ///
    /// # Safety
    /// The operands have the extents that rows, panels and steps ask for, none is zero, and nobody else uses
    /// the accumulators.
    #[inline(always)]
    unsafe fn run(&self, proof: Amx) {
        let whole = self.steps / BLOCK * BLOCK;
        // SAFETY: passed on.
        unsafe {
            if whole > 0 {
                Sweep::new(proof, self.rows, 0..whole, BLOCK).run(self);
            }
            if whole < self.steps {
                Sweep::new(proof, self.rows, whole..self.steps, self.steps - whole).run(self);
            }
        }
    }
}

/// Some blocks of all rows and panels.
struct Sweep {
    proof: Amx,
    /// 0 to 3 for sums, 4 and 5 for rows, 6 and 7 for weights.
    tiles: Tiles,
    /// Tiles that the rows fill, and the rows of each.
    row_tiles: usize,
    height: usize,
    /// A multiple of `block`, the steps of a product.
    steps: Range<usize>,
    block: usize,
}

impl Sweep {
    #[inline(always)]
    fn new(proof: Amx, rows: usize, steps: Range<usize>, block: usize) -> Self {
        let row_tiles = rows.div_ceil(TILE_ROWS);
        let height = rows.div_ceil(row_tiles);
        let (sums, inputs, weights) = (
            Shape { rows: height, bytes: TILE_ROW },
            Shape { rows: height, bytes: block * size_of::<Pair>() },
            Shape { rows: block, bytes: TILE_ROW },
        );
        let shapes = [sums, sums, sums, sums, inputs, inputs, weights, weights];
        Self { proof, tiles: Tiles::configure(proof, shapes), row_tiles, height, steps, block }
    }

    /// The first row of a tile.
    #[inline(always)]
    fn row(&self, tile: usize, rows: usize) -> usize {
        if tile == 0 { 0 } else { rows - (self.row_tiles - tile) * self.height }
    }

    /// # Safety
    /// As [`Operands::run`].
    #[inline(always)]
    unsafe fn run(&self, a: &Operands) {
        for panel in (0..a.panels).step_by(2) {
            for tile in (0..self.row_tiles).step_by(2) {
                let at = (tile, panel);
                // SAFETY: passed on; these tiles of rows and panels are among the operands'.
                unsafe {
                    match (self.row_tiles - tile, a.panels - panel) {
                        (1, 1) => self.add::<1, 1>(a, at),
                        (1, _) => self.add::<1, 2>(a, at),
                        (_, 1) => self.add::<2, 1>(a, at),
                        _ => self.add::<2, 2>(a, at),
                    }
                }
            }
        }
    }

    /// Adds the blocks of `R` tiles of rows and `P` panels to their accumulators.
    ///
    /// # Safety
    /// The extents of `a` hold, and `R` tiles of rows and `P` panels from the given ones are among them.
    #[inline(always)]
    unsafe fn add<const R: usize, const P: usize>(
        &self,
        a: &Operands,
        (tile, panel): (usize, usize),
    ) {
        let rows = [tile, tile + R - 1].map(|tile| self.row(tile, a.rows));
        let x = rows.map(|row| a.x.wrapping_add(row * a.x_stride));
        let w = [panel, panel + P - 1].map(|panel| a.w.wrapping_add(panel * a.w_panel));
        let sums = rows.map(|row| a.acc.wrapping_add(row * a.acc_stride + panel * LANES));
        let strides = [a.x_stride, a.w_step].map(|stride| stride * size_of::<Pair>());
        // SAFETY: passed on; blocks lie within the steps.
        unsafe {
            if a.start == Start::Zero && self.steps.start == 0 {
                self.zero();
            } else {
                self.load::<R, P>(sums, a.acc_stride);
            }
            for k in self.steps.clone().step_by(self.block) {
                if tile == 0 {
                    for line in k + AHEAD..k + AHEAD + BLOCK {
                        for w in &w[..P] {
                            let at = w.wrapping_add(line * a.w_step);
                            self.proof.vectors().prefetch(at.cast());
                        }
                    }
                }
                let x = x.map(|x| x.wrapping_add(k).cast());
                let w = w.map(|w| w.wrapping_add(k * a.w_step).cast());
                self.multiply::<R, P>(x, w, strides);
            }
            self.store::<R, P>(sums, a.acc_stride);
        }
    }

    /// One block.
    ///
    /// # Safety
    /// As [`Self::add`], of the tiles' places in memory.
    #[inline(always)]
    unsafe fn multiply<const R: usize, const P: usize>(
        &self,
        x: [*const u8; 2],
        w: [*const u8; 2],
        [x_stride, w_stride]: [usize; 2],
    ) {
        let tiles = &self.tiles;
        // SAFETY: passed on; the shapes agree.
        unsafe {
            tiles.load::<6>(w[0], w_stride);
            if P > 1 {
                tiles.load::<7>(w[1], w_stride);
            }
            tiles.load::<4>(x[0], x_stride);
            tiles.multiply_pairs::<0, 4, 6>();
            if P > 1 {
                tiles.multiply_pairs::<1, 4, 7>();
            }
            if R == 2 {
                tiles.load::<5>(x[1], x_stride);
                tiles.multiply_pairs::<2, 5, 6>();
                if P > 1 {
                    tiles.multiply_pairs::<3, 5, 7>();
                }
            }
        }
    }

    /// Zeroes the accumulators.
    #[inline(always)]
    fn zero(&self) {
        // SAFETY: these tiles are configured.
        unsafe {
            self.tiles.zero::<0>();
            self.tiles.zero::<1>();
            self.tiles.zero::<2>();
            self.tiles.zero::<3>();
        }
    }

    /// Reads the accumulators.
    ///
    /// # Safety
    /// As [`Self::multiply`].
    #[inline(always)]
    unsafe fn load<const R: usize, const P: usize>(&self, sums: [*mut f32; 2], stride: usize) {
        let (tiles, stride) = (&self.tiles, stride * size_of::<f32>());
        // SAFETY: passed on.
        unsafe {
            tiles.load::<0>(place(sums, 0), stride);
            if P > 1 {
                tiles.load::<1>(place(sums, 1), stride);
            }
            if R > 1 {
                tiles.load::<2>(place(sums, 2), stride);
            }
            if R * P == 4 {
                tiles.load::<3>(place(sums, 3), stride);
            }
        }
    }

    /// Writes the accumulators.
    ///
    /// # Safety
    /// As [`Self::multiply`].
    #[inline(always)]
    unsafe fn store<const R: usize, const P: usize>(&self, sums: [*mut f32; 2], stride: usize) {
        let (tiles, stride) = (&self.tiles, stride * size_of::<f32>());
        // SAFETY: passed on.
        unsafe {
            tiles.store::<0>(place(sums, 0), stride);
            if P > 1 {
                tiles.store::<1>(place(sums, 1), stride);
            }
            if R > 1 {
                tiles.store::<2>(place(sums, 2), stride);
            }
            if R * P == 4 {
                tiles.store::<3>(place(sums, 3), stride);
            }
        }
    }
}

/// Where the sums of a tile lie: two panels for each tile of rows.
#[inline(always)]
fn place(sums: [*mut f32; 2], tile: usize) -> *mut u8 {
    sums[tile / 2].wrapping_add(tile % 2 * LANES).cast()
}
