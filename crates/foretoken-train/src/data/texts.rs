//! The text of data files without tokens, for a tokenizer to learn from.

use std::path::PathBuf;
use std::vec;

use super::error::DataError;
use super::files::{Lines, expand};
use super::record::Record;

/// Texts of lines and the turns of conversations, as much of each file as of the others. Lines that are no
/// documents, and those that are tokens already, are passed over.
pub struct Texts {
    files: Vec<PathBuf>,
    next: usize,
    lines: Option<Lines>,
    /// Texts of the last line.
    ready: vec::IntoIter<String>,
    /// Bytes to read of each file, and of this one still.
    most: usize,
    left: usize,
    failure: Option<DataError>,
}

impl Texts {
    /// Opens files and folders as [`Corpus::read`](super::Corpus::read) does; about `most` bytes of text are
    /// read of all together.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn open(paths: &[PathBuf], most: usize) -> Result<Self, DataError> {
        let files = expand(paths)?;
        let most = most / files.len().max(1);
        let (ready, failure) = (Vec::new().into_iter(), None);
        Ok(Self { files, next: 0, lines: None, ready, most, left: 0, failure })
    }

    /// Says whether a file failed, which ends the texts early.
    ///
    /// # Errors
    /// If one did.
    pub fn finish(self) -> Result<(), DataError> {
        self.failure.map_or(Ok(()), Err)
    }

    /// Reads on to the next line with text; none at the end.
    fn advance(&mut self) -> Result<Option<Vec<String>>, DataError> {
        loop {
            let Some(lines) = &mut self.lines else {
                let Some(file) = self.files.get(self.next) else { return Ok(None) };
                self.lines = Some(Lines::open(file)?);
                (self.next, self.left) = (self.next + 1, self.most);
                continue;
            };
            let line = if self.left == 0 { None } else { lines.next()? };
            let Some(line) = line else {
                self.lines = None;
                continue;
            };
            let Ok(record) = line.text.and_then(|text| Record::parse(&text)) else { continue };
            let texts = match record {
                Record::Text(text) => vec![text],
                Record::Chat(turns) => turns.into_iter().map(|turn| turn.content).collect(),
                Record::Tokens { .. } => continue,
            };
            self.left = self.left.saturating_sub(texts.iter().map(String::len).sum());
            return Ok(Some(texts));
        }
    }
}

impl Iterator for Texts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.ready.next() {
                return Some(text);
            }
            match self.advance() {
                Ok(texts) => self.ready = texts?.into_iter(),
                Err(failure) => {
                    self.files.clear();
                    self.lines = None;
                    self.failure = Some(failure);
                    return None;
                }
            }
        }
    }
}
