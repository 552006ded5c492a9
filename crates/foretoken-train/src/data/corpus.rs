//! All documents of a run, as tokens in memory.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use foretoken_core::TokenId;

use super::document::Document;
use super::encode::Encoder;
use super::error::{DataError, LineError};
use super::files::{Line, Lines, expand, memory, size};
use super::hash::Hash;
use crate::compute::Compute;

/// Bytes of lines that are encoded together.
const BLOCK: usize = 1 << 20;
/// Skipped lines that are named.
const NAMED: usize = 5;

/// Documents, one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    tokens: Vec<TokenId>,
    learned: Vec<bool>,
    /// Where each document ends.
    ends: Vec<usize>,
    skipped: Skipped,
}

/// Lines that are no documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many there are.
    pub count: u64,
    /// The first few, as `FILE:LINE: why`.
    pub first: Vec<String>,
}

impl Skipped {
    fn add(&mut self, file: &Path, line: u64, why: &LineError) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(format!("{}:{line}: {why}", file.display()));
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad lines skipped: {}", self.count)?;
        self.first.iter().try_for_each(|line| write!(f, "; {line}"))
    }
}

impl Corpus {
    /// Reads files of lines, and the `.jsonl` and `.jsonl.gz` files right in folders, on all threads. Lines
    /// that are no documents are skipped and counted. `tell` hears how many of all bytes on disk were read.
    ///
    /// # Errors
    /// If a file cannot be read, or no line of any can be learned from.
    pub fn read(
        compute: &Compute,
        encoder: &Encoder,
        paths: &[PathBuf],
        tell: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, DataError> {
        let files = expand(paths)?;
        let (mut corpus, mut before, total) = (Self::default(), 0, size(&files));
        for file in &files {
            let mut lines = Lines::open(file)?;
            loop {
                let block = block(&mut lines)?;
                if block.is_empty() {
                    break;
                }
                corpus.encode(compute, encoder, file, block);
                tell(before + lines.position(), total);
            }
            before += lines.position();
            tell(before, total);
        }
        if corpus.ends.is_empty() {
            return Err(DataError::Nothing { files, skipped: corpus.skipped });
        }
        Ok(corpus)
    }

    /// About how many bytes of memory the corpus of these files takes, by their sizes.
    ///
    /// # Errors
    /// If there is no such file or folder.
    pub fn memory(paths: &[PathBuf]) -> Result<usize, DataError> {
        Ok(usize::try_from(memory(&expand(paths)?)?).unwrap_or(usize::MAX))
    }

    fn encode(&mut self, compute: &Compute, encoder: &Encoder, file: &Path, block: Vec<Line>) {
        let mut items: Vec<_> = block.into_iter().map(|line| (line, None)).collect();
        compute.each(items.iter_mut(), |(line, document)| {
            if let Ok(text) = &line.text {
                *document = Some(encoder.document(text));
            }
        });
        for (line, document) in items {
            match (line.text, document) {
                (Err(why), _) | (_, Some(Err(why))) => self.skipped.add(file, line.number, &why),
                (_, Some(Ok(document))) => self.push(&document),
                (Ok(_), None) => {}
            }
        }
    }

    /// Adds a document.
    pub fn push(&mut self, document: &Document) {
        self.add((document.tokens(), document.learned()));
    }

    fn add(&mut self, (tokens, learned): (&[TokenId], &[bool])) {
        self.tokens.extend_from_slice(tokens);
        self.learned.extend_from_slice(learned);
        self.ends.push(self.tokens.len());
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A document's tokens, and whether each is learned.
    ///
    /// # Panics
    /// If there are not so many documents.
    pub fn document(&self, index: usize) -> (&[TokenId], &[bool]) {
        let range = self.range(index);
        (&self.tokens[range.clone()], &self.learned[range])
    }

    /// Tokens of all documents.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens that are learned.
    pub fn learned(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }

    /// Lines that are not in it.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// A number that differs between corpora that differ.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Hash::new();
        (0..self.len()).for_each(|index| hash.word(self.hash(index)));
        hash.finish()
    }

    /// Parts the corpus in what is learned and about `share` of the documents, which are not; none if it is 0.
    /// Which these are is decided by what they say: copies stay on one side, and a corpus that grows keeps its
    /// sides. Each side has at least one where there are two that differ.
    #[must_use]
    pub fn hold_out(mut self, share: f64) -> (Self, Self) {
        let hashes: Vec<_> = (0..self.len()).map(|index| self.hash(index)).collect();
        let ends = hashes.iter().min().zip(hashes.iter().max());
        // Copies of one document cannot be parted.
        let (Some((&least, &greatest)), true) = (ends.filter(|(min, max)| min < max), share > 0.0)
        else {
            return (self, Self::default());
        };
        let limit = (share.min(1.0) * u64::MAX as f64) as u64;
        let limit = limit.clamp(least, greatest - 1);
        let mut held_out = Self::default();
        for index in (0..self.len()).filter(|index| hashes[*index] <= limit) {
            held_out.add(self.document(index));
        }
        self.keep(|index| hashes[index] > limit);
        (self, held_out)
    }

    /// Keeps the documents that `is_kept` holds for, where they are: there may be no memory for two corpora.
    fn keep(&mut self, is_kept: impl Fn(usize) -> bool) {
        let (mut start, mut end, mut documents) = (0, 0, 0);
        for index in 0..self.len() {
            let range = start..self.ends[index];
            start = range.end;
            if is_kept(index) {
                self.tokens.copy_within(range.clone(), end);
                self.learned.copy_within(range.clone(), end);
                end += range.len();
                self.ends[documents] = end;
                documents += 1;
            }
        }
        self.tokens.truncate(end);
        self.learned.truncate(end);
        self.ends.truncate(documents);
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }

    fn hash(&self, index: usize) -> u64 {
        let (tokens, learned) = self.document(index);
        let mut hash = Hash::new();
        for (token, learned) in tokens.iter().zip(learned) {
            hash.word(u64::from(*token) << 1 | u64::from(*learned));
        }
        hash.finish()
    }
}

/// The next lines, a block of them; none at the end.
fn block(lines: &mut Lines) -> Result<Vec<Line>, DataError> {
    let (mut block, mut bytes) = (Vec::new(), 0);
    while bytes < BLOCK
        && let Some(line) = lines.next()?
    {
        bytes += line.text.as_ref().map_or(0, String::len);
        block.push(line);
    }
    Ok(block)
}
