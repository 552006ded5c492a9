//! Fewer passes for the same chain: Medusa heads of the draft model guess what its next rows will choose.
//!
//! The draft is to its heads what a target is: below the tip of each chain hang guesses, and the pass that
//! reads the tip reads them along. Rows of right guesses are those that passes of their own would have had,
//! so the chain grows by several tokens in one pass and to the same length. The first pass of a step knows no
//! state and nothing is guessed.

use std::collections::HashMap;

use foretoken_core::MAX_NODES;
use foretoken_model::{Heads, Target};

use super::{State, drafting};
use crate::drafters::{DraftTask, Guesser, MedusaTrees, Room, SequenceKey};

/// Heads of the draft model.
pub(super) struct Nested {
    guesser: Guesser,
    /// By task: its row of the heads' pass.
    rows: Vec<Option<usize>>,
}

impl Nested {
    pub(super) fn new(heads: Box<dyn Heads>, trees: MedusaTrees, vocab: usize) -> Self {
        Self { guesser: Guesser::new(heads, trees, vocab), rows: Vec::new() }
    }

    /// Hangs guesses below the tips of the chains that grow on; `model` has run their last pass.
    pub(super) fn hang(
        &mut self,
        model: &dyn Target,
        tasks: &mut [DraftTask],
        sequences: &mut HashMap<SequenceKey, State>,
    ) {
        let Self { guesser, rows } = self;
        guesser.heads.start();
        rows.clear();
        rows.extend(tasks.iter().map(|task| {
            let state = drafting(sequences, task)?;
            let (item, &read) = state.item.zip(state.path.last())?;
            (state.growth.ahead() > 0).then(|| guesser.heads.add(model.hidden(item, read)))
        }));
        if rows.iter().all(Option::is_none) {
            return;
        }
        guesser.heads.forward();
        for (task, &row) in tasks.iter_mut().zip(&*rows) {
            let Some((state, row)) = drafting(sequences, task).zip(row) else { continue };
            let room = Room { nodes: MAX_NODES, depth: state.growth.ahead() };
            guesser.guess(row, task, state.growth.chain(), room);
            guesser.freeze(&mut state.work);
        }
    }
}
