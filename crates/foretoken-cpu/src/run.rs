//! Running a program: every worker walks over all operators and does its part of each.
//!
//! Nothing is dispatched per operator. A barrier after each phase makes its results visible to the
//! next; within a phase workers write disjoint parts and read nothing that is written.

use foretoken_tensor::{BufferId, CHUNK, Op, Pass, Program, RowSet, Slot, Span, Weights};

use crate::CpuBackend;
use crate::activations::CpuActivations;
use crate::kernels::attention::Attention;
use crate::kernels::{attention, linear, rows};
use crate::kv::CpuKv;
use crate::pool::Worker;
use crate::table::KernelTable;

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
        match self.activations.spec(buffer).rows {
            RowSet::All => self.pass.tokens.len(),
            RowSet::Wanted => self.pass.wanted.len(),
        }
    }

    /// The slot of a span's node.
    pub(crate) fn slot(span: &Span<'_>, node: usize) -> Slot {
        let slot = span.base + node;
        Slot { block: span.blocks[slot / CHUNK], offset: slot % CHUNK }
    }

    /// One worker's part.
    pub(crate) fn work(&self, worker: &Worker<'_>) {
        for op in self.program.ops() {
            self.operator(worker, op);
            worker.barrier();
        }
    }

    fn operator(&self, worker: &Worker<'_>, op: &Op) {
        match op {
            Op::Embed { table, out } => rows::embed(self, worker, *table, *out),
            Op::RmsNorm { input, weight, eps, out } => {
                rows::rms_norm(self, worker, (*input, *out), *weight, *eps);
            }
            Op::HeadNorm { buffer, weight, eps } => {
                rows::head_norm(self, worker, *buffer, *weight, *eps);
            }
            Op::Linear { input, parts } => linear::linear(self, worker, *input, parts),
            Op::Rotate { buffer, head_size } => rows::rotate(self, worker, *buffer, *head_size),
            Op::StoreKv { keys, values, layer } => {
                rows::store_kv(self, worker, (*keys, *values), *layer);
            }
            Op::Attention { queries, layer, reach, scale, out } => {
                let (queries, layer, reach) = (*queries, *layer, *reach);
                let op = Attention { queries, layer, reach, scale: *scale, out: *out };
                attention::attention(self, worker, op);
            }
            Op::SwiGlu { gate, up, out } => rows::swiglu(self, worker, (*gate, *up), *out),
            Op::Select { input, out } => {
                rows::copy(self, worker, (*input, *out), |i| self.pass.wanted[i] as usize);
            }
            Op::Copy { input, out } => rows::copy(self, worker, (*input, *out), |i| i),
        }
    }

    /// Checks the laws of the pass and of the program's shapes, once, before any thread starts.
    pub(crate) fn check(&self) {
        let Pass { tokens, rotation, subtree_end, depth, spans, wanted, .. } = *self.pass;
        let rows = tokens.len();
        assert!(rotation.len().is_multiple_of(2 * rows), "rotation is [rows, 2, dims / 2]");
        assert!(subtree_end.len() == rows && depth.len() == rows, "one node per row");
        let mut next = 0;
        for layout in spans {
            assert_eq!(layout.rows.start, next, "spans cover the rows in order");
            next = layout.rows.end;
        }
        assert_eq!(next as usize, rows, "spans cover every row");
        for span in self.pass.spans() {
            let rows = span.depth.len();
            assert!(span.blocks.len() * CHUNK >= span.base + rows, "every slot has a block");
            assert!(
                span.blocks.iter().all(|block| (block.0 as usize) < self.kv.blocks()),
                "every block of a table exists"
            );
            let node = |(i, (end, depth)): (usize, (&u32, &u32))| {
                i < *end as usize && *end as usize <= rows && *depth as usize <= i
            };
            let nodes = span.subtree_end.iter().zip(span.depth);
            assert!(nodes.enumerate().all(node), "spans are trees in preorder");
        }
        assert!(wanted.iter().all(|row| (*row as usize) < rows), "wanted rows exist");
        assert!(wanted.is_sorted(), "wanted rows ascend");
        self.program.ops().iter().for_each(|op| self.check_operator(op));
    }

    fn check_operator(&self, op: &Op) {
        let width = |buffer: BufferId| self.activations.spec(buffer).width;
        let rows = |buffer: BufferId| self.rows(buffer);
        let same = |a: BufferId, b: BufferId| width(a) == width(b) && rows(a) == rows(b);
        let head = self.kv.shape().head_size;
        let heads = self.kv.shape().kv_heads * head;
        let holds = match op {
            Op::Embed { table, out } => {
                let table = &self.weights.matrices[table.index()];
                let known = |token: &u32| (*token as usize) < table.rows();
                assert!(self.pass.tokens.iter().all(known), "tokens lie within the vocabulary");
                table.cols() == width(*out)
            }
            Op::RmsNorm { input, weight, out, .. } => {
                let gains = self.weights.vectors[weight.index()].0.len();
                same(*input, *out) && input != out && gains == width(*input)
            }
            Op::HeadNorm { buffer, weight, .. } => {
                let gains = self.weights.vectors[weight.index()].0.len();
                gains > 0 && width(*buffer).is_multiple_of(gains)
            }
            Op::Linear { input, parts } => parts.iter().all(|part| {
                let matrix = &self.weights.matrices[part.weight.index()];
                let bias = part.bias.map(|bias| self.weights.vectors[bias.index()].0.len());
                matrix.cols() == width(*input)
                    && matrix.rows() == width(part.out)
                    && rows(*input) == rows(part.out)
                    && part.out != *input
                    && bias.is_none_or(|bias| bias == matrix.rows())
            }),
            Op::Rotate { buffer, head_size } => {
                let dims = self.pass.rotation.len() / self.pass.tokens.len();
                *head_size > 0 && width(*buffer).is_multiple_of(*head_size) && dims <= *head_size
            }
            Op::StoreKv { keys, values, layer } => {
                width(*keys) == heads && width(*values) == heads && *layer < self.kv.shape().layers
            }
            Op::Attention { queries, layer, out, .. } => {
                width(*queries).is_multiple_of(heads)
                    && same(*queries, *out)
                    && *layer < self.kv.shape().layers
            }
            Op::SwiGlu { gate, up, out } => same(*gate, *up) && same(*gate, *out) && up != out,
            Op::Select { input, out } => width(*input) == width(*out) && input != out,
            Op::Copy { input, out } => same(*input, *out) && input != out,
        };
        assert!(holds, "the buffers, weights and store of an operator agree in shape: {op:?}");
    }
}
