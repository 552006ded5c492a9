//! Heads under test that guess the same whatever the state.

use foretoken_core::TokenId;
use foretoken_model::Heads;

pub(super) struct Fixed {
    pub(super) count: usize,
    pub(super) logits: Vec<f32>,
    pub(super) tokens: Option<Vec<TokenId>>,
}

impl Fixed {
    /// Three heads that guess among all tokens.
    pub(super) fn new(logits: Vec<f32>) -> Self {
        Self { count: 3, logits, tokens: None }
    }
}

impl Heads for Fixed {
    fn count(&self) -> usize {
        self.count
    }

    fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    fn tokens(&self) -> Option<&[TokenId]> {
        self.tokens.as_deref()
    }

    fn start(&mut self) {}

    fn add(&mut self, _: &[f32]) -> usize {
        0
    }

    fn forward(&mut self) {}

    fn logits(&self, head: usize, _: usize) -> &[f32] {
        assert!(head < self.count, "there is no head {head}");
        &self.logits
    }
}
