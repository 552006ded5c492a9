//! The conformance suite at every level this machine has, for several numbers of threads: a team
//! per level. On machines without AMX the unit tests of `amx` run what tiles can break on emulated ones.
#![allow(clippy::print_stdout, reason = "a test says when it skips")]

use std::num::NonZeroUsize;

use foretoken_cpu::{CpuBackend, CpuOptions, Isa};
use foretoken_tensor::conformance::{
    Thoroughness, check_against_reference, check_places, check_row_counts,
};

/// More threads than the narrowest model of the suite has columns, and those of usual machines.
const THREADS: [usize; 5] = [1, 2, 3, 4, 9];

/// A level for several numbers of threads, if this machine has it.
fn team(isa: Isa) -> Option<[CpuBackend; THREADS.len()]> {
    if !isa.is_available() {
        println!("skipped: this machine has no {isa}");
        return None;
    }
    let team = THREADS.map(|threads| {
        let threads = NonZeroUsize::new(threads).expect("at least one thread");
        CpuBackend::new(CpuOptions { threads, isa: Some(isa) })
    });
    assert!(team.iter().all(|backend| backend.isa() == isa));
    Some(team)
}

/// The suite at a level, in tests that cores can share.
macro_rules! levels {
    ($($level:ident: $isa:expr,)+) => {
        $(mod $level {
            use super::*;

            #[test]
            fn equals_the_reference() {
                let Some(team) = team($isa) else { return };
                check_against_reference(&team, Thoroughness::Quick);
            }

            #[test]
            fn is_invariant_at_all_places() {
                let Some(team) = team($isa) else { return };
                check_places(&team, Thoroughness::Quick);
            }

            #[test]
            fn is_invariant_for_all_row_counts() {
                let Some(team) = team($isa) else { return };
                check_row_counts(&team, Thoroughness::Quick);
            }
        })+
    };
}

levels! {
    scalar: Isa::Scalar,
    neon: Isa::Neon,
    dotprod: Isa::DotProd,
    i8mm: Isa::I8mm,
    avx2: Isa::Avx2,
    avxvnni: Isa::AvxVnni,
    avx512: Isa::Avx512,
    amx: Isa::Amx,
}
