//! Products of matrices in memory, for training: `out = a · b` or `out += a · b`, either factor transposed.
//!
//! As of Goto and van de Geijn, *Anatomy of high-performance matrix multiplication* (2008): the right factor is
//! packed into panels of sixteen columns by all threads, then blocks of rows are units, each of which packs its part
//! of the left factor into the second-level cache and runs the [tile](crate::kernels::gemm) over panels that stay
//! in the first. A left factor of f32 whose rows are runs of memory is read where it lies. Under
//! [`Precision::Bf16`] packing rounds both factors and pairs neighbours along the sum.
//!
//! Each output is one sum in the order of the inner index, whatever the blocks and the number of threads. In f32
//! it is a chain of fused multiply-adds, with the same bits at every instruction set level. In bf16 the order is
//! the level's [`PairSum`]: a chain of pairs, by `vdpbf16ps` or two fused multiply-adds of the rounded values with
//! the same bits, or on tiles (AMX) a sum of blocks of 32 by `tdpbf16ps`.
//!
//! Reached with 2 threads, 4096 rows by [1024, 384] (`examples/gemm_timing.rs`). Zen 4, 2026-11-24: 185 to 205 GFLOP/s in
//! f32, 1.0 to 1.1 of PyTorch 2.15; 345 to 400 in bf16, 0.9 of what PyTorch reaches with factors that are bf16 in memory
//! already. There the tile is the limit, at one product per cycle, and packing, which reads f32, a sixth of the time in
//! bf16. Sapphire Rapids, 2026-11-27: 255 to 290 in f32; in bf16 1050 to 1870 on tiles, where memory is the limit (f32
//! in, f32 out), against 200 by `vdpbf16ps`. Both are older than the prefetches of `amx_pairs` and the transposes of f32.
//!
//! The scratch grows to the largest right factor (at most [`RIGHT`] words, unless sums are very long) and is
//! reused; a product of a size and precision it has seen allocates nothing.

use std::ops::Range;

pub use matrix::{Matrix, MatrixMut};

use foretoken_tensor::arithmetic::PairSum;

use crate::CpuBackend;
use crate::kernels::gemm::{Start, Tile};
use crate::kernels::pack_factors::{Pack, Stored};
use crate::memory::Memory;
use crate::pool::{Job, Worker};
use crate::simd::LANES;
use crate::table::KernelTable;

mod matrix;
#[cfg(test)]
mod tests;

/// Links of a block of the sum: two panels of them (24 KiB) fit the first-level cache.
const STEPS: usize = 192;
/// The same on tiles, whose operands come from the second-level cache fast enough (64 KiB beside 256 of the left
/// factor); whole blocks of [`PairSum::Blocks`].
const TILE_STEPS: usize = 512;
/// Rows of a block of the left factor, whole sixteens, which as packed (96 KiB; on tiles 256) fits the second-level cache.
const ROWS: usize = 128;
/// Panels that are packed as one unit.
const PANELS: usize = 4;
/// Words of the packed right factor before its columns are taken in several blocks.
const RIGHT: usize = 4 << 20;

/// In what precision factors are multiplied; sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    F32,
    /// Rounded to bfloat16, to nearest even; magnitudes below `2^-50` become zero.
    Bf16,
}

impl Precision {
    /// Values of the sum per word of a packed factor.
    fn per_step(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }
}

/// What a product does with what its output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Replaces it.
    Store,
    /// Adds to it.
    Add,
}

/// A product to compute.
#[derive(Debug)]
pub struct Product<'a> {
    /// `[rows][inner]`.
    pub a: Matrix<'a>,
    /// `[inner][columns]`.
    pub b: Matrix<'a>,
    /// `[rows][columns]`.
    pub out: MatrixMut<'a>,
    /// Whether `out` is replaced, or is what the sums begin with.
    pub write: Write,
    /// Of the factors.
    pub precision: Precision,
}

/// Memory for packed factors, of one product at a time.
#[derive(Debug)]
pub struct GemmScratch {
    /// `[panels][steps][16]`.
    right: Memory<u32>,
    /// A block of the left factor per thread.
    left: Memory<u32>,
}

impl Default for GemmScratch {
    fn default() -> Self {
        Self { right: Memory::zeroed(0), left: Memory::zeroed(0) }
    }
}

impl CpuBackend {
    /// Computes a product on every thread.
    ///
    /// # Panics
    /// If the shapes do not fit one another.
    pub fn multiply(&self, scratch: &mut GemmScratch, product: Product<'_>) {
        if let Some(job) = Multiply::new(&self.table, scratch, product, self.threads()) {
            self.pool.run_job(&job);
        }
    }

    /// Computes a product on the calling thread, which may do a unit of [`CpuBackend::each_with`].
    ///
    /// # Panics
    /// If the shapes do not fit one another.
    pub fn multiply_alone(&self, scratch: &mut GemmScratch, product: Product<'_>) {
        let Some(job) = Multiply::new(&self.table, scratch, product, 1) else { return };
        for phase in 0.. {
            let Some(units) = job.units(phase, 1) else { return };
            for unit in 0..units {
                job.part(phase, unit, 0);
            }
        }
    }
}

/// A product under way. Phases alternate: pack a block of the right factor, multiply by it.
struct Multiply<'a> {
    table: &'a KernelTable,
    scratch: &'a GemmScratch,
    product: Product<'a>,
    /// Links of the sum.
    steps: usize,
    /// Columns of a block of the right factor, whole groups of panels.
    columns: usize,
    /// Rows of a unit.
    rows: usize,
    /// Links of a block of the sum.
    links: usize,
    /// Words of a packed block of the left factor.
    left: usize,
}

impl<'a> Multiply<'a> {
    /// Plans a product; none is left to do where a size is zero.
    fn new(
        table: &'a KernelTable,
        scratch: &'a mut GemmScratch,
        mut product: Product<'a>,
        workers: usize,
    ) -> Option<Self> {
        let Product { a, b, out, write, precision } = &mut product;
        assert!(a.columns() == b.rows(), "the factors have one inner size");
        assert!(out.rows() == a.rows() && out.columns() == b.columns(), "the output is theirs");
        if a.columns() == 0 && *write == Write::Store {
            (0..out.rows()).for_each(|row| out.row_mut(row).fill(0.0));
        }
        if a.rows() == 0 || b.columns() == 0 || a.columns() == 0 {
            return None;
        }
        let steps = a.columns().div_ceil(precision.per_step());
        let group = PANELS * LANES;
        let most = (RIGHT / steps / group * group).max(group);
        let columns = b.columns().next_multiple_of(group).min(most);
        let (links, height) = match (*precision, table.pair_sum) {
            (Precision::Bf16, PairSum::Blocks) => (TILE_STEPS, LANES),
            _ => (STEPS, LANES / 2),
        };
        // Enough units that a thread which is held up does not hold up the others for long.
        let rows = a.rows().div_ceil(4 * workers).next_multiple_of(height).min(ROWS);
        // Packing fills whole sixteens.
        let left = rows.next_multiple_of(LANES) * links;
        scratch.right.reserve(columns * steps);
        scratch.left.reserve(workers * left);
        Some(Self { table, scratch, product, steps, columns, rows, links, left })
    }

    /// The columns of the block that a phase is about.
    fn block(&self, phase: usize) -> Range<usize> {
        let start = phase / 2 * self.columns;
        start..(start + self.columns).min(self.product.b.columns())
    }

    fn part(&self, phase: usize, unit: usize, worker: usize) {
        if phase.is_multiple_of(2) {
            self.pack(self.block(phase), unit);
        } else {
            self.rows(self.block(phase), unit, worker);
        }
    }

    /// Packs a group of panels.
    fn pack(&self, block: Range<usize>, unit: usize) {
        let panels = unit * PANELS..((unit + 1) * PANELS).min(block.len().div_ceil(LANES));
        let words = self.steps * LANES;
        // SAFETY: each panel is packed by one unit, and read in the next phase.
        let to = unsafe { self.scratch.right.part(panels.start * words..panels.end * words) };
        let start = block.start + panels.start * LANES;
        let columns = start..(block.start + panels.end * LANES).min(block.end);
        let b = self.product.b.block(0..self.product.b.rows(), columns);
        match (self.product.precision, b.steps().1) {
            (Precision::F32, 1) => group_columns(b, to, words),
            (Precision::Bf16, 1) => (self.table.interleave)(packed(b, to, words)),
            (Precision::F32, _) => (self.table.transpose)(packed(b.transposed(), to, words)),
            (Precision::Bf16, _) => (self.table.transpose_pairs)(packed(b.transposed(), to, words)),
        }
    }

    /// Multiplies a block of rows by a packed block of columns.
    fn rows(&self, block: Range<usize>, unit: usize, worker: usize) {
        let Product { a, out, write, precision, .. } = &self.product;
        let rows = unit * self.rows..((unit + 1) * self.rows).min(a.rows());
        // SAFETY: rows belong to one unit, and `out` to the job; the scratch is the worker's.
        let (mut out, left) = unsafe {
            let left = self.scratch.left.part(worker * self.left..(worker + 1) * self.left);
            (out.part(rows.clone(), block.clone()), left)
        };
        // SAFETY: packed in the phase before.
        let right = unsafe { self.scratch.right.view(0..self.columns * self.steps) };
        let mut step = 0;
        while step < self.steps {
            let steps = (self.steps - step).min(self.links);
            let inner = step * precision.per_step();
            let inner = inner..(inner + steps * precision.per_step()).min(a.columns());
            let Left { words, group: a_group, row: a_row, step: a_step } =
                self.pack_left(a.block(rows.clone(), inner), left);
            let start = if step == 0 && *write == Write::Store { Start::Zero } else { Start::Out };
            let (b, b_panel) = (&right[step * LANES..], self.steps * LANES);
            let out = out.reborrow();
            match precision {
                Precision::F32 => {
                    let (a, b) = (bytemuck::cast_slice(words), bytemuck::cast_slice(b));
                    (self.table.gemm_f32)(Tile {
                        steps,
                        a,
                        a_group,
                        a_row,
                        a_step,
                        b,
                        b_panel,
                        start,
                        out,
                    });
                }
                Precision::Bf16 => {
                    (self.table.gemm_pairs)(Tile {
                        steps,
                        a: words,
                        a_group,
                        a_row,
                        a_step,
                        b: bytemuck::cast_slice(b),
                        b_panel,
                        start,
                        out,
                    });
                }
            }
            step += steps;
        }
    }

    /// Packs a block of the left factor.
    fn pack_left<'b>(&self, a: Matrix<'b>, to: &'b mut [u32]) -> Left<'b> {
        let (row_step, column_step) = a.steps();
        let line = self.links;
        match (self.product.precision, column_step, self.table.interleave_lines) {
            (Precision::F32, 1, _) => {
                let words = bytemuck::cast_slice(a.values());
                return Left { words, group: LANES * row_step, row: row_step, step: 1 };
            }
            (Precision::Bf16, 1, _) => {
                for (row, to) in to.chunks_mut(line).take(a.rows()).enumerate() {
                    let words = a.columns().div_ceil(2);
                    (self.table.round)(a.row(row), &mut to[..words]);
                }
            }
            (Precision::Bf16, _, Some(interleave_lines)) => {
                interleave_lines(packed(a.transposed(), to, line));
            }
            (precision, ..) => {
                let (a, group) = (a.transposed(), LANES * line);
                match precision {
                    Precision::F32 => group_columns(a, to, group),
                    Precision::Bf16 => (self.table.interleave)(packed(a, to, group)),
                }
                return Left { words: to, group, row: 1, step: LANES };
            }
        }
        Left { words: to, group: LANES * line, row: line, step: 1 }
    }
}

/// A stored matrix to be packed.
fn packed<'a>(matrix: Matrix<'a>, to: &'a mut [u32], group: usize) -> Pack<'a> {
    let (values, stride) = (matrix.values(), matrix.steps().0);
    let from = Stored { values, rows: matrix.rows(), columns: matrix.columns(), stride };
    Pack { from, to, group }
}

/// Packs rows that are runs of memory as `[columns / 16][rows][16]`, sixteens of columns `group` apart.
fn group_columns(rows: Matrix<'_>, to: &mut [u32], group: usize) {
    for row in 0..rows.rows() {
        let values: &[u32] = bytemuck::cast_slice(rows.row(row));
        for (values, to) in values.chunks(LANES).zip(to.chunks_mut(group)) {
            let to = &mut to[row * LANES..][..LANES];
            if let Some(values) = values.first_chunk::<LANES>() {
                to.copy_from_slice(values);
            } else {
                to[..values.len()].copy_from_slice(values);
                to[values.len()..].fill(0);
            }
        }
    }
}

/// A packed block of the left factor, as [`Tile`] reads it.
struct Left<'a> {
    words: &'a [u32],
    group: usize,
    row: usize,
    step: usize,
}

impl Job for Multiply<'_> {
    fn units(&self, phase: usize, _: usize) -> Option<usize> {
        let block = self.block(phase);
        if block.start >= self.product.b.columns() {
            None
        } else if phase.is_multiple_of(2) {
            Some(block.len().div_ceil(PANELS * LANES))
        } else {
            Some(self.product.a.rows().div_ceil(self.rows))
        }
    }

    fn unit(&self, phase: usize, worker: &Worker<'_>) {
        self.part(phase, worker.unit(), worker.index());
    }
}
