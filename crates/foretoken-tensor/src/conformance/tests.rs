//! The suite on the oracle itself, the oracle against f64, and broken backends that the suite must
//! notice.

mod mutants;
mod oracle;

use std::collections::BTreeSet;

use super::*;
use crate::Reference;

#[test]
fn the_reference_passes() {
    check_against_reference(&[Reference], Thoroughness::Quick);
}

#[test]
fn the_reference_is_row_invariant() {
    check_invariance(&[Reference], Thoroughness::Quick);
}

#[test]
fn every_pair_of_axis_values_meets() {
    // The formats of today and more, alone and in a team of five.
    for (formats, team) in [(5, 5), (8, 5), (5, 1)] {
        let cases = invariance::row_cases(formats, team);
        let sizes: [usize; 11] =
            std::array::from_fn(|axis| 1 + cases.iter().map(|case| case[axis]).max().unwrap_or(0));
        assert_eq!((sizes[0], sizes[1], sizes[10]), (ROWS.len(), formats, team));
        for a in 0..sizes.len() {
            for b in 0..a {
                let met: BTreeSet<_> = cases.iter().map(|case| (case[a], case[b])).collect();
                assert_eq!(met.len(), sizes[a] * sizes[b], "axes {a} and {b} of {sizes:?}");
            }
        }
    }
}
