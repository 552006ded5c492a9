//! Of the conformance suite what tiles can break, on those of the machine or else emulated ones.
//!
//! The reference computes each row by itself, so equality with it at one number of rows includes invariance there, and
//! projections meet every number that the suite lists. Invariance's own tests take minutes on emulated tiles:
//! `tests/conformance.rs` runs them where the machine has tiles.

use std::num::NonZeroUsize;

use foretoken_tensor::conformance::{Thoroughness, check_linear, check_packing, check_programs};

use crate::CpuBackend;
use crate::pool::Pool;
use crate::table::x86::on_tiles;

/// A backend with tiles for several numbers of threads; none where the vectors beside them lack.
fn team() -> Option<[CpuBackend; 2]> {
    let backend = |threads| {
        let pool = Pool::new(NonZeroUsize::new(threads).expect("at least one thread"));
        on_tiles().map(|table| CpuBackend { table, pool })
    };
    Some([backend(1)?, backend(3)?])
}

#[test]
fn projections_on_tiles_conform() {
    let Some(team) = team() else { return };
    check_linear(&team, Thoroughness::Quick);
}

#[test]
fn packing_for_tiles_conforms() {
    let Some(team) = team() else { return };
    check_packing(&team, Thoroughness::Quick);
}

#[test]
fn programs_on_tiles_conform() {
    let Some(team) = team() else { return };
    check_programs(&team, Thoroughness::Quick);
}
