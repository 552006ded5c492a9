//! What can be wrong with training text.

use std::io;
use std::path::PathBuf;

use foretoken_core::TokenId;
use foretoken_model::{ChatError, TokenizerError};
use thiserror::Error;

use super::Skipped;

/// Why there is no corpus.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder that cannot be read.
    #[error("cannot read `{}`: {cause}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A folder without training text.
    #[error("`{}` holds no .jsonl or .jsonl.gz file; name the files themselves", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
    },
    /// Files from whose lines nothing can be learned.
    #[error("{}; give lines such as {{\"text\": \"...\"}} or {{\"messages\": [...]}}", nothing(.files, .skipped))]
    Nothing {
        /// The files.
        files: Vec<PathBuf>,
        /// What their lines are instead.
        skipped: Skipped,
    },
    /// A place that the corpus does not have.
    #[error(
        "the corpus has no document {document} with a row {row}; resume with the data of that run"
    )]
    Position {
        /// The document in the epoch's order.
        document: usize,
        /// The row in it.
        row: usize,
    },
}

fn nothing(files: &[PathBuf], skipped: &Skipped) -> String {
    let names: Vec<_> = files.iter().map(|file| format!("`{}`", file.display())).collect();
    let names = names.join(", ");
    match skipped.first.first() {
        None => format!("nothing can be learned from {names}: no line has any text"),
        Some(first) => {
            format!("nothing can be learned from {names}: {} bad lines, {first}", skipped.count)
        }
    }
}

/// Why a line is skipped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LineError {
    /// More bytes than a line may have.
    #[error("the line is longer than {limit} bytes; part the document")]
    TooLong {
        /// The most.
        limit: usize,
    },
    /// Bytes that are no text.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A line that is no JSON.
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A value without anything to read.
    #[error(
        "no object with `text`, `messages`, `conversations` or `tokens`, a text or lists as they should be"
    )]
    NoField,
    /// A turn without its two texts.
    #[error("turn {turn} has no text in `{field}`")]
    Turn {
        /// Its number, from 1.
        turn: usize,
        /// What is missing or no text.
        field: &'static str,
    },
    /// Something in `tokens` or `prompt` that is no such number.
    #[error("`{field}` holds something that is no {wanted}")]
    Number {
        /// The field.
        field: &'static str,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A token beyond the vocabulary.
    #[error("token {token} is not below {vocab}, the size of the vocabulary")]
    Token {
        /// The token.
        token: TokenId,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
    /// Chat for a model that has none.
    #[error("a conversation, and the model has no chat template")]
    NoTemplate,
    /// What the chat template says.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// What the tokenizer says.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Nothing that could be predicted.
    #[error("nothing to learn: {0}")]
    Nothing(&'static str),
}
