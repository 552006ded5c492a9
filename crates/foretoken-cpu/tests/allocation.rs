//! After one pass of the largest size, passes allocate nothing.

use std::alloc::System;
use std::num::NonZeroUsize;
use std::time::Duration;

use foretoken_cpu::{CpuBackend, CpuOptions};
use foretoken_tensor::{
    Affine, Backend, BlockId, KvShape, KvType, MatrixId, MatrixView, Op, Pass, Program, Projection,
    Range32, Reach, RowOrder, RowSet, SpanLayout, VectorId, WeightFormat, Weights, Write,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations and reallocations during `work`, on every thread.
fn allocations(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    let seen = region.change();
    seen.allocations + seen.reallocations
}

const HIDDEN: usize = 32;
const SHAPE: KvShape = KvShape { layers: 1, kv_heads: 2, head_size: 8, kv_type: KvType::Bf16 };

/// One transformer layer with quantised and float weights, every operator included.
fn program() -> Program {
    let mut program = Program::new();
    let [hidden, normed, q, out] = [(); 4].map(|()| program.buffer(HIDDEN, RowSet::All));
    let [k, v] = [(); 2].map(|()| program.buffer(16, RowSet::All));
    let [tap, newest] = [RowSet::All, RowSet::Wanted].map(|rows| program.buffer(HIDDEN, rows));
    let (bytes, floats) = (MatrixId(0), MatrixId(1));
    let map = |weight| Affine { weight, bias: None };
    let part = |weight, out, write| Projection { map: map(weight), out, write };
    let weight = VectorId(0);
    let ops = [
        Op::Embed { table: bytes, out: hidden },
        Op::RmsNorm { input: hidden, weight, eps: 1e-5, out: normed },
        Op::Linear {
            input: normed,
            parts: vec![
                part(bytes, q, Write::Store),
                part(MatrixId(2), k, Write::Store),
                part(MatrixId(2), v, Write::Store),
            ],
        },
        Op::HeadNorm { buffer: q, weight: VectorId(1), eps: 1e-5 },
        Op::Rotate { buffer: q, head_size: 8 },
        Op::Rotate { buffer: k, head_size: 8 },
        Op::StoreKv { keys: k, values: v, layer: 0 },
        Op::Attention { queries: q, layer: 0, reach: Reach::Full, scale: 0.3, out },
        Op::Linear { input: out, parts: vec![part(floats, hidden, Write::Add)] },
        Op::SwiGlu { input: normed, gate: map(bytes), up: map(floats), out: q },
        Op::Copy { input: q, out: tap },
        Op::Select { input: hidden, out: newest },
    ];
    for op in ops {
        program.push(op);
    }
    program
}

fn weights(backend: &CpuBackend) -> Weights<CpuBackend> {
    let matrix = |rows: usize, format| {
        let value = |i: usize| (i % 17) as f32 / 16.0 - 0.5;
        let data: Vec<u8> = (0..rows * HIDDEN).flat_map(|i| value(i).to_le_bytes()).collect();
        let view = MatrixView {
            name: "w",
            format: WeightFormat::F32,
            rows,
            cols: HIDDEN,
            order: RowOrder::Natural,
            data: &data,
        };
        backend.pack(&view, format).expect("finite weights pack").into()
    };
    Weights {
        matrices: vec![
            matrix(HIDDEN, WeightFormat::Q8_0),
            matrix(HIDDEN, WeightFormat::Bf16),
            matrix(16, WeightFormat::Q4_0),
        ],
        vectors: vec![backend.vector(&[1.0; HIDDEN]), backend.vector(&[1.0; 8])],
    }
}

#[test]
fn a_warm_pass_allocates_nothing() {
    const ROWS: usize = 6;
    // The thread of the test runner allocates while it starts the test.
    std::thread::sleep(Duration::from_millis(200));
    let backend = CpuBackend::new(CpuOptions { threads: NonZeroUsize::new(3).unwrap(), isa: None });
    let (program, weights) = (program(), weights(&backend));
    let mut activations = backend.activations(&program, ROWS, 1);
    let mut kv = backend.kv(SHAPE);
    backend.grow_kv(&mut kv, 3);
    let mut run = |base: usize| {
        // A root with two children, one of which has a chain below it, and a sibling at the end.
        let pass = Pass {
            tokens: &[1, 2, 3, 4, 5, 6],
            rotation: &[0.5; ROWS * 8],
            subtree_end: &[6, 2, 5, 5, 5, 6],
            depth: &[0, 1, 1, 2, 3, 1],
            blocks: &[BlockId(2), BlockId(0), BlockId(1)],
            spans: &[SpanLayout {
                rows: Range32 { start: 0, end: ROWS as u32 },
                base,
                blocks: Range32 { start: 0, end: 3 },
            }],
            wanted: &[3],
            input: &[],
        };
        backend.run(&program, &weights, &pass, &mut activations, &mut kv);
    };
    run(0);
    let seen = allocations(|| (1..150).for_each(&mut run));
    assert_eq!(seen, 0, "allocations after the first pass");
}
