//! What can be wrong with a tokenizer's files or a text.

use foretoken_core::TokenId;
use thiserror::Error;

use crate::gguf::GgufError;

/// Why a tokenizer could not be built, or a text not be encoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file that is no JSON, or not of the expected form.
    #[error("no valid {what}: {cause}")]
    Json {
        /// The kind of file.
        what: &'static str,
        /// What the parser found.
        cause: serde_json::Error,
    },
    /// Metadata of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Metadata that must be there are not.
    #[error("the metadata key `{0}` is missing, so the file holds no tokenizer that can be used")]
    MissingKey(&'static str),
    /// Something that this implementation does not know.
    #[error("the {what} `{found}` is not supported; supported are {known}")]
    Unsupported {
        /// The part of the tokenizer.
        what: &'static str,
        /// What the file asks for.
        found: String,
        /// What there is.
        known: String,
    },
    /// A pattern that is no regular expression, or too large a one.
    #[error("the pattern `{pattern}` cannot be used: {cause}")]
    Pattern {
        /// The pattern, shortened.
        pattern: String,
        /// What the compiler found.
        cause: String,
    },
    /// A vocabulary without pieces.
    #[error("the vocabulary is empty")]
    Empty,
    /// A token id far beyond the number of pieces.
    #[error("the piece `{piece}` has the id {id}; this vocabulary may go up to {limit}")]
    IdTooLarge {
        /// The piece.
        piece: String,
        /// Its id.
        id: TokenId,
        /// The limit, which follows from the number of pieces.
        limit: usize,
    },
    /// Two pieces with one id.
    #[error("the pieces `{first}` and `{second}` share the id {id}")]
    DuplicateId {
        /// One piece.
        first: String,
        /// The other.
        second: String,
        /// Their id.
        id: TokenId,
    },
    /// A piece that a setting names but the vocabulary lacks.
    #[error("{what} names the piece `{piece}`, which is not in the vocabulary")]
    UnknownPiece {
        /// The setting.
        what: &'static str,
        /// The piece.
        piece: String,
    },
    /// An id that a setting names but the vocabulary lacks.
    #[error("{what} names the id {id}, but the vocabulary ends at {size}")]
    UnknownId {
        /// The setting.
        what: &'static str,
        /// The id.
        id: u64,
        /// Number of ids.
        size: usize,
    },
    /// A merge whose parts or result are no pieces.
    #[error(
        "merge {rank} (`{left}` + `{right}`) uses or makes a piece that is not in the vocabulary"
    )]
    Merge {
        /// Rank of the merge, from 0.
        rank: usize,
        /// Left part.
        left: String,
        /// Right part.
        right: String,
    },
    /// A line of a merge list that is no pair.
    #[error("merge {rank} is `{line}`; it must be two pieces with a space between them")]
    MergeLine {
        /// Rank of the merge, from 0.
        rank: usize,
        /// The line.
        line: String,
    },
    /// An added token that cannot have its id, or whose settings contradict each other.
    #[error("the added token `{token}` {problem}")]
    AddedToken {
        /// The token.
        token: String,
        /// What is wrong.
        problem: String,
    },
    /// Parallel lists of different lengths.
    #[error("`{key}` has {found} entries for {wanted} tokens")]
    Length {
        /// The list.
        key: &'static str,
        /// Its length.
        found: usize,
        /// The number of tokens.
        wanted: usize,
    },
    /// A value out of its domain.
    #[error("`{key}` holds {value} at [{index}], {problem}")]
    Value {
        /// The list.
        key: &'static str,
        /// Where.
        index: usize,
        /// The value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A model with fewer rows than the tokenizer has pieces.
    #[error(
        "the tokenizer does not belong to this model: its piece `{piece}` has the id {id}, but the \
         model knows {vocabulary} tokens"
    )]
    ModelVocabulary {
        /// A piece the model does not know.
        piece: String,
        /// Its id.
        id: TokenId,
        /// The model's vocabulary size.
        vocabulary: usize,
    },
    /// A text that is too long to encode in one go.
    #[error("the text has {bytes} bytes; at most {limit} can be encoded at once")]
    TextTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A character without any piece.
    #[error("the vocabulary has no piece for `{0}`, no byte pieces and no unknown token")]
    Unencodable(char),
    /// Any other failure while encoding.
    #[error("the text cannot be encoded: {0}")]
    Encode(String),
}
