//! What can be wrong with a model's files.
//!
//! Every message is complete: it names the file, what is wrong and what to do, on one line. The causes
//! are fields rather than [`source`](std::error::Error::source)s, so printing a chain repeats nothing.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::gguf::GgufError;
use crate::pytorch::PytorchError;
use crate::safetensors::SafetensorsError;

/// Why a model could not be opened or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No such model.
    #[error(
        "model `{spec}` is neither a folder, a .gguf file nor a hub id in the local cache \
         ({looked}); check the path or download it first"
    )]
    NotFound {
        /// What was asked for.
        spec: String,
        /// Where a hub id was looked for.
        looked: String,
    },
    /// A folder without the files of a model.
    #[error("folder `{}` holds no {missing}; {advice}", folder.display())]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// What it should hold.
        missing: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The system refused to read a file.
    #[error("cannot read `{file}`: {cause}")]
    Io {
        /// The file.
        file: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// A file that is larger than files of its kind ever are.
    #[error("`{file}` has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A file that is no JSON, or not of the expected form.
    #[error("`{file}` is no valid JSON of its kind: {cause}")]
    Json {
        /// The file.
        file: String,
        /// What the parser found.
        cause: serde_json::Error,
    },
    /// A malformed GGUF header.
    #[error("`{file}`: {cause}")]
    Gguf {
        /// The file.
        file: String,
        /// What is wrong.
        cause: GgufError,
    },
    /// A malformed safetensors header.
    #[error("`{file}`: {cause}")]
    Safetensors {
        /// The file.
        file: String,
        /// What is wrong.
        cause: SafetensorsError,
    },
    /// The system refused to write a file.
    #[error("cannot write `{file}`: {cause}; check that the folder exists and has room")]
    Write {
        /// The file.
        file: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// Medusa heads that cannot be used.
    #[error("`{file}`: {cause}")]
    Medusa {
        /// The file or folder.
        file: String,
        /// What is wrong.
        cause: crate::MedusaError,
    },
    /// An index of a corpus that cannot be used or made.
    #[error("`{file}`: {cause}")]
    CorpusIndex {
        /// The file.
        file: String,
        /// What is wrong.
        cause: crate::CorpusIndexError,
    },
    /// A file of `torch.save` that cannot be read.
    #[error("`{file}`: {cause}")]
    Pytorch {
        /// The file.
        file: String,
        /// What is wrong.
        cause: PytorchError,
    },
    /// A configuration that cannot be run.
    #[error("`{file}`: {cause}")]
    Config {
        /// The file.
        file: String,
        /// What is wrong.
        cause: ConfigError,
    },
    /// A vocabulary that cannot be used.
    #[error("`{file}`: {cause}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What is wrong.
        cause: crate::TokenizerError,
    },
    /// A chat template that cannot be used.
    #[error("`{file}`: {cause}")]
    Chat {
        /// The file.
        file: String,
        /// What is wrong.
        cause: crate::ChatError,
    },
    /// A shard index that leads out of its folder or to nothing.
    #[error("`{file}` names the shard `{shard}`, {problem}")]
    Shard {
        /// The index file.
        file: String,
        /// The shard's name.
        shard: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A matrix that a backend cannot pack.
    #[error(transparent)]
    Pack(#[from] foretoken_tensor::PackError),
    /// A tensor that cannot be used.
    #[error("`{file}`: {cause}")]
    Tensor {
        /// The file, or the folder where no file holds the tensor.
        file: String,
        /// What is wrong.
        cause: TensorError,
    },
}

/// Why a configuration was refused.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key that must be there is not.
    #[error("the key `{key}` is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of the wrong JSON type.
    #[error("the key `{key}` is {found}; it must be {wanted}")]
    Type {
        /// The key.
        key: String,
        /// The value, shortened.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A value that makes no model.
    #[error("the key `{key}` is {found}; it must be {wanted}")]
    Value {
        /// The key.
        key: String,
        /// The value, shortened.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// A model family nobody has written.
    #[error("the model family `{found}` is not supported; supported are {known}")]
    Family {
        /// What the file says.
        found: String,
        /// The supported families.
        known: String,
    },
    /// A key that may change the mathematics in a way the family does not know.
    #[error(
        "the key `{key}` = {found} is unknown to the family `{family}` and may change what the model \
         computes; run with --allow-unknown-config to ignore it"
    )]
    UnknownKey {
        /// The key.
        key: String,
        /// Its value, shortened.
        found: String,
        /// The family.
        family: &'static str,
    },
    /// A tensor that the family has no use for.
    #[error(
        "the tensor `{name}` is unknown to the family `{family}` and may change what the model \
         computes; run with --allow-unknown-config to ignore it"
    )]
    UnknownTensor {
        /// The tensor.
        name: String,
        /// The family.
        family: &'static str,
    },
    /// GGUF metadata of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// Why a tensor cannot be used.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum TensorError {
    /// It is not there.
    #[error("the tensor `{name}` is missing; the checkpoint is incomplete, download it again")]
    Missing {
        /// Tensor name.
        name: String,
    },
    /// Its shape contradicts the configuration.
    #[error("the tensor `{name}` has shape {found:?} where the configuration needs {wanted:?}")]
    Shape {
        /// Tensor name.
        name: String,
        /// Its shape, outermost first.
        found: Vec<usize>,
        /// The shape asked for.
        wanted: Vec<usize>,
    },
    /// Its element type cannot be computed with.
    #[error("the tensor `{name}` is stored as {found}, which cannot be read here; use {supported}")]
    Type {
        /// Tensor name.
        name: String,
        /// Its type.
        found: String,
        /// The types that can be read.
        supported: &'static str,
    },
    /// It holds a value that is no finite number.
    #[error("the tensor `{name}` holds {value} at [{index}]; weights must be finite")]
    NotFinite {
        /// Tensor name.
        name: String,
        /// Where.
        index: usize,
        /// The value.
        value: f32,
    },
    /// Two shards hold it.
    #[error("the tensor `{name}` is in more than one shard")]
    Duplicate {
        /// Tensor name.
        name: String,
    },
}
