//! Running a program as a job of the pool: two phases per operator, the first of which prepares its input
//! where it needs that.
//!
//! Within a phase units write disjoint parts and read nothing that is written. Few values make one unit:
//! the thread that did the last unit of a phase begins the next, so small operators in a row cost no
//! exchange between threads.

use foretoken_tensor::{
    Affine, BlockId, BufferId, CHUNK, Op, Pass, Program, RowSet, Span, Weights,
};

use crate::CpuBackend;
use crate::activations::CpuActivations;
use crate::kernels::attention::Attention;
use crate::kernels::{attention, linear, rows, swiglu};
use crate::kv::CpuKv;
use crate::pack::CpuMatrix;
use crate::pool::{Job, Worker};
use crate::table::KernelTable;

/// Values worth a unit of an operator that treats them one by one: some hundreds of nanoseconds.
const SHARE: usize = 4096;

/// One pass.
pub(crate) struct Run<'a> {
    pub(crate) table: &'a KernelTable,
    pub(crate) program: &'a Program,
    pub(crate) weights: &'a Weights<CpuBackend>,
    pub(crate) pass: &'a Pass<'a>,
    pub(crate) activations: &'a CpuActivations,
    pub(crate) kv: &'a CpuKv,
}

impl Run<'_> {
    /// Rows of a buffer in this pass.
    pub(crate) fn rows(&self, buffer: BufferId) -> usize {
        self.pass.rows(self.activations.spec(buffer).rows)
    }

    /// The weights of a map.
    pub(crate) fn matrix(&self, map: &Affine) -> &CpuMatrix {
        &self.weights.matrices[map.weight.index()]
    }

    /// Units of an operator.
    fn operator_units(&self, op: &Op, workers: usize) -> usize {
        match op {
            Op::Linear { parts, .. } => linear::units(self, parts, workers),
            Op::SwiGlu { gate, .. } => swiglu::units(self, gate, workers),
            Op::Attention { .. } => attention::units(self),
            Op::Embed { out: buffer, .. }
            | Op::RmsNorm { out: buffer, .. }
            | Op::HeadNorm { buffer, .. }
            | Op::Rotate { buffer, .. }
            | Op::StoreKv { keys: buffer, .. }
            | Op::Select { out: buffer, .. }
            | Op::Input { out: buffer }
            | Op::Copy { out: buffer, .. } => self.shares(*buffer, workers),
        }
    }

    /// Shares of a buffer's values, two per worker at most.
    pub(crate) fn shares(&self, buffer: BufferId, workers: usize) -> usize {
        let values = self.rows(buffer) * self.activations.spec(buffer).width;
        values.div_ceil(SHARE).min(2 * workers)
    }

    fn operator(&self, worker: &Worker<'_>, index: usize) {
        match &self.program.ops()[index] {
            Op::Embed { table, out } => rows::embed(self, worker, *table, *out),
            Op::RmsNorm { input, weight, eps, out } => {
                rows::rms_norm(self, worker, (index, [*input, *out]), *weight, *eps);
            }
            Op::HeadNorm { buffer, weight, eps } => {
                rows::head_norm(self, worker, *buffer, *weight, *eps);
            }
            Op::Linear { input, parts } => linear::linear(self, worker, (index, *input), parts),
            Op::Rotate { buffer, head_size } => rows::rotate(self, worker, *buffer, *head_size),
            Op::StoreKv { keys, values, layer } => {
                rows::store_kv(self, worker, (*keys, *values), *layer);
            }
            Op::Attention { queries, layer, reach, scale, out } => {
                let (queries, layer, reach) = (*queries, *layer, *reach);
                let op = Attention { queries, layer, reach, scale: *scale, out: *out };
                attention::attention(self, worker, op);
            }
            Op::SwiGlu { input, gate, up, out } => {
                swiglu::swiglu(self, worker, (index, *input), [gate, up], *out);
            }
            Op::Select { input, out } => {
                rows::copy(self, worker, (*input, *out), |i| self.pass.wanted[i] as usize);
            }
            Op::Input { out } => rows::input(self, worker, *out),
            Op::Copy { input, out } => rows::copy(self, worker, (*input, *out), |i| i),
        }
    }

    /// Checks the laws of the pass and of the program's shapes, once, before any thread starts.
    pub(crate) fn check(&self) {
        self.pass.assert_laws();
        let exists = |block: &BlockId| (block.0 as usize) < self.kv.blocks();
        assert!(self.pass.blocks.iter().all(exists), "every block of a table exists");
        self.check_written_blocks();
        for op in self.program.ops() {
            self.check_operator(op);
        }
    }

    /// Rows are stored by all workers at once, so no slot may be written twice.
    fn check_written_blocks(&self) {
        let blocks = || self.pass.spans().flat_map(written);
        for (i, block) in blocks().enumerate() {
            let once = blocks().skip(i + 1).all(|other| other != block);
            assert!(once, "block {} is written by one sequence, at one place", block.0);
        }
    }

    fn check_operator(&self, op: &Op) {
        let width = |buffer: BufferId| self.activations.spec(buffer).width;
        let rows = |buffer: BufferId| self.rows(buffer);
        let same = |a: BufferId, b: BufferId| width(a) == width(b) && rows(a) == rows(b);
        let all = |buffer: BufferId| self.activations.spec(buffer).rows == RowSet::All;
        let head = self.kv.shape().head_size;
        let heads = self.kv.shape().kv_heads * head;
        let maps = |map: &Affine, input: BufferId, out: BufferId| {
            let matrix = self.matrix(map);
            let bias = map.bias.map(|bias| self.weights.vectors[bias.index()].0.len());
            matrix.cols() == width(input)
                && matrix.rows() == width(out)
                && rows(input) == rows(out)
                && input != out
                && bias.is_none_or(|bias| bias == matrix.rows())
        };
        let holds = match op {
            Op::Embed { table, out } => {
                let table = &self.weights.matrices[table.index()];
                let known = |token: &u32| (*token as usize) < table.rows();
                assert!(self.pass.tokens.iter().all(known), "tokens lie within the vocabulary");
                table.cols() == width(*out) && all(*out)
            }
            Op::RmsNorm { input, weight, out, .. } => {
                let gains = self.weights.vectors[weight.index()].0.len();
                same(*input, *out) && input != out && gains == width(*input)
            }
            Op::HeadNorm { buffer, weight, .. } => {
                let gains = self.weights.vectors[weight.index()].0.len();
                gains > 0 && width(*buffer).is_multiple_of(gains)
            }
            Op::Linear { input, parts } => parts.iter().enumerate().all(|(i, part)| {
                maps(&part.map, *input, part.out)
                    && parts[..i].iter().all(|other| other.out != part.out)
            }),
            Op::Rotate { buffer, head_size } => {
                let dims = self.pass.rotary_dims();
                let whole = *head_size > 0 && width(*buffer).is_multiple_of(*head_size);
                whole && dims <= *head_size && all(*buffer)
            }
            Op::StoreKv { keys, values, layer } => {
                let fits = width(*keys) == heads && same(*keys, *values) && all(*keys);
                fits && *layer < self.kv.shape().layers
            }
            Op::Attention { queries, layer, out, .. } => {
                let whole = heads > 0 && width(*queries).is_multiple_of(heads) && all(*queries);
                whole && same(*queries, *out) && *layer < self.kv.shape().layers
            }
            Op::SwiGlu { input, gate, up, out } => {
                maps(gate, *input, *out) && maps(up, *input, *out)
            }
            Op::Select { input, out } => width(*input) == width(*out) && all(*input) && !all(*out),
            Op::Input { out } => self.pass.input.len() == width(*out) * rows(*out) && all(*out),
            Op::Copy { input, out } => same(*input, *out) && input != out,
        };
        assert!(holds, "the buffers, weights and store of an operator agree in shape: {op:?}");
    }
}

/// Whether a phase is an operator; else it prepares the input of one.
fn operates(phase: usize) -> bool {
    !phase.is_multiple_of(2)
}

impl Job for Run<'_> {
    fn units(&self, phase: usize, workers: usize) -> Option<usize> {
        let op = self.program.ops().get(phase / 2)?;
        Some(if operates(phase) {
            self.operator_units(op, workers)
        } else {
            linear::prepare_units(self, phase / 2, workers)
        })
    }

    fn unit(&self, phase: usize, worker: &Worker<'_>) {
        if operates(phase) {
            self.operator(worker, phase / 2);
        } else {
            linear::prepare(self, worker, &self.program.ops()[phase / 2]);
        }
    }
}

/// The blocks that a span's rows are stored in.
fn written(span: Span<'_>) -> &[BlockId] {
    let (base, rows) = (span.base, span.depth.len());
    &span.blocks[base / CHUNK..(base + rows).div_ceil(CHUNK)]
}
