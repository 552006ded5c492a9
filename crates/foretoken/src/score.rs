//! Log-probabilities of a given text: the raw rows of the target, no sampling and no drafting.

use foretoken_core::{DraftTree, LogProbabilities, SampleError, TokenId};
use foretoken_model::{SequenceId, Target, Wants};

use crate::{Engine, Error};

/// Rows per pass.
const ROWS: usize = 64;

/// How likely a text is.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The text.
    pub tokens: Vec<TokenId>,
    /// Natural logarithm of each token's probability given those before it; none for the first.
    pub logprobs: Vec<Option<f64>>,
    /// Per token, the most likely ones in its place, best first; empty for the first.
    pub top: Vec<Vec<(TokenId, f64)>>,
}

impl Score {
    /// Exponential of the mean negative log-probability; 1 where nothing was predicted.
    pub fn perplexity(&self) -> f64 {
        let known: Vec<f64> = self.logprobs.iter().copied().flatten().collect();
        if known.is_empty() { 1.0 } else { (-known.iter().sum::<f64>() / known.len() as f64).exp() }
    }
}

impl Engine {
    /// Scores a text, with the `top` most likely tokens at each position.
    pub fn score(&mut self, tokens: &[TokenId], top: usize) -> Result<Score, Error> {
        self.check_text(tokens)?;
        let context = self.target.context();
        if tokens.len() > context {
            return Err(Error::PromptTooLong { tokens: tokens.len(), context });
        }
        let sequence = self.target.open();
        let top = top.min(self.target.spec().vocab);
        let score = score(self.target.as_mut(), sequence, tokens, top);
        self.target.close(sequence);
        score
    }
}

fn score(
    target: &mut dyn Target,
    sequence: SequenceId,
    tokens: &[TokenId],
    top: usize,
) -> Result<Score, Error> {
    let mut score = Score { tokens: tokens.to_vec(), logprobs: vec![None], top: vec![Vec::new()] };
    let mut tree = DraftTree::single(tokens[0]);
    let failed = |position, reason: SampleError| Error::Sample { position, reason };
    for (start, chunk) in (0..).step_by(ROWS).zip(tokens.chunks(ROWS)) {
        // A chunk is at least one token and at most a tree's, so it always is a chain.
        if tree.set_chain(chunk).is_err() {
            tree.set_single(chunk[0]);
        }
        target.start();
        let item = target.add(sequence, &tree, Wants::From(0))?;
        target.forward();
        for row in 0..chunk.len() {
            let Some(&next) = tokens.get(start + row + 1) else { break };
            let reason = |reason| failed(start + row + 1, reason);
            let law = LogProbabilities::new(target.logits(item, row)).map_err(reason)?;
            score.logprobs.push(Some(law.of(next)));
            let mut best = Vec::new();
            law.top(top, &mut best);
            score.top.push(best);
        }
        let path: Vec<usize> = (0..chunk.len()).collect();
        target.commit(sequence, &path);
    }
    Ok(score)
}
