//! Which drafted tokens become text: the only place where that is decided.
//!
//! Given a draft tree and the target's row at each of its nodes, a rule picks a path from the root
//! and one token after it. Every rule emits at least that one token. Two rules are lossless:
//! `coupled` emits exactly the text that plain decoding would, `rejection` text of the same law;
//! `typical` changes the law and says so. [`follow`] looks at no row: it emits a given text, to measure
//! drafts on it. The rules see rows and tokens; they know no model, drafter or cache.

mod block;
mod chance;
mod coupled;
mod draft;
mod forced;
mod ranking;
mod rejection;
mod typical;
mod weights;

pub use draft::DraftSampler;
pub use forced::follow;

use crate::{DraftTree, NodeId, SampleError, Sampler, TokenId};

/// How drafted tokens are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Rule {
    /// The token of each position is drawn by the position's own noise, and the draft is followed
    /// while it agrees: the same text as without drafting (Daliri, Musco and Suresh, *Coupling
    /// without communication and drafter-invariant speculative decoding*, 2024).
    #[default]
    Coupled,
    /// Speculative sampling: a drafted token is kept with probability p/q, and a rejected one is
    /// replaced from what p has over q (Leviathan et al. 2023, Chen et al. 2023), with block
    /// verification of chains (Sun et al. 2024) and recursive rejection of trees (Sequoia, Chen et
    /// al. 2024). The same law as without drafting, not the same text.
    Rejection,
    /// Medusa's typical acceptance (Cai et al. 2024): a drafted token is kept when
    /// `p(x) > min(threshold, alpha * exp(-H(p)))`, H being the entropy of p. **Lossy.**
    Typical {
        /// Probability that always suffices; larger is stricter.
        threshold: f64,
        /// Scale of the bar where the target is unsure.
        alpha: f64,
    },
}

impl Rule {
    /// Typical acceptance with the constants of the paper.
    pub const TYPICAL: Self = Self::Typical { threshold: 0.09, alpha: 0.3 };

    /// The rule's name on the command line and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coupled => "coupled",
            Self::Rejection => "rejection",
            Self::Typical { .. } => "typical",
        }
    }

    /// Whether text under this rule follows the law of plain decoding.
    pub fn is_lossless(self) -> bool {
        !matches!(self, Self::Typical { .. })
    }
}

/// The target's logits at the nodes of one tree.
pub trait Rows {
    /// Logits of the token after `node`, one per token of the vocabulary.
    fn row(&self, node: NodeId) -> &[f32];
}

/// One verification: a draft and what the target said to it.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// The draft.
    pub tree: &'a DraftTree,
    /// The target's rows, at least at the root and every candidate.
    pub rows: &'a dyn Rows,
    /// Index in the text of the token that follows the root.
    pub position: u32,
    /// Index of this step in the sequence; only `rejection` uses it, so that no draw repeats.
    pub index: u64,
}

impl Step<'_> {
    /// Index in the text of the token that follows `node`.
    pub fn position_after(&self, node: NodeId) -> u32 {
        self.position + self.tree.depth(node)
    }
}

/// What one step emits. Reused from step to step.
///
/// Law: unless a draw failed, there is a token for every node of the path. The row of a path's node
/// decided the token at the same index; the last token has no row yet and is the next root.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Accepted {
    path: Vec<NodeId>,
    tokens: Vec<TokenId>,
    drafted: usize,
    failure: Option<SampleError>,
}

impl Accepted {
    /// Nothing emitted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The nodes whose KV rows stay, root first.
    pub fn path(&self) -> &[NodeId] {
        &self.path
    }

    /// The tokens emitted, in order.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// How many of the emitted tokens were drafted; the one after them was not.
    pub fn drafted(&self) -> usize {
        self.drafted
    }

    /// Whether the text ended on a drafted token, so that the step added no token of its own.
    pub fn is_cut(&self) -> bool {
        self.drafted == self.tokens.len()
    }

    /// Why no token follows the accepted ones, if drawing it failed. The tokens before it stand: a
    /// text that ends within them never meets the failure.
    pub fn failure(&self) -> Option<SampleError> {
        self.failure
    }

    /// Ends the text after `count` of the emitted tokens.
    ///
    /// The last token kept stays out of the path, as always; a failure beyond it is forgotten. When
    /// fewer tokens were emitted nothing changes.
    pub fn truncate(&mut self, count: usize) {
        if count <= self.tokens.len() {
            self.tokens.truncate(count);
            self.path.truncate(count.max(1));
            self.drafted = self.drafted.min(count);
            self.failure = None;
        }
    }

    fn restart(&mut self) {
        self.path.clear();
        self.path.push(0);
        self.tokens.clear();
        self.drafted = 0;
        self.failure = None;
    }

    /// The last accepted node, at first the root.
    fn last_node(&self) -> NodeId {
        self.path[self.drafted]
    }

    /// Adds an accepted node.
    fn descend(&mut self, node: NodeId, token: TokenId) {
        self.path.push(node);
        self.tokens.push(token);
        self.drafted += 1;
    }

    /// Goes back to the first `count` accepted nodes.
    fn keep_drafted(&mut self, count: usize) {
        self.path.truncate(count + 1);
        self.tokens.truncate(count);
        self.drafted = count;
    }

    /// Adds what follows the accepted nodes.
    fn finish(&mut self, next: Result<TokenId, SampleError>) {
        match next {
            Ok(token) => self.tokens.push(token),
            Err(error) => self.failure = Some(error),
        }
    }
}

/// Verifies drafts, with the buffers that takes; nothing is remembered between steps.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    rejection: rejection::Verifier,
    typical: typical::Verifier,
}

impl Verifier {
    /// A verifier for any number of sequences.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides what `step` emits and writes it over `out`.
    ///
    /// `sampler` is the sequence's and is left as it was: the tokens are not committed to it, since
    /// the caller may end the text within them. At temperature 0 every rule is the greedy walk.
    pub fn verify(
        &mut self,
        rule: Rule,
        step: &Step<'_>,
        sampler: &mut Sampler,
        out: &mut Accepted,
    ) {
        out.restart();
        match rule {
            Rule::Rejection if !sampler.is_greedy() => {
                let mut chance = chance::StepNoise(sampler.noise().at_step(step.index));
                self.rejection.verify(step, sampler, &mut chance, out);
            }
            Rule::Typical { threshold, alpha } if !sampler.is_greedy() => {
                self.typical.verify((threshold, alpha), step, sampler, out);
            }
            _ => coupled::verify(step, sampler, out),
        }
    }
}

#[cfg(test)]
mod tests;
