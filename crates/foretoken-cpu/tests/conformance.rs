//! The conformance suite at every level this machine has, for several numbers of threads.

use std::num::NonZeroUsize;

use foretoken_cpu::{CpuBackend, CpuOptions, Isa};
use foretoken_tensor::conformance::{Thoroughness, check};

fn conforms(isa: Isa) {
    if !isa.is_available() {
        println!("skipped: this machine has no {isa}");
        return;
    }
    for threads in 1..=4 {
        let threads = NonZeroUsize::new(threads).unwrap();
        let backend = CpuBackend::new(CpuOptions { threads, isa: Some(isa) });
        assert_eq!(backend.isa(), isa);
        check(&backend, Thoroughness::Quick);
    }
}

#[test]
fn scalar_conforms() {
    conforms(Isa::Scalar);
}

#[test]
fn avx2_conforms() {
    conforms(Isa::Avx2);
}

#[test]
fn avx512_conforms() {
    conforms(Isa::Avx512);
}
