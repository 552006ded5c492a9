//! The operators of a decoder, forward and backward.
//!
//! Matrices are dense rows of f32, one row per token. A backward pass is given what the forward pass was given
//! and the gradient of its output; gradients of parameters are added to, gradients of inputs are written as each
//! operator says. Nothing is saved behind the caller's back.

mod attention;
mod embedding;
mod linear;
mod norm;
mod pointwise;
mod rope;

pub(crate) use attention::AttentionScratch;
pub use attention::{Attention, AttentionGradient, AttentionRows};
pub use embedding::{gather, gather_backward};
pub use linear::{Linear, LinearGradient};
pub use norm::{NormGradient, RmsNorm};
pub use pointwise::{SiluBlock, SiluBlockGradient, swiglu, swiglu_backward};
pub use rope::{Direction, Rope};
