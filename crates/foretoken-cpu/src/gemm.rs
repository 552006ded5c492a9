//! Products of matrices in memory, for training: `out = a · b` or `out += a · b`, either factor transposed.
//!
//! As of Goto and van de Geijn, *Anatomy of high-performance matrix multiplication* (2008): the right factor is
//! packed into panels of sixteen columns by all threads, then blocks of rows are units, each of which packs its part
//! of the left factor into the second-level cache and runs the [tile](crate::kernels::gemm) over panels that stay
//! in the first. A left factor of f32 whose rows are runs of memory is read where it lies. Under
//! [`Precision::Bf16`] packing rounds both factors and pairs neighbours along the sum.
//!
//! Each output is one chain of fused multiply-adds in the order of the sum, whatever the blocks, so the bits are
//! those of one thread for any number of them, and the same at every instruction set level: where a machine
//! lacks `vdpbf16ps`, pairs are multiplied by two fused multiply-adds of the rounded values.
//!
//! Reached on Zen 4 with 2 threads, 4096 rows by [1024, 384] (`examples/gemm_timing.rs`): 185 to 205 GFLOP/s in f32, 1.0 to
//! 1.1 of PyTorch 2.15; 345 to 400 in bf16, 0.9 of what PyTorch reaches with factors that are bf16 in memory already.
//! Limits: the tile runs at one product per cycle, so what is left is packing, which reads f32 (memory's bandwidth) and
//! in bf16 costs up to a sixth of the time.
//!
//! The scratch grows to the largest right factor (at most [`RIGHT`] words, unless sums are very long) and is
//! reused; a product of a size it has seen allocates nothing.

use std::ops::Range;

pub use matrix::{Matrix, MatrixMut};

use crate::CpuBackend;
use crate::kernels::gemm::{Interleave, Start, Tile};
use crate::memory::Memory;
use crate::pool::{Job, Worker};
use crate::simd::LANES;
use crate::table::KernelTable;

mod matrix;
#[cfg(test)]
mod tests;

/// Links of a block of the sum: two panels of them (24 KiB) fit the first-level cache.
const STEPS: usize = 192;
/// Rows of a block of the left factor, whole sixteens, which as packed (96 KiB) fits the second-level cache.
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
        // Enough units that a thread which is held up does not hold up the others for long.
        let rows = a.rows().div_ceil(4 * workers).next_multiple_of(LANES / 2).min(ROWS);
        scratch.right.reserve(columns * steps);
        scratch.left.reserve(workers * ROWS * STEPS);
        Some(Self { table, scratch, product, steps, columns, rows })
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
        if b.steps().1 == 1 {
            self.group_columns(b, to, words);
        } else {
            let b = b.transposed();
            for (panel, to) in to.chunks_exact_mut(words).enumerate() {
                let lines = panel * LANES..((panel + 1) * LANES).min(b.rows());
                self.transpose_panel(b.block(lines, 0..b.columns()), to);
            }
        }
    }

    /// Packs rows that are runs of memory as `[columns / 16][steps][16]`, sixteens of columns `group` apart.
    fn group_columns(&self, rows: Matrix<'_>, to: &mut [u32], group: usize) {
        let columns = rows.columns();
        if self.product.precision == Precision::Bf16 {
            let (values, stride, pairs) = (rows.values(), rows.steps().0, to);
            let rows = rows.rows();
            let work = Interleave { values, rows, columns, stride, pairs, group };
            return (self.table.interleave)(work);
        }
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

    /// Packs columns that are runs of memory, `[columns][inner]`.
    fn transpose_panel(&self, columns: Matrix<'_>, to: &mut [u32]) {
        /// Links at a time, so that what is written stays in the first-level cache.
        const RUN: usize = 64;
        let per_step = self.product.precision.per_step();
        for (run, to) in to.chunks_mut(RUN * LANES).enumerate() {
            let first = run * RUN * per_step;
            let inner = first..(first + RUN * per_step).min(columns.columns());
            let to = to.as_chunks_mut::<LANES>().0;
            let mut words = [0; RUN];
            for lane in 0..LANES {
                let words = &mut words[..to.len()];
                if lane < columns.rows() {
                    self.words(columns.in_row(lane, inner.clone()), words);
                } else {
                    words.fill(0);
                }
                for (to, word) in to.iter_mut().zip(words) {
                    to[lane] = *word;
                }
            }
        }
    }

    /// A run of the sum as packed words.
    fn words(&self, values: &[f32], words: &mut [u32]) {
        match self.product.precision {
            Precision::F32 => words.copy_from_slice(bytemuck::cast_slice(values)),
            Precision::Bf16 => (self.table.round)(values, words),
        }
    }

    /// Multiplies a block of rows by a packed block of columns.
    fn rows(&self, block: Range<usize>, unit: usize, worker: usize) {
        let Product { a, out, write, precision, .. } = &self.product;
        let rows = unit * self.rows..((unit + 1) * self.rows).min(a.rows());
        // SAFETY: rows belong to one unit, and `out` to the job; the scratch is the worker's.
        let (mut out, left) = unsafe {
            let left = self.scratch.left.part(worker * ROWS * STEPS..(worker + 1) * ROWS * STEPS);
            (out.part(rows.clone(), block.clone()), left)
        };
        // SAFETY: packed in the phase before.
        let right = unsafe { self.scratch.right.view(0..self.columns * self.steps) };
        let mut step = 0;
        while step < self.steps {
            let steps = (self.steps - step).min(STEPS);
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
        match (self.product.precision, column_step) {
            (Precision::F32, 1) => {
                let words = bytemuck::cast_slice(a.values());
                Left { words, group: LANES * row_step, row: row_step, step: 1 }
            }
            (Precision::Bf16, 1) => {
                for (row, to) in to.chunks_mut(STEPS).take(a.rows()).enumerate() {
                    let words = a.columns().div_ceil(2);
                    (self.table.round)(a.row(row), &mut to[..words]);
                }
                Left { words: to, group: LANES * STEPS, row: STEPS, step: 1 }
            }
            _ => {
                self.group_columns(a.transposed(), to, LANES * STEPS);
                Left { words: to, group: LANES * STEPS, row: 1, step: LANES }
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
