//! Training of small models and drafting heads: backward passes, losses and the optimiser.
//!
//! A [`Llama`] owns its [`Parameters`] and activations; [`Llama::step`] computes the loss of a [`Batch`] and adds
//! its gradients, [`AdamW::update`] takes them. Operators are explicit functions over slices, so a head
//! that is trained beside a model is written with the same ones. [`Compute`] says on how many threads and in what
//! precision; equal seeds give equal bits on any number of threads.
//!
//! This crate reads no text, prints nothing and knows no drafter.

#![forbid(unsafe_code)]

mod compute;
mod error;
mod learner;
mod llama;
mod loss;
pub mod operators;
mod optimizer;
mod parameters;
mod vector;

pub use compute::Compute;
pub use error::TrainError;
pub use foretoken_cpu::{CpuOptions, Precision};
pub use learner::{Learner, Metrics};
pub use llama::{Batch, Llama, LlamaShape, StoredAs};
pub use loss::{HeadGradient, HeadLoss, LossScratch, Targets, Teacher};
pub use optimizer::{AdamOptions, AdamW, CosineSchedule};
pub use parameters::{Parameter, Parameters, clip};
