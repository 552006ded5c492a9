//! What a forward pass computes, and how exactly.
//!
//! - [`Program`]: the recorded operators of a model; [`Pass`]: the inputs of one run of it.
//! - [`Backend`]: what a device offers. [`Reference`] is the scalar one and, with [`arithmetic`],
//!   the specification that every other reproduces bit for bit; [`conformance`] checks that.
//! - [`WeightFormat`], [`QUANTS`] and [`MatrixView`]: how weights are stored, decoded, converted.
//!
//! The crate knows no files, no model families, no drafting and no instruction sets, and it uses no
//! unsafe code.

#![forbid(unsafe_code)]

pub mod arithmetic;
mod backend;
pub mod conformance;
mod format;
mod matrix;
mod program;
mod quant;
mod reference;

pub use backend::*;
pub use format::*;
pub use matrix::*;
pub use program::*;
pub use quant::{Block, Encoder, Integers, QUANTS, QuantSpec};
pub use reference::{Reference, ReferenceActivations, ReferenceKv, ReferenceMatrix};
