//! What decides the text, without tensors: draft trees, acceptance rules, sampling and its noise.
//!
//! A forward pass computes a [`DraftTree`] of new tokens. A [`Verifier`] walks it under a [`Rule`],
//! with the target's rows and the [`Sampler`] of the sequence, and says which path of the tree the
//! text takes and which token follows it. Where the text is sampled, the randomness is [`Noise`]: a
//! pure function of seed and position, so that text drafted under [`Rule::Coupled`] is the text
//! without drafting, token for token.
//!
//! In every formula p is the target's distribution after all sampling parameters and q the one a
//! draft token was really drawn from, as in Leviathan et al. (Chen et al. swap the letters).
//!
//! This crate knows no models, drafters, files or devices.

#![forbid(unsafe_code)]

mod acceptance;
mod noise;
mod sampling;
mod sparse;
mod stats;
mod tree;
mod union;

pub use acceptance::{Accepted, DraftSampler, Rows, Rule, Step, Verifier, follow};
pub use noise::{Domain, Noise};
pub use sampling::{
    Distribution, LogProbabilities, ParamError, Ranked, SampleError, Sampler, SamplingParams,
};
pub use sparse::{Guess, PathCounts, PathRates, SparseTree, SparseTreeError};
pub use stats::SpecStats;
pub use tree::{BuildId, DraftTree, MAX_NODES, Proposal, Role, TreeBuilder, TreeError};
pub use union::Union;

/// Index of a token in the target's vocabulary.
pub type TokenId = u32;

/// A node of a [`DraftTree`]: its index in preorder.
pub type NodeId = usize;
