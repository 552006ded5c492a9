//! Heads with their trees: from a hidden state to a tree of guesses.
//!
//! It knows no drafter: whoever has hidden states, of a target or of a draft model, runs the heads on them and
//! takes their guesses here.

use foretoken_core::{BuildId, DraftTree, Guess, Role, TokenId, TreeBuilder};
use foretoken_model::Heads;

use super::trees::{Size, UNMEASURED};
use super::{Lists, LoadedHeads, MedusaTrees};
use crate::drafters::{DraftTask, Room};

/// Heads, which of their guesses are sent, and the buffers for finding them.
pub(crate) struct Guesser {
    pub(crate) heads: Box<dyn Heads>,
    trees: MedusaTrees,
    lists: Lists,
    builder: TreeBuilder,
    /// By guess of the tree: its node, where it has one.
    placed: Vec<Option<BuildId>>,
}

impl Guesser {
    /// Heads that guess among the first `vocab` tokens.
    pub(crate) fn new(heads: Box<dyn Heads>, trees: MedusaTrees, vocab: usize) -> Self {
        let (lists, builder) = (Lists::new(vocab), TreeBuilder::new(0));
        Self { heads, trees, lists, builder, placed: Vec::new() }
    }

    /// Ranks the guesses of a row of the heads' last pass behind a task's text and the `drafted` tokens that
    /// follow it, and takes the best that fit a room.
    pub(crate) fn guess(
        &mut self,
        row: usize,
        task: &mut DraftTask,
        drafted: &[TokenId],
        room: Room,
    ) {
        let Self { heads, trees, lists, builder, placed } = self;
        let shape = trees.nearest(task.sampler.params().temperature);
        let depth = shape.lengths().len().min(room.depth);
        lists.rank((heads.as_ref(), row), task, drafted, &shape.lengths()[..depth]);
        let root = drafted.last().or(task.text.last());
        builder.reset(root.copied().unwrap_or_default());
        placed.clear();
        for &Guess { parent, rank, depth } in shape.tree().guesses() {
            if builder.len() > room.nodes {
                break;
            }
            let parent = parent.map_or(Some(BuildId::ROOT), |parent| placed[parent]);
            let node = lists.token(depth, rank).zip(parent);
            placed.push(
                node.and_then(|(token, parent)| builder.push(parent, token, Role::Candidate).ok()),
            );
        }
    }

    /// Writes the guesses as a tree whose root is the token that they follow.
    pub(crate) fn freeze(&mut self, out: &mut DraftTree) {
        self.builder.freeze(out);
    }
}

impl LoadedHeads {
    /// The best tree of a size that is cheap where no cost was measured.
    pub(crate) fn unmeasured_trees(&self) -> MedusaTrees {
        let size = Size::Nodes(UNMEASURED);
        MedusaTrees::best(self.calibration.as_ref(), self.heads.count(), size)
    }
}
