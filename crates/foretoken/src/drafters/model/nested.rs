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
}

impl Nested {
    pub(super) fn new(heads: Box<dyn Heads>, trees: MedusaTrees, vocab: usize) -> Self {
        Self { guesser: Guesser::new(heads, trees, vocab) }
    }

    /// Hangs guesses below the tips of the chains that grow on; `model` has run their last pass.
    pub(super) fn hang(
        &mut self,
        model: &dyn Target,
        tasks: &mut [DraftTask],
        sequences: &mut HashMap<SequenceKey, State>,
    ) {
        self.guesser.read(tasks.iter().map(|task| {
            let state = drafting(sequences, task)?;
            let (item, &read) = state.item.zip(state.path.last())?;
            (state.growth.ahead() > 0).then(|| model.hidden(item, read))
        }));
        for (index, task) in tasks.iter_mut().enumerate() {
            let growing = drafting(sequences, task).filter(|state| state.item.is_some());
            let Some(state) = growing else { continue };
            let room = Room { nodes: MAX_NODES, depth: state.growth.ahead() };
            let guesses = self.guesser.guess(index, task, state.growth.chain(), room);
            if let Some(guesses) = guesses {
                guesses.freeze(&mut state.work);
            }
        }
    }
}
