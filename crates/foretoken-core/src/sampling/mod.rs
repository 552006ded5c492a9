//! From a row of logits to a token: what decides the text.
//!
//! The stages, in this order: bans and logit bias; repetition penalty; presence and frequency
//! penalty; temperature; top-k; top-p; min-p; the draw. A draw is the surviving token with the
//! largest `x/T + g`, where `g` is the noise of its position ([`crate::Noise`]), so it is a pure
//! function of the row, the text before it, the parameters and the seed.
//!
//! This module sees one row and one prefix at a time. It does not know trees, models or drafters.

mod best;
mod distribution;
mod history;
mod logprobs;
mod params;
mod perturb;
mod pipeline;
mod sampler;
mod scan;
mod sums;

pub use distribution::Distribution;
pub use logprobs::LogProbabilities;
pub use params::{ParamError, SamplingParams};
pub use perturb::Ranked;
pub use sampler::Sampler;
pub use scan::SampleError;

#[cfg(test)]
mod tests;
