//! A corpus in a file that is searched where it lies: its tokens, and all of its suffixes in order.
//!
//! ```text
//! bytes 0..8    "ftkindex"
//!       8..12   version, 1
//!      12..16   vocabulary: every token is below it
//!      16..24   number of tokens n, separators included
//!      24..32   fingerprint of the tokenizer
//!      32..     n tokens, each document followed by the separator 2^32 - 1
//!               n positions of suffixes, in the order of their first 32 tokens
//! ```
//!
//! All numbers are little-endian and of 32 bits unless the layout says otherwise. Opening reads the header
//! only. Positions and tokens are checked as they are used, so a damaged body costs matches and nothing else.

mod suffixes;

use std::cmp::Ordering;
use std::ops::Range;
use std::path::Path;

use foretoken_core::TokenId;
use thiserror::Error;

use crate::aside;
use crate::error::ModelError;
use crate::mmap::Mapping;
use crate::tokenizer::Tokenizer;

const MAGIC: [u8; 8] = *b"ftkindex";
const VERSION: u32 = 1;
const HEADER: usize = 32;
/// Bytes of a token or a position.
const WORD: usize = 4;
/// Stands behind every document; no vocabulary has it.
const SEPARATOR: TokenId = TokenId::MAX;

/// Why an index cannot be used or made.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorpusIndexError {
    /// Another kind of file.
    #[error("it is no index of a corpus; make one with `foretoken index`")]
    Foreign,
    /// A later layout.
    #[error("it has layout {found} where {VERSION} is known; make it anew with `foretoken index`")]
    Version {
        /// The layout's number.
        found: u32,
    },
    /// A file of another length than its header says.
    #[error("it has {found} bytes where its header asks for {wanted}; make it anew")]
    Length {
        /// The file's length.
        found: usize,
        /// The header's.
        wanted: u128,
    },
    /// Tokens of another tokenizer.
    #[error("it was made with another tokenizer; make one with this model's")]
    Tokenizer,
    /// Tokens that the model does not have.
    #[error(
        "it is for a vocabulary of {found} tokens where the model has {wanted}; make one for this model"
    )]
    Vocabulary {
        /// The index's.
        found: usize,
        /// The model's.
        wanted: usize,
    },
    /// More tokens than positions can name.
    #[error("{tokens} tokens are more than the 2^32 - 2 of an index; make several")]
    TooLong {
        /// Tokens of the corpus, a separator per document included.
        tokens: usize,
    },
}

/// An opened index.
#[derive(Debug)]
pub struct CorpusIndex {
    map: Mapping,
    vocab: u32,
    len: usize,
}

impl CorpusIndex {
    /// Rounds of [`CorpusIndex::write`].
    pub const ROUNDS: usize = suffixes::ROUNDS;
    /// Bytes of memory per token that [`CorpusIndex::write`] takes besides the documents: the token, its key
    /// in a round, its position and its rank.
    pub const WRITING: usize = 5 * WORD;

    /// Opens an index for a model of `vocab` tokens.
    ///
    /// # Errors
    /// Names a file that cannot be read, is no whole index, or was made for other tokens.
    pub fn open(file: &Path, tokenizer: &Tokenizer, vocab: usize) -> Result<Self, ModelError> {
        let name = || file.display().to_string();
        let map = Mapping::open(file).map_err(|cause| ModelError::Io { file: name(), cause })?;
        Self::of(map, tokenizer, vocab)
            .map_err(|cause| ModelError::CorpusIndex { file: name(), cause })
    }

    fn of(map: Mapping, tokenizer: &Tokenizer, wanted: usize) -> Result<Self, CorpusIndexError> {
        if !map.starts_with(&MAGIC) || map.len() < HEADER {
            return Err(CorpusIndexError::Foreign);
        }
        let half = |at: usize| word(&map, at).unwrap_or_default();
        let whole = |at: usize| u64::from(half(at)) | u64::from(half(at + WORD)) << 32;
        let (version, vocab, count) = (half(8), half(12), whole(16));
        if version != VERSION {
            return Err(CorpusIndexError::Version { found: version });
        }
        let bytes = HEADER as u128 + u128::from(count) * 2 * WORD as u128;
        if map.len() as u128 != bytes {
            return Err(CorpusIndexError::Length { found: map.len(), wanted: bytes });
        }
        if whole(24) != tokenizer.fingerprint() {
            return Err(CorpusIndexError::Tokenizer);
        }
        if vocab as usize > wanted {
            return Err(CorpusIndexError::Vocabulary { found: vocab as usize, wanted });
        }
        let len = (map.len() - HEADER) / (2 * WORD);
        Ok(Self { map, vocab, len })
    }

    /// Finds out whether an index could be written to a file, before anything is computed.
    ///
    /// # Errors
    /// If something else is there, or nothing can be made there.
    pub fn check_place(file: &Path) -> Result<(), ModelError> {
        aside::check(file)
    }

    /// Writes the index of documents for a model of `vocab` tokens, and returns how many tokens it has, a
    /// separator per document included. `tell` hears how many of [`Self::ROUNDS`] are done.
    ///
    /// # Errors
    /// If there are more tokens than an index can have, or the file cannot be written; what stood there
    /// before is then still there.
    pub fn write<'a>(
        file: &Path,
        documents: impl Iterator<Item = &'a [TokenId]> + Clone,
        tokenizer: &Tokenizer,
        vocab: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<usize, ModelError> {
        let count = documents.clone().map(|document| document.len() + 1).sum();
        if count >= SEPARATOR as usize {
            let cause = CorpusIndexError::TooLong { tokens: count };
            return Err(ModelError::CorpusIndex { file: file.display().to_string(), cause });
        }
        aside::replace(file, |out| {
            let mut tokens = Vec::with_capacity(count);
            for document in documents {
                tokens.extend_from_slice(document);
                tokens.push(SEPARATOR);
            }
            let positions = suffixes::sorted(&tokens, tell);
            out.write_all(&MAGIC)?;
            out.write_all(&VERSION.to_le_bytes())?;
            out.write_all(&(vocab as u32).to_le_bytes())?;
            out.write_all(&(count as u64).to_le_bytes())?;
            out.write_all(&tokenizer.fingerprint().to_le_bytes())?;
            let mut numbers = tokens.iter().chain(&positions);
            numbers.try_for_each(|number| out.write_all(&number.to_le_bytes()))
        })?;
        Ok(count)
    }

    /// Tokens of the corpus, a separator per document included.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether a corpus is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The token at a position; none behind the end of a document, and for a token that the vocabulary
    /// does not have.
    pub fn token(&self, position: usize) -> Option<TokenId> {
        self.stored(position).filter(|&token| token < self.vocab)
    }

    /// Which suffixes begin with `tokens`, as indices for [`Self::position`]. Meant for up to 32 tokens:
    /// suffixes are in no particular order beyond these.
    pub fn find(&self, tokens: &[TokenId]) -> Range<usize> {
        let start = self.partition(0..self.len, |at| self.compare(at, tokens).is_lt());
        // Most searches find nothing, and need not look for its end.
        let is_found = self.position(start).is_some_and(|at| self.compare(at, tokens).is_eq());
        let end = if is_found { self.len } else { start };
        start..self.partition(start..end, |at| self.compare(at, tokens).is_le())
    }

    /// Where a suffix begins.
    pub fn position(&self, suffix: usize) -> Option<usize> {
        let at = HEADER + (self.len + suffix) * WORD;
        word(&self.map, at).map(|position| position as usize)
    }

    /// The first suffix of a range for which `before` does not hold.
    fn partition(&self, range: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
        let Range { mut start, mut end } = range;
        while start < end {
            let middle = start + (end - start) / 2;
            if self.position(middle).is_some_and(&before) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }

    /// How the suffix at a position compares with `tokens`, as far as they go.
    fn compare(&self, position: usize, tokens: &[TokenId]) -> Ordering {
        let each =
            tokens.iter().zip(position..).map(|(&token, at)| self.stored(at).cmp(&Some(token)));
        each.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The number at a position, whatever it is.
    fn stored(&self, position: usize) -> Option<TokenId> {
        if position < self.len { word(&self.map, HEADER + position * WORD) } else { None }
    }
}

/// The number at a byte.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
