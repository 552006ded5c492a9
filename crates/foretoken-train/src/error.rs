//! What can be wrong with models and batches.

use std::path::PathBuf;

use foretoken_core::TokenId;
use foretoken_model::ModelError;
use thiserror::Error;

/// A mistake of a caller, or of files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A batch whose arrays are not of one size.
    #[error("the batch has {tokens} tokens and {found} {what}; give one per token")]
    BatchShape {
        /// Tokens.
        tokens: usize,
        /// The array.
        what: &'static str,
        /// Its elements.
        found: usize,
    },
    /// A batch that is no whole sequences.
    #[error(
        "{tokens} tokens are no sequences of {length}; give whole sequences of 1 to {context} tokens"
    )]
    BatchLength {
        /// Tokens.
        tokens: usize,
        /// Tokens per sequence.
        length: usize,
        /// The most.
        context: usize,
    },
    /// A token the model does not have.
    #[error("token {token} is not below {vocab}, the size of the vocabulary")]
    Token {
        /// The token.
        token: TokenId,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
    /// Document starts that do not fit their rows.
    #[error(
        "row {row} of a sequence says that its document starts at {start}; a document starts at \
         its first row, and its rows follow one another"
    )]
    Start {
        /// The row within its sequence.
        row: usize,
        /// Its document's start.
        start: u32,
    },
    /// A shape that is none.
    #[error("{what}")]
    Shape {
        /// What is wrong with it and what to do.
        what: String,
    },
    /// A model this crate cannot train.
    #[error("{model} has {what}, which cannot be trained here; choose a plain Llama")]
    Unsupported {
        /// The model.
        model: String,
        /// What it has.
        what: &'static str,
    },
    /// Heads whose output matrices leave tokens out.
    #[error(
        "the heads leave tokens of the vocabulary out, and cannot learn those; begin with new heads"
    )]
    TokenMap,
    /// A tensor of a saved state.
    #[error("the state's tensor `{name}` should have {wanted} values{}; use the state of this model",
        .found.map_or(" and is missing".to_owned(), |found| format!(", not {found}")))]
    State {
        /// Its name.
        name: String,
        /// Its values, if it exists.
        found: Option<usize>,
        /// Values it should have.
        wanted: usize,
    },
    /// A model's files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file that could not be written or read.
    #[error("{}: {cause}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Weights that could not be written.
    #[error("{}: {cause}", .file.display())]
    Weights {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: safetensors::SafeTensorError,
    },
}
