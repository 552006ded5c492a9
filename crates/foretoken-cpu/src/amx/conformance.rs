//! The conformance suite on tiles: those of the machine, or else emulated ones.

use std::num::NonZeroUsize;

use foretoken_tensor::conformance::{
    Thoroughness, check_linear, check_packing, check_programs, check_row_counts,
};

use crate::CpuBackend;
use crate::pool::Pool;
use crate::table::x86::on_tiles;

/// A backend with tiles for several numbers of threads; empty where the vectors beside them lack.
fn team() -> Vec<CpuBackend> {
    let backend = |threads| {
        let pool = Pool::new(NonZeroUsize::new(threads).expect("at least one thread"));
        on_tiles().map(|table| CpuBackend { table, pool })
    };
    [1, 3].into_iter().filter_map(backend).collect()
}

#[test]
fn projections_on_tiles_conform() {
    for backend in team() {
        check_linear(&backend, Thoroughness::Quick);
    }
}

#[test]
fn packing_for_tiles_conforms() {
    for backend in team() {
        check_packing(&backend, Thoroughness::Quick);
    }
}

#[test]
fn programs_on_tiles_conform() {
    for backend in team() {
        check_programs(&backend, Thoroughness::Quick);
    }
}

/// Bases and windows are attention's, which knows no tiles.
#[test]
fn rows_on_tiles_are_invariant() {
    let team = team();
    if !team.is_empty() {
        check_row_counts(&team, Thoroughness::Quick);
    }
}
