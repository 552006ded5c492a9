//! A probability distribution over a few or all tokens.

use crate::TokenId;

/// Tokens with their probabilities, which sum to 1. The buffers are reused from row to row.
///
/// Made by [`crate::Sampler::distribution`], it holds the tokens that survive every filter, ordered
/// by (logit descending, id ascending).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution {
    tokens: Vec<TokenId>,
    probabilities: Vec<f64>,
}

impl Distribution {
    /// An empty distribution, to be filled.
    pub fn new() -> Self {
        Self::default()
    }

    /// All probability on one token.
    pub fn set_point_mass(&mut self, token: TokenId) {
        self.set([(token, 1.0)]);
    }

    /// Tokens in the order given, with probabilities proportional to their weights.
    ///
    /// Weights must be finite and not negative. Those that are zero are kept, so that tokens can be
    /// told apart from impossible ones; if all are, every probability is zero.
    pub fn set(&mut self, weights: impl IntoIterator<Item = (TokenId, f64)>) {
        self.tokens.clear();
        self.probabilities.clear();
        for (token, weight) in weights {
            debug_assert!(weight >= 0.0 && weight.is_finite(), "weight {weight} of token {token}");
            self.tokens.push(token);
            self.probabilities.push(weight);
        }
        let total: f64 = self.probabilities.iter().sum();
        if total > 0.0 {
            self.probabilities.iter_mut().for_each(|weight| *weight /= total);
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether no token has been given.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens, in order.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Their probabilities, in the same order.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// Tokens and probabilities, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TokenId, f64)> + '_ {
        self.tokens.iter().copied().zip(self.probabilities.iter().copied())
    }

    /// The probability of a token; 0 when it is not among the tokens. Takes a search of the tokens.
    pub fn probability(&self, token: TokenId) -> f64 {
        let index = self.tokens.iter().position(|&listed| listed == token);
        index.map_or(0.0, |index| self.probabilities[index])
    }
}
