//! The conformance suite at every level this machine has, for several numbers of threads: a team
//! per level.
#![allow(clippy::print_stdout, reason = "a test says when it skips")]

use std::num::NonZeroUsize;

use foretoken_cpu::{CpuBackend, CpuOptions, Isa};
use foretoken_tensor::conformance::{Thoroughness, check};

/// More threads than the narrowest model of the suite has columns, and those of usual machines.
const THREADS: [usize; 5] = [1, 2, 3, 4, 9];

fn conforms(isa: Isa) {
    if !isa.is_available() {
        println!("skipped: this machine has no {isa}");
        return;
    }
    let team = THREADS.map(|threads| {
        let threads = NonZeroUsize::new(threads).expect("at least one thread");
        CpuBackend::new(CpuOptions { threads, isa: Some(isa) })
    });
    assert!(team.iter().all(|backend| backend.isa() == isa));
    check(&team, Thoroughness::Quick);
}

#[test]
fn scalar_conforms() {
    conforms(Isa::Scalar);
}

#[test]
fn neon_conforms() {
    conforms(Isa::Neon);
}

#[test]
fn dotprod_conforms() {
    conforms(Isa::DotProd);
}

#[test]
fn i8mm_conforms() {
    conforms(Isa::I8mm);
}

#[test]
fn avx2_conforms() {
    conforms(Isa::Avx2);
}

#[test]
fn avxvnni_conforms() {
    conforms(Isa::AvxVnni);
}

#[test]
fn avx512_conforms() {
    conforms(Isa::Avx512);
}
