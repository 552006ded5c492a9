//! Models as files: checkpoints, configurations, tokenizers, chat templates and the one decoder.
//!
//! A [`ModelSource`] says where the files are, a [`Checkpoint`] opens them and understands their
//! configuration as a [`ModelSpec`], and the decoder records its program from that. Files are not
//! trusted: every reader checks its arithmetic, bounds what it allocates by the size of the file, and
//! names the file and the key or tensor at fault.
//!
//! This crate knows drafting methods by their files at most, reads no environment and prints nothing.

mod arch;
mod aside;
mod cache;
mod chat;
mod checkpoint;
mod config;
mod corpus_index;
mod decoder;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod gguf;
mod medusa;
mod mmap;
mod pytorch;
mod rope;
mod safetensors;
mod source;
mod spec;
mod stop;
mod store;
mod target;
mod text;
mod tokenizer;
mod weights;

pub use arch::{ARCHES, Family, GgufFamily, QkRows};
pub use cache::{CacheError, KvCache, SequenceId};
pub use chat::{ChatError, ChatTemplate, GenerationPrompt, Message, SpecialTexts};
pub use checkpoint::{Checkpoint, GenerationDefaults, OpenOptions, Tensor, TensorInfo};
pub use config::{Config, KeyLists, UnknownKeys};
pub use corpus_index::{CorpusIndex, CorpusIndexError};
pub use decoder::{Decoder, LoadProgress, PassOutput};
pub use error::{ConfigError, ModelError, TensorError};
pub use gguf::{ArrayValue, Gguf, GgufError, GgufTensor, TensorType, Value};
pub use medusa::{
    HeadBias, HeadPrecision, HeadTensor, Heads, MedusaCalibration, MedusaError, MedusaExport,
    MedusaHeads, MedusaLayout, MedusaMeasurement, MedusaNetwork, MedusaPath, MedusaShape,
    MedusaSource,
};
pub use pytorch::PytorchError;
pub use rope::Rotation;
pub use safetensors::{MAX_SAFETENSORS_HEADER, SafetensorsError};
pub use source::{HubEnvironment, ModelSource};
pub use spec::*;
pub use stop::{StopError, StopSearch, StopStep};
pub use target::{ForwardError, KvPosition, LoadOptions, Model, Target, Wants};
pub use tokenizer::{
    AddSpecial, Overlap, ParseSpecial, PieceKind, TextStream, Tokenizer, TokenizerError,
    Translation, Translator, VocabularyFiles, VocabularyMismatch,
};
pub use weights::{RandomWeights, WeightSource};
