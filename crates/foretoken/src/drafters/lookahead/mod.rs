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
use self::shape::HOPED;
pub use self::shape::LookaheadShape;
use self::window::Window;
use super::scatter::Scatter;
use super::{Built, DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey, Sight, hang_chain};
use crate::CostCurve;

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "lookahead",
    summary: "n-grams that the target makes on the side, verified where they fit",
    source: "Lookahead decoding (Fu et al. 2024)",
    needs: Needs::Nothing,
    sight: Sight::CHOICES,
    nodes: LookaheadShape::MOST,
    build: |Parts { lookahead, tokens, cost, eos, .. }| {
        let shape = lookahead.unwrap_or_else(|| LookaheadShape::affordable(cost));
        let shape = tokens.map_or(shape, |nodes| shape.within(nodes));
        let mut drafter = Lookahead::new(shape, eos);
        drafter.cost = cost.filter(|_| lookahead.is_none()).cloned();
        Ok(Built::new(drafter, shape.nodes()))
    },
};

struct Lookahead {
    shape: LookaheadShape,
    /// Tokens that end a text.
    eos: Vec<TokenId>,
    /// What rows cost, where the shape follows what they earn.
    cost: Option<CostCurve>,
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
    /// The part of the shape that is worth its rows at present.
    shape: LookaheadShape,
    /// Tokens that guesses have lately earned per pass.
    earned: f64,
}

/// Share of the latest pass in what guesses have lately earned.
const LATEST: f64 = 1.0 / 32.0;

impl State {
    fn new(shape: LookaheadShape) -> Self {
        let pool = Pool::new(shape.ngram - 1, shape.guesses);
        let (window, scatter) = (Window::new(shape), Scatter::default());
        Self { pool, window, scatter, pooled: 0, shape, earned: HOPED }
    }

    /// Counts how many tokens the guesses of a pass have given it.
    fn earn(&mut self, root: TokenId, emitted: &[TokenId]) {
        let right =
            |guess: &[TokenId]| guess.iter().zip(emitted).take_while(|(a, b)| a == b).count();
        let guesses = self.pool.find(root).take(self.shape.guesses);
        let earned = guesses.map(right).max().unwrap_or(0);
        self.earned += LATEST * (earned as f64 - self.earned);
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
        Self { shape, eos, cost: None, sequences: HashMap::new(), builder }
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
            if let Some(cost) = &self.cost {
                state.shape = self.shape.paying(cost, state.earned);
            }
            for guess in state.pool.find(root).take(state.shape.guesses) {
                // An n-gram has its first token in common with the text.
                hang_chain(builder, task.room, 1, guess.iter().copied());
            }
            state.window.place(root, (state.shape.window, task.room), builder);
            builder.freeze(&mut task.tree);
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            let Some(state) = self.sequences.get_mut(&task.key) else { continue };
            state.earn(task.tree.token(0), task.accepted.tokens());
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
