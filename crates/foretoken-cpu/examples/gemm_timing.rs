//! Times the three products of a linear layer, in both precisions.
//!
//! `cargo run --release -p foretoken-cpu --example gemm_timing -- [ROWS INPUTS OUTPUTS THREADS ISA]`
//!
//! `ROWS` tokens pass a matrix `[OUTPUTS, INPUTS]`: forward, gradient of the input, gradient of the matrix.
//! They take turns in every round; reported are medians.

#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::num::NonZeroUsize;
use std::time::Instant;

use foretoken_cpu::{
    CpuBackend, CpuOptions, GemmScratch, Isa, Matrix, MatrixMut, Precision, Product, Write,
    default_threads,
};

const ROUNDS: usize = 15;
const PRODUCTS: [&str; 3] = ["x wT", "dy w", "dyT x"];

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (rows, inputs, outputs) = (number(4096), number(384), number(1024));
    let threads = NonZeroUsize::new(number(0)).unwrap_or_else(default_threads);
    let isa = args.next().as_deref().and_then(Isa::parse);
    let backend = CpuBackend::new(CpuOptions { threads, isa });
    println!("{} with {threads} threads, {rows} rows, [{outputs}, {inputs}]", backend.isa());
    let values =
        |len: usize| -> Vec<f32> { (0..len).map(|i| (i % 2003) as f32 - 1001.0).collect() };
    let (x, w, y) = (values(rows * inputs), values(outputs * inputs), values(rows * outputs));
    let (x, w, y) = (Matrix::new(&x, inputs), Matrix::new(&w, inputs), Matrix::new(&y, outputs));
    let factors = [(x, w.transposed()), (y, w), (y.transposed(), x)];
    let mut outs = factors.map(|(a, b)| vec![0.0; a.rows() * b.columns()]);
    let mut scratch = GemmScratch::default();
    for precision in [Precision::F32, Precision::Bf16] {
        let mut seconds = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for ((seconds, out), (a, b)) in seconds.iter_mut().zip(&mut outs).zip(factors) {
                let start = Instant::now();
                let out = MatrixMut::new(out, b.columns());
                let product = Product { a, b, out, write: Write::Store, precision };
                backend.multiply(&mut scratch, product);
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        for (name, mut seconds) in PRODUCTS.into_iter().zip(seconds) {
            seconds.sort_unstable_by(f64::total_cmp);
            let median = seconds[ROUNDS / 2];
            let rate = 2.0 * (rows * inputs * outputs) as f64 / median / 1e9;
            println!("{precision:?} {name:6} {:7.3} ms {rate:6.1} GFLOP/s", median * 1e3);
        }
    }
}
