//! Training of small models and drafting heads: backward passes, losses and the optimiser.
//!
//! A [`Llama`] owns its [`Parameters`] and activations; [`Llama::step`] computes the loss of a [`Batch`] and adds
//! its gradients, [`AdamW::update`] takes them. Operators are explicit functions over slices, so a head
//! that is trained beside a model is written with the same ones. [`Compute`] says on how many threads and in what
//! precision; equal seeds give equal bits on any number of threads.
//!
//! [`data`] reads text and packs it into batches, and a [`Run`] drives a [`Learner`] over them, from checkpoint
//! to checkpoint.
//!
//! This crate prints nothing and knows no drafter.

#![forbid(unsafe_code)]

mod base;
mod batch;
mod compute;
pub mod data;
mod draft;
mod error;
mod learner;
mod llama;
mod loss;
mod medusa;
pub mod operators;
mod optimizer;
mod parameters;
mod run;
mod teacher;
mod vector;
mod vocabulary;
mod weights;

pub use base::BaseModel;
pub use batch::Batch;
pub use compute::Compute;
pub use draft::DraftModel;
pub use error::TrainError;
pub use foretoken_cpu::{CpuOptions, Precision, default_threads};
pub use foretoken_model::{HeadPrecision, MedusaShape};
pub use learner::{Learner, Metrics};
pub use llama::{Llama, LlamaOutput, LlamaShape};
pub use loss::{HeadGradient, HeadLoss, LossScratch, Targets, Teacher};
pub use medusa::{
    HeadExport, HeadLabels, HeadLayout, JointExport, JointOptions, Kept, Medusa1, Medusa2,
    MedusaObjective, MedusaParameters, OutputMatrices, Ramp,
};
pub use optimizer::{AdamOptions, AdamW, CosineSchedule};
pub use parameters::{Parameter, Parameters, clip};
pub use run::{
    CheckpointEvery, Event, History, HistoryPoint, OutputFolder, Plan, Progress, Run, RunError,
    RunOptions, Start, check_memory,
};
pub use teacher::FrozenTarget;
pub use vocabulary::{VocabularyError, train_tokenizer};
pub use weights::StoredAs;
