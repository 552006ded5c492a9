//! Heads with their trees: from a hidden state to a tree of guesses.
//!
//! It knows no drafter: whoever has hidden states, of a target or of a draft model, runs the heads on them and
//! takes their guesses here.

use foretoken_core::{BuildId, Guess, TokenId, TreeBuilder};
use foretoken_model::Heads;

use super::trees::{Size, UNMEASURED};
use super::{Lists, LoadedHeads, MedusaTrees};
use crate::drafters::{DraftTask, Room};

/// Heads, which of their guesses are sent, and the buffers for finding them.
pub(crate) struct Guesser {
    heads: Box<dyn Heads>,
    trees: MedusaTrees,
    /// By task: its row of the heads' last pass.
    rows: Vec<Option<usize>>,
    lists: Lists,
    builder: TreeBuilder,
    /// By guess of the tree: its node, where it has one.
    placed: Vec<Option<BuildId>>,
}

impl Guesser {
    /// Heads that guess among the first `vocab` tokens; those that no tree asks are let go.
    pub(crate) fn new(mut heads: Box<dyn Heads>, trees: MedusaTrees, vocab: usize) -> Self {
        heads.truncate(trees.depth());
        let (lists, builder) = (Lists::new(vocab), TreeBuilder::new(0));
        Self { heads, trees, rows: Vec::new(), lists, builder, placed: Vec::new() }
    }

    /// Runs the heads once over the states `[hidden]` of those tasks that have one; the tasks are in order.
    pub(crate) fn read<'a>(&mut self, states: impl Iterator<Item = Option<&'a [f32]>>) {
        let Self { heads, rows, .. } = self;
        heads.start();
        rows.clear();
        rows.extend(states.map(|state| state.map(|state| heads.add(state))));
        if rows.iter().any(Option::is_some) {
            heads.forward();
        }
    }

    /// Ranks what the heads guess by the state of the task with an index, behind its text and the `drafted`
    /// tokens that follow it. The best guesses that fit a room are a tree whose root is the token that they
    /// follow; none where the task had no state.
    pub(crate) fn guess(
        &mut self,
        index: usize,
        task: &mut DraftTask,
        drafted: &[TokenId],
        room: Room,
    ) -> Option<&mut TreeBuilder> {
        let Self { heads, trees, rows, lists, builder, placed } = self;
        let row = rows.get(index).copied().flatten()?;
        let shape = trees.nearest(task.sampler.params().temperature);
        let depth = shape.lengths().len().min(room.depth).min(heads.count());
        lists.rank((heads.as_ref(), row), task, drafted, &shape.lengths()[..depth]);
        let root = drafted.last().or(task.text.last());
        builder.reset(root.copied().unwrap_or_default());
        placed.clear();
        // How many guesses are gone through depends on the room.
        placed.reserve(shape.tree().len());
        for (&Guess { parent, rank, depth }, &rate) in
            shape.tree().guesses().iter().zip(shape.rates())
        {
            if builder.len() > room.nodes {
                break;
            }
            let parent = parent.map_or(Some(BuildId::ROOT), |parent| placed[parent]);
            let node = lists.token(depth, rank).zip(parent);
            placed.push(node.and_then(|(token, parent)| builder.propose(parent, token, rate).ok()));
        }
        Some(builder)
    }
}

impl LoadedHeads {
    /// The best tree of a size that is cheap where no cost was measured.
    pub(crate) fn unmeasured_trees(&self) -> MedusaTrees {
        let size = Size::Nodes(UNMEASURED);
        MedusaTrees::best(self.calibration.as_ref(), self.heads.count(), size)
    }
}

#[cfg(test)]
mod tests {
    use foretoken_core::SparseTree;

    use super::super::fixed::Fixed;
    use super::*;

    #[test]
    fn heads_that_no_tree_asks_are_let_go() {
        let trees = MedusaTrees::fixed(&SparseTree::cartesian(&[2, 1]).unwrap());
        let guesser = Guesser::new(Box::new(Fixed::new(vec![0.0; 3])), trees, 3);
        assert_eq!(guesser.heads.count(), 2);
    }
}
