//! Times attention over long contexts, beside a sweep that only reads.
//!
//! `cargo run --release -p foretoken-cpu --example attention_timing -- [THREADS KV_TYPE ISA]`
//!
//! The shape is that of a model of 1B parameters: 32 query heads on 8 KV heads of size 64. As many layers
//! as fill several last-level caches are attended to in turn, by a row or a tree of rows. What a pass without
//! context takes is subtracted, so that bytes per second count the context's keys and values only.
//! Depths, row counts and the sweep take turns in every round; reported are the best rounds.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use foretoken_cpu::{
    CpuActivations, CpuBackend, CpuKv, CpuOptions, Isa, ReadSweep, default_threads,
};
use foretoken_tensor::{
    Backend, BlockId, CHUNK, KvShape, KvType, MatrixId, MatrixView, Op, Pass, Program, Range32,
    Reach, RowOrder, RowSet, SpanLayout, WeightFormat, Weights,
};

const HEADS: usize = 32;
const KV_HEADS: usize = 8;
const HEAD_SIZE: usize = 64;
const DEPTHS: &[usize] = &[4096, 16384];
const ROWS: &[usize] = &[1, 16, 64];
/// Positions stored in all layers together, 128 MiB of bf16.
const POSITIONS: usize = 65536;
const ROUNDS: usize = 15;
const VOCABULARY: usize = 256;

fn main() {
    let mut args = std::env::args().skip(1);
    let threads = args.next().and_then(|arg| NonZeroUsize::new(arg.parse().ok()?));
    let threads = threads.unwrap_or_else(default_threads);
    let kv_type = args.next().as_deref().and_then(KvType::parse).unwrap_or(KvType::Bf16);
    let isa = args.next().as_deref().and_then(Isa::parse);
    let backend = CpuBackend::new(CpuOptions { threads, isa });
    println!("{} with {threads} threads, KV {}", backend.name(), kv_type.name());
    let sweep = ReadSweep::new(&backend);
    let weights = Weights {
        matrices: [HEADS, KV_HEADS, KV_HEADS]
            .map(|n| Arc::new(table(&backend, n * HEAD_SIZE)))
            .into(),
        vectors: Vec::new(),
    };
    for depth in DEPTHS {
        let mut context = Context::new(&backend, &weights, kv_type, *depth);
        let mut read = f64::INFINITY;
        let mut best = vec![[f64::INFINITY; 2]; ROWS.len()];
        for _ in 0..ROUNDS {
            read = read.min(sweep.run(&backend).as_secs_f64());
            for (rows, best) in ROWS.iter().zip(&mut best) {
                for (base, best) in [0, *depth].into_iter().zip(best) {
                    *best = best.min(context.seconds(&backend, &weights, base, *rows));
                }
            }
        }
        let read = sweep.bytes() as f64 / read;
        let bytes = context.layers() * depth * KV_HEADS * HEAD_SIZE * 2 * kv_type.bytes();
        let spent: Vec<f64> = best.iter().map(|[empty, full]| full - empty).collect();
        for (rows, seconds) in ROWS.iter().zip(&spent) {
            let rate = bytes as f64 / seconds;
            println!(
                "depth {depth:5}, {rows:2} rows: {:6.3} ms a layer, t(n)/t(1) {:.2}, {:5.1} GB/s, \
                 {:3.0} % of {:.1}",
                1e3 * seconds / context.layers() as f64,
                seconds / spent[0],
                rate / 1e9,
                100.0 * rate / read,
                read / 1e9
            );
        }
    }
}

/// A table of embeddings: the queries, keys or values of each token.
fn table(backend: &CpuBackend, width: usize) -> foretoken_cpu::CpuMatrix {
    let values: Vec<u8> = (0..VOCABULARY * width)
        .flat_map(|i| (((i * 7919) % 2003) as f32 / 1001.5 - 1.0).to_le_bytes())
        .collect();
    let (name, format, order) = ("timing", WeightFormat::F32, RowOrder::Natural);
    let view = MatrixView { name, format, rows: VOCABULARY, cols: width, order, data: &values };
    backend.pack(&view, WeightFormat::F32).expect("finite weights pack")
}

/// Stored keys and values, and the program that attends to them.
struct Context {
    kv: CpuKv,
    program: Program,
    activations: CpuActivations,
    blocks: Vec<BlockId>,
}

impl Context {
    /// Fills every layer.
    fn new(
        backend: &CpuBackend,
        weights: &Weights<CpuBackend>,
        kv_type: KvType,
        depth: usize,
    ) -> Self {
        let layers = POSITIONS / depth;
        let shape = KvShape { layers, kv_heads: KV_HEADS, head_size: HEAD_SIZE, kv_type };
        let most = ROWS.iter().copied().max().unwrap_or(1);
        let blocks: Vec<BlockId> =
            (0..(depth + most).div_ceil(CHUNK) as u32).map(BlockId).collect();
        let mut kv = backend.kv(shape);
        backend.grow_kv(&mut kv, blocks.len());
        let mut fill = Program::new();
        let [keys, values] = [(); 2].map(|()| fill.buffer(KV_HEADS * HEAD_SIZE, RowSet::All));
        for (table, out) in [(MatrixId(1), keys), (MatrixId(2), values)] {
            fill.push(Op::Embed { table, out });
        }
        for layer in 0..layers {
            fill.push(Op::StoreKv { keys, values, layer });
        }
        let mut program = Program::new();
        let [queries, out] = [(); 2].map(|()| program.buffer(HEADS * HEAD_SIZE, RowSet::All));
        program.push(Op::Embed { table: MatrixId(0), out: queries });
        let (reach, scale) = (Reach::Full, 0.125);
        for layer in 0..layers {
            program.push(Op::Attention { queries, layer, reach, scale, out });
        }
        let activations = backend.activations(&fill, CHUNK, 0);
        let mut context = Self { kv, program: fill, activations, blocks };
        for base in (0..(depth + most) / CHUNK * CHUNK).step_by(CHUNK) {
            context.seconds(backend, weights, base, CHUNK);
        }
        context.activations = backend.activations(&program, most, 0);
        context.program = program;
        context
    }

    fn layers(&self) -> usize {
        self.program.ops().len() - 1
    }

    /// Time of a pass of a trunk with a leaf beside each of its nodes.
    fn seconds(
        &mut self,
        backend: &CpuBackend,
        weights: &Weights<CpuBackend>,
        base: usize,
        rows: usize,
    ) -> f64 {
        let tokens: Vec<u32> = (0..rows).map(|i| ((base + i) % VOCABULARY) as u32).collect();
        let depth: Vec<u32> = (0..rows as u32).map(|i| i.div_ceil(2)).collect();
        let end = |i: usize| if i.is_multiple_of(2) { rows } else { i + 1 };
        let subtree_end: Vec<u32> = (0..rows).map(|i| end(i) as u32).collect();
        let pass = Pass {
            tokens: &tokens,
            rotation: &[],
            subtree_end: &subtree_end,
            depth: &depth,
            blocks: &self.blocks,
            spans: &[SpanLayout {
                rows: Range32 { start: 0, end: rows as u32 },
                base,
                blocks: Range32 { start: 0, end: self.blocks.len() as u32 },
            }],
            wanted: &[],
            input: &[],
        };
        let start = Instant::now();
        backend.run(&self.program, weights, &pass, &mut self.activations, &mut self.kv);
        start.elapsed().as_secs_f64()
    }
}
