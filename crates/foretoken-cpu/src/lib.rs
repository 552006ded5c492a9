//! The CPU backend: run-time dispatched kernels and a thread pool.
//!
//! [`CpuBackend`] implements [`Backend`]. At construction it detects the instruction set, fills one table
//! of function pointers and starts its threads; afterwards nothing is looked up and, once buffers have
//! their size, nothing is allocated. Results equal `foretoken_tensor`'s arithmetic bit for bit at every
//! level and for every number of threads; levels differ in the order of bfloat16 products only ([`Backend::pair_sum`]).
//!
//! It is the only home of SIMD and of unsafe code but one file elsewhere. It reads no environment variable and
//! knows no model.
//!
//! - `os`, `isa`: the machine. `pool`, `memory`: threads and the memory they share.
//! - `simd`: sixteen lanes on every level. `kernels`: one file per kernel. `table`: kernels per level.
//! - `pack`, `kv`, `activations`: weights, keys and values, buffers. `run`: a pass. `sweep`: the roofline.
//! - `gemm`, `each`: products of plain matrices and work on plain slices, for training.
#![allow(unsafe_code, reason = "the home of SIMD; every block says why it is sound")]
#![allow(clippy::inline_always, reason = "target features reach inlined code only, see `simd`")]

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
mod each;
mod gemm;
mod isa;
mod kernels;
mod kv;
mod memory;
mod os;
mod pack;
mod pool;
mod run;
mod simd;
mod sweep;
mod table;

use std::num::NonZeroUsize;

use foretoken_tensor::arithmetic::PairSum;
use foretoken_tensor::{
    Backend, BufferId, KvShape, MatrixView, Op, PackError, Pass, Program, Slot, WeightFormat,
    Weights,
};

pub use activations::CpuActivations;
pub use gemm::{GemmScratch, Matrix, MatrixMut, Precision, Product, Write};
pub use isa::Isa;
pub use kv::CpuKv;
pub use os::{available_memory, default_threads, machine_name};
pub use pack::CpuMatrix;
pub use sweep::ReadSweep;

use pool::Pool;
use run::Run;
use table::KernelTable;

/// How a [`CpuBackend`] uses the machine. Neither option changes a bit of any result, except that of products with
/// bfloat16 weights, which [`Isa::Amx`] sums in another order than the other levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuOptions {
    /// Threads that compute, the caller's included.
    pub threads: NonZeroUsize,
    /// Highest instruction set level to use; `None` is the machine's best.
    pub isa: Option<Isa>,
}

impl Default for CpuOptions {
    /// One thread per physical core, at the machine's best level.
    fn default() -> Self {
        Self { threads: default_threads(), isa: None }
    }
}

/// The CPU backend.
pub struct CpuBackend {
    table: KernelTable,
    pool: Pool,
}

/// An f32 vector of a [`CpuBackend`].
#[derive(Debug)]
pub struct CpuVector(pub(crate) Box<[f32]>);

impl std::fmt::Debug for CpuBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, pool } = self;
        f.debug_struct("CpuBackend").field("isa", &table.isa).field("pool", pool).finish()
    }
}

impl CpuBackend {
    /// Detects the instruction set and starts the threads.
    ///
    /// # Panics
    /// If the operating system refuses to start a thread.
    pub fn new(options: CpuOptions) -> Self {
        let table = KernelTable::new(Isa::best(options.isa));
        Self { table, pool: Pool::new(options.threads) }
    }

    /// The level in use.
    pub fn isa(&self) -> Isa {
        self.table.isa
    }

    /// Threads that compute, the caller's included.
    pub fn threads(&self) -> usize {
        self.pool.workers()
    }
}

impl Backend for CpuBackend {
    type Matrix = CpuMatrix;
    type Vector = CpuVector;
    type Activations = CpuActivations;
    type Kv = CpuKv;

    fn name(&self) -> String {
        format!("cpu/{}", self.table.isa)
    }

    fn pair_sum(&self) -> PairSum {
        self.table.pair_sum
    }

    fn pack(&self, view: &MatrixView<'_>, format: WeightFormat) -> Result<CpuMatrix, PackError> {
        CpuMatrix::pack(&self.pool, view, format)
    }

    fn packed_bytes(&self, matrix: &CpuMatrix) -> usize {
        matrix.bytes()
    }

    fn vector(&self, values: &[f32]) -> CpuVector {
        CpuVector(values.into())
    }

    fn activations(&self, program: &Program, rows: usize, wanted: usize) -> CpuActivations {
        CpuActivations::new(program, rows, wanted, self.pool.workers())
    }

    fn kv(&self, shape: KvShape) -> CpuKv {
        CpuKv::new(shape)
    }

    fn grow_kv(&self, kv: &mut CpuKv, blocks: usize) {
        kv.grow(blocks);
    }

    fn copy_kv(&self, kv: &mut CpuKv, moves: &[(Slot, Slot)]) {
        kv.copy(moves);
    }

    fn read_kv(
        &self,
        kv: &CpuKv,
        layer: usize,
        head: usize,
        slot: Slot,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        kv.read((layer, head), slot, key, value);
    }

    fn run(
        &self,
        program: &Program,
        weights: &Weights<Self>,
        pass: &Pass<'_>,
        activations: &mut CpuActivations,
        kv: &mut CpuKv,
    ) {
        if pass.tokens.is_empty() {
            return;
        }
        activations.reserve(pass.tokens.len(), pass.wanted.len());
        let shape = *kv.shape();
        for op in program.ops() {
            if let Op::Attention { queries, .. } = op {
                let width = activations.spec(*queries).width;
                let group = width / (shape.kv_heads * shape.head_size).max(1);
                activations.reserve_scratch(group, shape.head_size);
            }
        }
        let run = Run { table: &self.table, program, weights, pass, activations, kv };
        run.check();
        self.pool.run_job(&run);
    }

    fn row<'a>(&self, activations: &'a CpuActivations, buffer: BufferId, row: usize) -> &'a [f32] {
        activations.row(buffer, row)
    }
}
