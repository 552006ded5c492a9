//! Sequences that own what a batch borrows.

use std::num::NonZeroUsize;

use foretoken_core::TokenId;

use crate::Batch;

/// Sequences to learn from, packed with documents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequences {
    pub(super) length: usize,
    pub(super) tokens: Vec<TokenId>,
    pub(super) targets: Vec<TokenId>,
    pub(super) weights: Vec<f32>,
    pub(super) starts: Vec<u32>,
}

impl Sequences {
    /// All of them as one batch. Weights are one over the number of learned targets.
    pub fn batch(&self) -> Batch<'_> {
        let Self { length, tokens, targets, weights, starts } = self;
        Batch { tokens, length: *length, targets, weights, starts }
    }

    /// The same in pieces of at most so many sequences. The weights are those of the whole, so that losses
    /// and gradients of pieces add up.
    pub fn pieces(&self, sequences: NonZeroUsize) -> impl Iterator<Item = Batch<'_>> {
        let rows = sequences.get().saturating_mul(self.length).max(1);
        let targets = self.targets.chunks(rows).zip(self.weights.chunks(rows));
        let pieces = self.tokens.chunks(rows).zip(targets).zip(self.starts.chunks(rows));
        pieces.map(|((tokens, (targets, weights)), starts)| Batch {
            tokens,
            length: self.length,
            targets,
            weights,
            starts,
        })
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.length.max(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Makes the weights, which are zero and one until then, a mean's.
    pub(super) fn weigh(&mut self) {
        let learned: f32 = self.weights.iter().sum();
        if learned > 0.0 {
            self.weights.iter_mut().for_each(|weight| *weight /= learned);
        }
    }
}
