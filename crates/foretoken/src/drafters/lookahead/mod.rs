//! `lookahead`: n-grams that the target itself makes on the side, verified where they fit (Fu et al. 2024,
//! <https://arxiv.org/abs/2402.02057>).
//!
//! Each pass carries two things besides the root. The window is a field of guesses iterated
//! as in Jacobi decoding, whose columns end as n-grams in the pool; its nodes are probes. The
//! guesses are the pool's n-grams that begin with the root, merged where they begin alike; they are
//! candidates. The pool also knows the n-grams of the prompt and of the output. Needs no training, no other
//! model, and no knowledge of the target's family.

mod pool;
mod shape;
mod window;

use std::collections::HashMap;

use foretoken_core::{TokenId, TreeBuilder};

use self::pool::Pool;
pub use self::shape::LookaheadShape;
use self::window::Window;
use super::scatter::Scatter;
use super::{Built, DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey, Sight, hang_chain};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "lookahead",
    summary: "n-grams that the target makes on the side, verified where they fit",
    source: "Lookahead decoding (Fu et al. 2024)",
    needs: Needs::Nothing,
    sight: Sight::Choices,
    nodes: LookaheadShape::MOST,
    build: |Parts { lookahead, tokens, cost, eos, .. }| {
        let shape = lookahead.unwrap_or_else(|| LookaheadShape::affordable(cost));
        let shape = tokens.map_or(shape, |nodes| shape.within(nodes));
        Ok(Built::new(Lookahead::new(shape, eos), shape.nodes()))
    },
};

struct Lookahead {
    shape: LookaheadShape,
    /// Tokens that end a text.
    eos: Vec<TokenId>,
    sequences: HashMap<SequenceKey, State>,
    builder: TreeBuilder,
}

/// What is known of one sequence.
struct State {
    pool: Pool,
    window: Window,
    scatter: Scatter,
    /// Tokens of the text whose n-grams are in the pool.
    pooled: usize,
}

impl State {
    fn new(shape: LookaheadShape) -> Self {
        let pool = Pool::new(shape.ngram - 1, shape.guesses);
        Self { pool, window: Window::new(shape), scatter: Scatter::default(), pooled: 0 }
    }

    /// Takes in the n-grams that end in the text's new tokens.
    fn pool_text(&mut self, text: &[TokenId], ngram: usize) {
        let new = self.pooled.saturating_sub(ngram - 1).min(text.len());
        for ngram in text[new..].windows(ngram) {
            self.pool.insert(ngram);
        }
        self.pooled = text.len();
    }
}

impl Lookahead {
    fn new(shape: LookaheadShape, eos: &[TokenId]) -> Self {
        let (eos, builder) = (eos.to_vec(), TreeBuilder::new(0));
        Self { shape, eos, sequences: HashMap::new(), builder }
    }
}

impl Drafter for Lookahead {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        let state = self.sequences.entry(key).or_insert_with(|| State::new(self.shape));
        state.window.restart(prompt, &mut state.scatter);
        state.pooled = 0;
        state.pool_text(prompt, self.shape.ngram);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let builder = &mut self.builder;
        for task in tasks.iter_mut().filter(|task| task.room.fits_a_node()) {
            let Some(state) = self.sequences.get_mut(&task.key) else { continue };
            let root = task.tree.token(0);
            builder.reset(root);
            for guess in state.pool.find(root) {
                hang_chain(builder, task.room, guess.iter().copied());
            }
            state.window.place(root, task.room, builder);
            builder.freeze(&mut task.tree);
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            let Some(state) = self.sequences.get_mut(&task.key) else { continue };
            let State { window, scatter, pool, .. } = state;
            window.advance(task, &self.eos, scatter, pool);
            state.pool_text(&task.text, self.shape.ngram);
        }
    }

    fn end(&mut self, key: SequenceKey) {
        self.sequences.remove(&key);
    }
}

#[cfg(test)]
mod tests;
