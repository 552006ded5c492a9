//! A product of a size that its scratch has seen allocates nothing.

use std::alloc::System;
use std::num::NonZeroUsize;
use std::time::Duration;

use foretoken_cpu::{
    CpuBackend, CpuOptions, GemmScratch, Matrix, MatrixMut, Precision, Product, Write,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_warm_product_allocates_nothing() {
    const SIZE: usize = 150;
    // The thread of the test runner allocates while it starts the test.
    std::thread::sleep(Duration::from_millis(200));
    let backend = CpuBackend::new(CpuOptions { threads: NonZeroUsize::new(3).unwrap(), isa: None });
    let (values, mut out) = (vec![1.0; SIZE * SIZE], vec![0.0; SIZE * SIZE]);
    let mut scratch = GemmScratch::default();
    let mut multiply = |precision| {
        let a = Matrix::new(&values, SIZE);
        for (a, b) in [(a, a), (a.transposed(), a), (a, a.transposed())] {
            let out = MatrixMut::new(&mut out, SIZE);
            let product = Product { a, b, out, write: Write::Add, precision };
            backend.multiply(&mut scratch, product);
        }
    };
    multiply(Precision::F32);
    multiply(Precision::Bf16);
    let region = Region::new(ALLOCATOR);
    for _ in 0..20 {
        multiply(Precision::Bf16);
        multiply(Precision::F32);
    }
    let seen = region.change();
    assert_eq!(seen.allocations + seen.reallocations, 0, "allocations after the first products");
}
