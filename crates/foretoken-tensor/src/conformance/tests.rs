//! The suite on the oracle itself, the oracle against f64, and broken backends that the suite must
//! notice.

mod mutants;
mod oracle;

use super::*;
use crate::Reference;

#[test]
fn the_reference_passes() {
    check_operators(&Reference, Thoroughness::Quick);
    check_linear(&Reference, Thoroughness::Quick);
    check_packing(&Reference, Thoroughness::Quick);
    check_attention(&Reference, Thoroughness::Quick);
    check_programs(&Reference, Thoroughness::Quick);
}

#[test]
fn the_reference_is_row_invariant() {
    check_invariance(&Reference, Thoroughness::Quick);
}
