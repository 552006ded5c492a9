//! `lookahead`: n-grams that the target itself makes on the side, verified where they fit (Fu et al. 2024,
//! <https://arxiv.org/abs/2402.02057>).
//!
//! Each pass carries two things besides the root. The window is a field of guesses iterated
//! as in Jacobi decoding, whose columns end as n-grams in the pool; its nodes are probes. The
//! guesses are the pool's n-grams that begin with the root, merged where they begin alike; they are
//! candidates. The pool also knows the n-grams of the prompt and of the output. Needs no training, no other
//! model, and no knowledge of the target's family.

mod earnings;
mod pool;
mod shape;
mod window;

use std::collections::HashMap;

use foretoken_core::{BuildId, TokenId, TreeBuilder};

use self::earnings::{Earnings, Ladder};
use self::pool::Pool;
pub use self::shape::LookaheadShape;
use self::window::Window;
use super::places::{shared_prefix, surety};
use super::scatter::Scatter;
use super::{Built, DraftTask, Drafter, DrafterInfo, Needs, Parts, Room, SequenceKey, Sight};

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
        let cost = cost.filter(|_| lookahead.is_none());
        drafter.ladder = cost.map(|cost| Ladder::new(shape, cost));
        Ok(Built::new(drafter, shape.nodes()))
    },
};

struct Lookahead {
    shape: LookaheadShape,
    /// Tokens that end a text.
    eos: Vec<TokenId>,
    /// Where the shape follows what its rows earn.
    ladder: Option<Ladder>,
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
    earnings: Earnings,
    /// Passes with a draft.
    passes: usize,
}

/// Passes from one choice of the shape to the next: rows that come and go at each pass would yield nothing.
const PATIENCE: usize = 16;

impl State {
    fn new(whole: LookaheadShape, ladder: Option<&Ladder>) -> Self {
        let earnings = Earnings::hoped(whole.ngram - 1);
        let shape = ladder.map_or(whole, |ladder| ladder.paying(&earnings));
        let pool = Pool::new(whole.ngram - 1, whole.guesses);
        let (window, scatter) = (Window::new(whole), Scatter::default());
        Self { pool, window, scatter, pooled: 0, shape, earnings, passes: 0 }
    }

    /// Learns from a pass how far the pool's guesses were right, and now and then takes the shape that pays.
    /// Behind the last token that is sent the pass shows one more, so n-grams that were too short are found out.
    fn earn(&mut self, ladder: &Ladder, root: TokenId, emitted: &[TokenId]) {
        let right = self.pool.find(root).map(|guess| shared_prefix(guess, emitted)).max();
        self.earnings.learn(right.unwrap_or(0), self.shape.ngram);
        self.passes += 1;
        if self.passes.is_multiple_of(PATIENCE) {
            self.shape = ladder.paying(&self.earnings);
        }
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
        Self { shape, eos, ladder: None, sequences: HashMap::new(), builder }
    }
}

/// Hangs a guess below the root as far as there is room. Tokens that are there already take none.
fn hang(builder: &mut TreeBuilder, room: Room, guess: &[TokenId]) {
    let mut parent = BuildId::ROOT;
    // A guess and the text have the root in common.
    for (agreeing, &token) in (1..).zip(guess.iter().take(room.depth)) {
        if builder.len() > room.nodes {
            return;
        }
        let Ok(child) = builder.propose(parent, token, surety(agreeing)) else { return };
        parent = child;
    }
}

impl Drafter for Lookahead {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        let (shape, ladder) = (self.shape, &self.ladder);
        let new = || State::new(shape, ladder.as_ref());
        let state = self.sequences.entry(key).or_insert_with(new);
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
            let State { pool, window, scatter, shape, .. } = state;
            let &mut LookaheadShape { window: columns, ngram, guesses } = shape;
            for guess in pool.find(root).take(guesses) {
                hang(builder, task.room, &guess[..guess.len().min(ngram - 1)]);
            }
            window.resize(ngram, &task.text, scatter);
            window.place(root, columns, task.room, builder);
            builder.freeze(&mut task.tree);
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            let Some(state) = self.sequences.get_mut(&task.key) else { continue };
            if let Some(ladder) = self.ladder.as_ref().filter(|_| task.tree.len() > 1) {
                state.earn(ladder, task.tree.token(0), task.accepted.tokens());
            }
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
