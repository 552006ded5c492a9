//! Documents in random order, packed into sequences.
//!
//! A document of n tokens has n - 1 rows: each token but the last, with the token behind it as target.
//! Rows of documents follow one another without gaps, each epoch in an order of its own, and are cut into
//! sequences; a document that is cut goes on in the next sequence as one that starts there. Sequences with
//! nothing to learn are passed over.

use std::iter;

use foretoken_core::{Domain, Noise};

use super::corpus::Corpus;
use super::error::DataError;
use super::sequences::Sequences;

/// Where a reader is: what comes next is a function of this, the corpus, the seed and the length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Times that all documents were read.
    pub epoch: u64,
    /// Documents of this epoch that were read.
    pub document: usize,
    /// Rows of the next document that were read.
    pub row: usize,
}

/// Reads a corpus over and over.
#[derive(Debug)]
pub struct Reader {
    corpus: Corpus,
    length: usize,
    seed: u64,
    position: Position,
    /// The documents in this epoch's order.
    order: Vec<u32>,
}

impl Reader {
    /// A reader of sequences of `length` tokens at the beginning.
    ///
    /// # Panics
    /// If there is no document, or nothing in a sequence.
    pub fn new(corpus: Corpus, length: usize, seed: u64) -> Self {
        assert!(!corpus.is_empty() && length > 0, "there is something to read");
        let order = order(corpus.len(), seed, 0);
        Self { corpus, length, seed, position: Position::default(), order }
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Continues at a place where a reader of the same text, seed and length has been.
    ///
    /// # Errors
    /// If the corpus has no such place.
    pub fn seek(&mut self, position: Position) -> Result<(), DataError> {
        let order = order(self.corpus.len(), self.seed, position.epoch);
        let Position { document, row, .. } = position;
        let index = order.get(document).ok_or(DataError::Position { document, row })?;
        if row + 1 >= self.corpus.document(*index as usize).0.len() {
            return Err(DataError::Position { document, row });
        }
        (self.order, self.position) = (order, position);
        Ok(())
    }

    /// Reads so many sequences.
    pub fn next(&mut self, sequences: usize) -> Sequences {
        let mut batch = Sequences { length: self.length, ..Sequences::default() };
        for _ in 0..sequences {
            while !self.fill(&mut batch, u64::MAX) {}
        }
        batch.weigh();
        batch
    }

    /// The first sequences of a corpus, at most so many, once: to evaluate on. The rows behind the last
    /// document are padding: a document without weight.
    pub fn first(corpus: Corpus, length: usize, most: usize) -> Sequences {
        let mut batch = Sequences { length, ..Sequences::default() };
        if corpus.is_empty() {
            return batch;
        }
        let mut reader = Self::new(corpus, length, 0);
        while reader.position.epoch == 0 && batch.len() < most {
            reader.fill(&mut batch, 0);
        }
        batch.weigh();
        batch
    }

    /// Appends a sequence of text up to the end of the epoch `last`, and of padding. Returns whether there is
    /// anything to learn; if not, nothing was appended.
    fn fill(&mut self, batch: &mut Sequences, last: u64) -> bool {
        let first = batch.tokens.len();
        let mut learns = false;
        while batch.tokens.len() < first + self.length {
            let row = batch.tokens.len() - first;
            if self.position.epoch > last {
                let rows = self.length - row;
                batch.starts.extend(iter::repeat_n(row as u32, rows));
                batch.tokens.extend(iter::repeat_n(0, rows));
                batch.targets.extend(iter::repeat_n(0, rows));
                batch.weights.extend(iter::repeat_n(0.0, rows));
                break;
            }
            let (tokens, learned) = self.corpus.document(self.next_document());
            let from = self.position.row;
            let rows = (tokens.len() - 1 - from).min(self.length - row);
            batch.starts.extend(iter::repeat_n(row as u32, rows));
            batch.tokens.extend_from_slice(&tokens[from..from + rows]);
            batch.targets.extend_from_slice(&tokens[from + 1..][..rows]);
            let learned = &learned[from + 1..][..rows];
            batch.weights.extend(learned.iter().map(|learned| f32::from(u8::from(*learned))));
            learns |= learned.contains(&true);
            let is_done = from + rows + 1 == tokens.len();
            self.advance(rows, is_done);
        }
        if !learns {
            for array in [&mut batch.tokens, &mut batch.targets, &mut batch.starts] {
                array.truncate(first);
            }
            batch.weights.truncate(first);
        }
        learns
    }

    fn next_document(&self) -> usize {
        self.order[self.position.document] as usize
    }

    fn advance(&mut self, rows: usize, is_done: bool) {
        let Position { epoch, document, row } = self.position;
        self.position = if !is_done {
            Position { row: row + rows, ..self.position }
        } else if document + 1 < self.order.len() {
            Position { document: document + 1, row: 0, epoch }
        } else {
            self.order = order(self.corpus.len(), self.seed, epoch + 1);
            Position { epoch: epoch + 1, document: 0, row: 0 }
        };
    }
}

/// The order of an epoch: a shuffle (Fisher and Yates 1938) that is a function of seed and epoch.
fn order(documents: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let noise = Noise { seed, choice: 0 }.at_step(epoch);
    let mut order: Vec<u32> = (0..documents as u32).collect();
    for last in (1..order.len()).rev() {
        let chosen = noise.uniform(Domain::Draw, 0, last as u32) * (last + 1) as f64;
        order.swap(last, (chosen as usize).min(last));
    }
    order
}
