//! What a conversation keeps between its requests: the text and its place in the caches.

use std::ops::Range;

use foretoken_core::{Sampler, TokenId};
use foretoken_model::{SequenceId, Target};

use crate::drafters::{SequenceKey, shared_prefix};

/// A conversation: requests that continue one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(crate) u64);

/// A sequence's places in the caches, and the text they hold.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) target: SequenceId,
    pub(crate) key: SequenceKey,
    pub(crate) text: Vec<TokenId>,
    /// Which parts of the text were generated: penalties treat them as output, all else as prompt.
    pub(crate) outputs: Vec<Range<usize>>,
}

impl Kept {
    /// A sequence that holds nothing yet.
    pub(crate) fn new(target: SequenceId, key: SequenceKey) -> Self {
        Self { target, key, text: Vec::new(), outputs: Vec::new() }
    }

    /// Forgets everything behind what the text shares with `prompt`; the prompt's last token is
    /// always fed again, since its row decides what follows.
    pub(crate) fn rewind(&mut self, target: &mut dyn Target, prompt: &[TokenId]) {
        let shared = shared_prefix(&self.text, prompt);
        self.text.truncate(shared);
        for output in &mut self.outputs {
            output.end = output.end.min(shared);
        }
        self.outputs.retain(|output| !output.is_empty());
        let cached = shared.min(prompt.len() - 1).min(target.committed(self.target));
        target.truncate(self.target, cached);
    }

    /// Shows the sampler the prompt, as output where it was generated.
    pub(crate) fn remember(&self, prompt: &[TokenId], sampler: &mut Sampler) {
        let mut at = 0;
        for output in &self.outputs {
            sampler.prompt(&prompt[at..output.start]);
            prompt[output.clone()].iter().for_each(|&token| sampler.commit(token));
            at = output.end;
        }
        sampler.prompt(&prompt[at..]);
    }
}
