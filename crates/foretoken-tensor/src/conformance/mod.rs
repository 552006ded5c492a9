//! The tests that every backend passes: bit equality with [`Reference`](crate::Reference) in the backend's
//! order of pairs ([`Backend::pair_sum`]), and row invariance.
//!
//! Each function runs deterministic random cases on a backend and panics with the first difference.
//! A backend calls [`check`] from its own tests, once per kernel level, on a team: the backend with
//! several numbers of threads.
//!
//! - [`check_operators`], [`check_linear`], [`check_attention`] and [`check_programs`] compare
//!   every activation buffer and every stored key and value of whole passes with the reference's;
//! - [`check_packing`] does so for each stored and packed weight format, and for refusals;
//! - [`check_invariance`] compares a team with itself: a tree with each of its paths as a chain and
//!   one token at a time, prefill in chunks, a sequence alone and among others, on one member and on
//!   another; [`check_row_counts`] is the part of it that concerns products.
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
pub use invariance::{check_invariance, check_row_counts};
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

/// Runs the whole suite: every comparison with the reference on each member of a team, then the
/// team against itself.
///
/// # Panics
/// With the first difference.
pub fn check<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    for backend in team {
        check_operators(backend, thoroughness);
        check_linear(backend, thoroughness);
        check_attention(backend, thoroughness);
        check_packing(backend, thoroughness);
        check_programs(backend, thoroughness);
    }
    check_invariance(team, thoroughness);
}

/// The value of a list for a case: lists of coprime lengths meet in every combination as cases go
/// on.
fn pick<T: Copy>(list: &[T], case: usize) -> T {
    list[case % list.len()]
}
