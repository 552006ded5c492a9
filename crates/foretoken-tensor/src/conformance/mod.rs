//! The tests that every backend passes: bit equality with [`Reference`](crate::Reference) in the backend's
//! order of pairs ([`Backend::pair_sum`]), and row invariance.
//!
//! Each function runs deterministic random cases on a team, one or more backends that compute the same bits, such as
//! one backend with several numbers of threads, and panics with the first difference. A backend calls
//! [`check_against_reference`] and [`check_invariance`] from its own tests, once per kernel level.
//!
//! - [`check_against_reference`] is the comparisons with the reference: [`check_operators`], [`check_linear`],
//!   [`check_attention`] and [`check_programs`] compare every activation buffer and every stored key and value of
//!   whole passes; [`check_packing`] does so for each stored and packed weight format, and for refusals;
//! - [`check_invariance`] compares a team with itself: a tree with each of its paths as a chain and
//!   one token at a time, prefill in chunks, a sequence alone and among others, on one member and on
//!   another; [`check_places`] is the part of it that concerns attention, [`check_row_counts`] that of products.
//!
//! Weight formats are those of [`QUANTS`](crate::QUANTS) that the reference packs, so a new one is
//! covered by its entry there.
//!
//! What it refuses to know: speed, threads and anything of a backend beyond the [`Backend`] trait.

mod attention;
mod invariance;
mod model;
mod operators;
mod packing;
mod pairwise;
mod programs;
mod rng;
mod runner;
#[cfg(test)]
mod tests;
mod tree;

pub use attention::check_attention;
pub use invariance::{check_invariance, check_places, check_row_counts};
pub use operators::{check_linear, check_operators};
pub use packing::check_packing;
pub use programs::check_programs;

use crate::Backend;

/// Row counts on both sides of every vector width, tile and block that kernels use.
const ROWS: [usize; 11] = [1, 2, 15, 16, 17, 33, 64, 65, 70, 120, 128];

/// How many random cases to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// A sample for every test run: every listed value occurs, few of their combinations.
    Quick,
    /// Eight times as many.
    Full,
}

impl Thoroughness {
    fn cases(self, quick: usize) -> std::ops::Range<usize> {
        match self {
            Self::Quick => 0..quick,
            Self::Full => 0..8 * quick,
        }
    }
}

/// Every comparison with the reference, which runs once for all members of a team.
///
/// # Panics
/// With the first difference.
pub fn check_against_reference<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    check_operators(team, thoroughness);
    check_linear(team, thoroughness);
    check_attention(team, thoroughness);
    check_packing(team, thoroughness);
    check_programs(team, thoroughness);
}

/// The value of a list for a case: lists of coprime lengths meet in every combination as cases go
/// on.
fn pick<T: Copy>(list: &[T], case: usize) -> T {
    list[case % list.len()]
}
