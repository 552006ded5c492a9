//! Times one projection per weight format and row count, beside a sweep that only reads.
//!
//! `cargo run --release -p foretoken-cpu --example linear_timing -- [OUTPUTS INPUTS THREADS ISA]`
//!
//! Several copies of the matrix, together larger than the last-level cache, are multiplied in turn, as
//! the layers of a model are. Row counts and the sweep take turns in every round, so that a machine whose
//! speed drifts treats them alike; reported are the best rounds.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use foretoken_cpu::{CpuActivations, CpuBackend, CpuKv, CpuOptions, Isa, default_threads};
use foretoken_tensor::{
    Affine, Backend, BlockId, KvShape, KvType, MatrixId, MatrixView, Op, Pass, Program, Projection,
    Range32, RowOrder, RowSet, SpanLayout, WeightFormat, Weights, Write,
};

const ROWS: &[usize] = &[1, 2, 4, 8, 16, 32, 64];
const FORMATS: &[WeightFormat] = &[
    WeightFormat::F32,
    WeightFormat::F16,
    WeightFormat::Bf16,
    WeightFormat::Q8_0,
    WeightFormat::Q4_0,
];
/// Packed bytes swept per round.
const BYTES: usize = 96 << 20;
const ROUNDS: usize = 31;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (outputs, inputs) = (number(8192), number(2048));
    let threads = NonZeroUsize::new(number(0)).unwrap_or_else(default_threads);
    let isa = args.next().as_deref().and_then(Isa::parse);
    let backend = CpuBackend::new(CpuOptions { threads, isa });
    println!("{} with {threads} threads, [{outputs}, {inputs}]", backend.name());
    let sweep = Sweep::new(threads.get());
    for format in FORMATS {
        let weights = weights(&backend, *format, outputs, inputs);
        let bytes: usize = weights.matrices.iter().map(|m| backend.packed_bytes(m)).sum();
        let mut cases: Vec<Case> =
            ROWS.iter().map(|rows| Case::new(&backend, &weights, *rows, outputs, inputs)).collect();
        let mut read = f64::INFINITY;
        for _ in 0..ROUNDS {
            read = read.min(sweep.seconds());
            for case in &mut cases {
                case.run(&backend, &weights);
            }
        }
        let (read, one) = (BYTES as f64 / read, cases[0].best);
        let rate = bytes as f64 / one;
        let share = 100.0 * rate / read;
        print!(
            "{:5} {:5.1} GB/s, {share:3.0} % of {:.1}; t(n)/t(1)",
            format.name(),
            rate / 1e9,
            read / 1e9
        );
        for case in &cases[1..] {
            print!("  {}: {:.2}", case.rows, case.best / one);
        }
        println!();
    }
}

/// Reads memory with nothing else to do.
struct Sweep {
    values: Vec<u64>,
    threads: usize,
}

impl Sweep {
    fn new(threads: usize) -> Self {
        Self { values: vec![1; BYTES / 8], threads }
    }

    fn seconds(&self) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in self.values.chunks(self.values.len().div_ceil(self.threads)) {
                scope.spawn(|| std::hint::black_box(sum(part)));
            }
        });
        start.elapsed().as_secs_f64()
    }
}

/// Sums four streams at once, as many as a projection reads.
fn sum(values: &[u64]) -> u64 {
    let mut streams = values.chunks_exact(values.len() / 4);
    let [a, b, c, d] = [(); 4].map(|()| streams.next().unwrap_or(&[]).as_chunks::<8>().0);
    let mut sums = [[0u64; 8]; 4];
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        for (sums, values) in sums.iter_mut().zip([a, b, c, d]) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = sum.wrapping_add(*value);
            }
        }
    }
    sums.as_flattened().iter().copied().fold(0, u64::wrapping_add)
}

fn weights(
    backend: &CpuBackend,
    format: WeightFormat,
    outputs: usize,
    inputs: usize,
) -> Weights<CpuBackend> {
    let values: Vec<u8> = (0..outputs * inputs)
        .flat_map(|i| (((i * 7919) % 2003) as f32 / 1001.5 - 1.0).to_le_bytes())
        .collect();
    let view = MatrixView {
        name: "timing",
        format: WeightFormat::F32,
        rows: outputs,
        cols: inputs,
        order: RowOrder::Natural,
        data: &values,
    };
    let mut matrices = Vec::new();
    let mut bytes = 0;
    while bytes < BYTES {
        let matrix = backend.pack(&view, format).expect("finite weights pack");
        bytes += backend.packed_bytes(&matrix);
        matrices.push(Arc::new(matrix));
    }
    Weights { matrices, vectors: Vec::new() }
}

/// Passes of some rows over every matrix.
struct Case {
    rows: usize,
    program: Program,
    activations: CpuActivations,
    kv: CpuKv,
    /// Best seconds so far.
    best: f64,
}

impl Case {
    fn new(
        backend: &CpuBackend,
        weights: &Weights<CpuBackend>,
        rows: usize,
        outputs: usize,
        inputs: usize,
    ) -> Self {
        let mut program = Program::new();
        let input = program.buffer(inputs, RowSet::All);
        let out = program.buffer(outputs, RowSet::All);
        for weight in 0..weights.matrices.len() {
            let weight = MatrixId(weight as u32);
            let part = Projection { map: Affine { weight, bias: None }, out, write: Write::Store };
            program.push(Op::Linear { input, parts: vec![part] });
        }
        let shape = KvShape { layers: 1, kv_heads: 1, head_size: 16, kv_type: KvType::F32 };
        let mut kv = backend.kv(shape);
        backend.grow_kv(&mut kv, 1);
        let activations = backend.activations(&program, rows, 0);
        Self { rows, program, activations, kv, best: f64::INFINITY }
    }

    fn run(&mut self, backend: &CpuBackend, weights: &Weights<CpuBackend>) {
        let rows = self.rows as u32;
        let pass = Pass {
            tokens: &vec![0; self.rows],
            rotation: &[],
            subtree_end: &vec![rows; self.rows],
            depth: &(0..rows).collect::<Vec<_>>(),
            blocks: &[BlockId(0)],
            spans: &[SpanLayout {
                rows: Range32 { start: 0, end: rows },
                base: 0,
                blocks: Range32 { start: 0, end: 1 },
            }],
            wanted: &[],
            input: &[],
        };
        let start = Instant::now();
        backend.run(&self.program, weights, &pass, &mut self.activations, &mut self.kv);
        self.best = self.best.min(start.elapsed().as_secs_f64());
    }
}
