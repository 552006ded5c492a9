//! One document as tokens.

use foretoken_core::TokenId;

use super::error::LineError;

/// A text and which of its tokens are learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    tokens: Vec<TokenId>,
    learned: Vec<bool>,
}

impl Document {
    /// The tokens, of which those are predicted for which `learned` holds. The first never is: nothing
    /// stands before it.
    ///
    /// # Errors
    /// If nothing is left to be learned.
    ///
    /// # Panics
    /// If there is not one mark per token.
    pub fn new(tokens: Vec<TokenId>, mut learned: Vec<bool>) -> Result<Self, LineError> {
        assert!(tokens.len() == learned.len(), "one mark per token");
        if tokens.len() < 2 {
            return Err(LineError::Nothing("less than two tokens"));
        }
        learned[0] = false;
        if !learned.contains(&true) {
            return Err(LineError::Nothing("no token is part of an answer"));
        }
        Ok(Self { tokens, learned })
    }

    /// The tokens; at least two.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Per token, whether it is learned.
    pub fn learned(&self) -> &[bool] {
        &self.learned
    }
}
