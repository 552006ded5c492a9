//! Products at odd sizes on every level, against f64 and bit for bit against the order of the level.

use std::num::NonZeroUsize;

use foretoken_tensor::arithmetic::{PAIR_BLOCK, add_block, add_pair, round_bf16};
use half::bf16;

use super::*;
use crate::pool::Pool;

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];
const WRITES: [Write; 2] = [Write::Store, Write::Add];
/// (rows, inner, columns): tails of rows, links, panels, groups and blocks; more threads than rows.
const SIZES: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (3, 7, 5),
    (8, 2, 16),
    (9, 33, 31),
    (17, 385, 70),
    (130, 64, 33),
    (35, 777, 81),
    (6, 1100, 34),
];

fn backends(threads: usize) -> Vec<CpuBackend> {
    let threads = NonZeroUsize::new(threads).expect("one or more");
    let tables = KernelTable::all();
    tables.into_iter().map(|table| CpuBackend { table, pool: Pool::new(threads) }).collect()
}

/// Values of both signs and several magnitudes.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let unit = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        unit * [0.01, 1.0, 30.0][(state >> 5) as usize % 3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A matrix of this shape, stored as it is or transposed.
fn matrix(values: &[f32], rows: usize, columns: usize, transposed: bool) -> Matrix<'_> {
    if transposed { Matrix::new(values, rows).transposed() } else { Matrix::new(values, columns) }
}

fn rounded(value: f32, precision: Precision) -> f64 {
    f64::from(match precision {
        Precision::F32 => value,
        Precision::Bf16 => bf16::from_f32(value).to_f32(),
    })
}

/// The product and the sum of its terms' magnitudes, in f64.
fn oracle(a: &Matrix<'_>, b: &Matrix<'_>, at: (usize, usize), precision: Precision) -> (f64, f64) {
    let value = |m: &Matrix<'_>, row, column| {
        let (row_step, column_step) = m.steps();
        rounded(m.values()[row * row_step + column * column_step], precision)
    };
    let terms = (0..a.columns()).map(|k| value(a, at.0, k) * value(b, k, at.1));
    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
}

#[test]
fn products_are_those_of_f64_on_every_level_in_every_order() {
    let backends = backends(2);
    let mut scratch = GemmScratch::default();
    for &(m, k, n) in SIZES {
        let (a, b, before) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
        for order in 0..16 {
            let (precision, write) = (PRECISIONS[order & 1], WRITES[order >> 3]);
            let a = matrix(&a, m, k, order & 2 != 0);
            let b = matrix(&b, k, n, order & 4 != 0);
            let cells = (0..m).flat_map(|row| (0..n).map(move |column| (row, column)));
            let wanted: Vec<_> = cells.map(|at| oracle(&a, &b, at, precision)).collect();
            for backend in &backends {
                let mut got = before.clone();
                let out = MatrixMut::new(&mut got, n);
                backend.multiply(&mut scratch, Product { a, b, out, write, precision });
                for ((got, before), (sum, size)) in got.iter().zip(&before).zip(&wanted) {
                    let old = if write == Write::Add { f64::from(*before) } else { 0.0 };
                    let error = (f64::from(*got) - sum - old).abs();
                    assert!(
                        error <= 1e-6 * (size + old.abs() + 1e-30),
                        "{} {m} x {k} x {n} {precision:?} {write:?} order {order}: {error:e}",
                        backend.isa()
                    );
                }
            }
        }
    }
}

/// The sum of a row and a column in the order of the precision, and in bf16 of the level.
fn specified(start: f32, (x, w): (&[f32], &[f32]), precision: Precision, order: PairSum) -> f32 {
    if precision == Precision::F32 {
        return x.iter().zip(w).fold(start, |sum, (x, w)| x.mul_add(*w, sum));
    }
    let rounded = |values: &[f32]| values.iter().copied().map(round_bf16).collect::<Vec<_>>();
    let (x, w) = (rounded(x), rounded(w));
    let pair = |values: &[f32]| [values[0], values.get(1).copied().unwrap_or(0.0)];
    match order {
        PairSum::Chain => (x.chunks(2).zip(w.chunks(2)))
            .fold(start, |sum, (x, w)| add_pair(sum, pair(x), pair(w))),
        PairSum::Blocks => (x.chunks(PAIR_BLOCK).zip(w.chunks(PAIR_BLOCK)))
            .fold(start, |sum, (x, w)| add_block(sum, x, w)),
    }
}

#[test]
fn bits_are_those_of_the_order_for_any_threads() {
    let teams = [1, 2, 3, 5].map(backends);
    let mut scratch = GemmScratch::default();
    for &(m, k, n) in SIZES {
        // Rows of the left factor, columns of the right one.
        let (lines, columns, before) = (values(m * k, 4), values(k * n, 5), values(m * n, 6));
        let across = |lines: &[f32]| -> Vec<f32> {
            (0..k).flat_map(|k_at| lines.iter().copied().skip(k_at).step_by(k)).collect()
        };
        let (a, b) = ([lines.clone(), across(&lines)], [across(&columns), columns.clone()]);
        let orders = [
            (Precision::F32, None),
            (Precision::Bf16, Some(PairSum::Chain)),
            (Precision::Bf16, Some(PairSum::Blocks)),
        ];
        for ((precision, order), write) in
            orders.into_iter().flat_map(|order| WRITES.map(|write| (order, write)))
        {
            let wanted: Vec<f32> = (before.chunks(n).zip(lines.chunks(k)))
                .flat_map(|(before, x)| {
                    before.iter().zip(columns.chunks(k)).map(move |(before, w)| (*before, x, w))
                })
                .map(|(before, x, w)| {
                    let start = if write == Write::Add { before } else { 0.0 };
                    specified(start, (x, w), precision, order.unwrap_or_default())
                })
                .collect();
            let backends = teams.iter().flatten();
            for (backend, stored) in backends
                .filter(|backend| order.is_none_or(|order| order == backend.table.pair_sum))
                .flat_map(|backend| (0..4).map(move |stored| (backend, stored)))
            {
                let (left, right) = (stored & 1, stored >> 1);
                let a = matrix(&a[left], m, k, left == 1);
                let b = matrix(&b[right], k, n, right == 1);
                let mut got = before.clone();
                let out = MatrixMut::new(&mut got, n);
                backend.multiply(&mut scratch, Product { a, b, out, write, precision });
                assert!(
                    got.iter().map(|v| v.to_bits()).eq(wanted.iter().map(|v| v.to_bits())),
                    "{} with {} threads, {m} x {k} x {n} {precision:?} {write:?}, stored {stored}",
                    backend.isa(),
                    backend.threads(),
                );
            }
        }
    }
}

#[test]
fn right_factors_in_several_blocks_are_the_whole() {
    let (m, k, n) = (21, 70, 200);
    let (a, b) = (values(m * k, 9), values(k * n, 10));
    let (a, b) = (Matrix::new(&a, k), Matrix::new(&b, n));
    for backend in backends(2) {
        for precision in PRECISIONS {
            let (mut scratch, write) = (GemmScratch::default(), Write::Store);
            let [mut whole, mut parts] = [vec![0.0; m * n], vec![f32::NAN; m * n]];
            let out = MatrixMut::new(&mut whole, n);
            backend.multiply(&mut scratch, Product { a, b, out, write, precision });
            let out = MatrixMut::new(&mut parts, n);
            let product = Product { a, b, out, write, precision };
            let mut job = Multiply::new(&backend.table, &mut scratch, product, 2).expect("work");
            job.columns = PANELS * LANES;
            backend.pool.run_job(&job);
            assert_eq!(whole, parts);
        }
    }
}

#[test]
fn blocks_of_columns_and_of_stored_matrices_are_their_parts() {
    let (m, k, n) = (21, 70, 40);
    let (a, b) = (values(m * k, 7), values(k * n, 8));
    let (a, b) = (Matrix::new(&a, k), Matrix::new(&b, n));
    for backend in backends(1) {
        for precision in PRECISIONS {
            let mut scratch = GemmScratch::default();
            let mut whole = vec![0.0; 9 * n];
            let (left, out) = (a.block(5..14, 3..k), MatrixMut::new(&mut whole, n));
            let (right, write) = (b.block(3..k, 0..n), Write::Store);
            backend.multiply(&mut scratch, Product { a: left, b: right, out, write, precision });
            let mut parts = vec![f32::NAN; 9 * n];
            let mut first = 0;
            for out in MatrixMut::new(&mut parts, n).column_blocks(17) {
                let right = right.block(0..k - 3, first..first + out.columns());
                first += out.columns();
                let product = Product { a: left, b: right, out, write, precision };
                backend.multiply_alone(&mut scratch, product);
            }
            assert_eq!(whole, parts);
        }
    }
}

#[test]
fn nothing_to_sum_is_zero_and_nothing_to_write_is_nothing() {
    for backend in backends(2) {
        let (mut out, values) = ([1.0, 2.0], [3.0, 4.0]);
        let empty = Matrix::new(&values, 2).block(0..1, 0..0);
        let right = Matrix::new(&values, 2).block(0..0, 0..2);
        for (write, wanted) in [(Write::Add, [1.0, 2.0]), (Write::Store, [0.0; 2])] {
            let out_view = MatrixMut::new(&mut out, 2);
            let precision = Precision::F32;
            let product = Product { a: empty, b: right, out: out_view, write, precision };
            backend.multiply(&mut GemmScratch::default(), product);
            assert_eq!(out, wanted);
        }
    }
}
