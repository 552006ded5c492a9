//! The conformance suite at every level this machine has, for several numbers of threads.
#![allow(clippy::print_stdout, reason = "a test says when it skips")]

use std::num::NonZeroUsize;

use foretoken_cpu::{CpuBackend, CpuOptions, Isa};
use foretoken_tensor::conformance::{Thoroughness, check};

fn conforms(isa: Isa, threads: &[usize]) {
    if !isa.is_available() {
        println!("skipped: this machine has no {isa}");
        return;
    }
    for threads in threads {
        let threads = NonZeroUsize::new(*threads).expect("at least one thread");
        let backend = CpuBackend::new(CpuOptions { threads, isa: Some(isa) });
        assert_eq!(backend.isa(), isa);
        check(&backend, Thoroughness::Quick);
    }
}

#[test]
fn scalar_conforms() {
    // Without an fma instruction each costs a call, and threads are the other levels' business too.
    conforms(Isa::Scalar, &[3]);
}

#[test]
fn avx2_conforms() {
    conforms(Isa::Avx2, &[1, 4]);
}

#[test]
fn avx512_conforms() {
    conforms(Isa::Avx512, &[1, 2, 3, 4]);
}
