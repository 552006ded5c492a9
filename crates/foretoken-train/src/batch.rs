//! What a step learns from: sequences, of one document each or of several packed ones.

use std::ops::Range;

use foretoken_core::TokenId;

use crate::error::TrainError;

/// Sequences to learn from.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The sequences, one after another.
    pub tokens: &'a [TokenId],
    /// Tokens per sequence.
    pub length: usize,
    /// What should follow each token.
    pub targets: &'a [TokenId],
    /// What each target counts: the loss is `Σ weight cross-entropy`, so a mean has weights of one over their
    /// number. Zero masks a target.
    pub weights: &'a [f32],
    /// Per token, where in its sequence its document starts; empty where each sequence is one document.
    pub starts: &'a [u32],
}

impl Batch<'_> {
    /// Whether the arrays fit one another and a model of so many tokens and positions.
    pub(crate) fn check(&self, vocab: usize, context: usize) -> Result<(), TrainError> {
        let (tokens, length) = (self.tokens.len(), self.length);
        if length == 0 || length > context || tokens == 0 || !tokens.is_multiple_of(length) {
            return Err(TrainError::BatchLength { tokens, length, context });
        }
        let arrays = [("targets", self.targets.len()), ("weights", self.weights.len())];
        let starts = (!self.starts.is_empty()).then_some(("starts", self.starts.len()));
        if let Some((what, found)) =
            arrays.into_iter().chain(starts).find(|(_, found)| *found != tokens)
        {
            return Err(TrainError::BatchShape { tokens, what, found });
        }
        let mut ids = self.tokens.iter().chain(self.targets);
        if let Some(&token) = ids.find(|token| **token as usize >= vocab) {
            return Err(TrainError::Token { token, vocab });
        }
        for starts in self.starts.chunks(length) {
            let mut last = 0;
            for (row, &start) in starts.iter().enumerate() {
                if start != last && start as usize != row {
                    return Err(TrainError::Start { row, start });
                }
                last = start;
            }
        }
        Ok(())
    }

    /// The token of the batch that begins the document of this one.
    pub(crate) fn document(&self, row: usize) -> usize {
        let start = self.starts.get(row).map_or(0, |start| *start as usize);
        row / self.length * self.length + start
    }

    /// The tokens of each document.
    pub(crate) fn documents(&self) -> impl Iterator<Item = Range<usize>> {
        let begins = |row: &usize| self.document(*row) == *row;
        let mut rest = 0;
        std::iter::from_fn(move || {
            let start = rest;
            (start < self.tokens.len()).then(|| {
                rest = (start + 1..self.tokens.len()).find(begins).unwrap_or(self.tokens.len());
                start..rest
            })
        })
    }
}
