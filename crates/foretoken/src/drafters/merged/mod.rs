//! Several drafters as one: all propose, and the likeliest of their nodes are sent.
//!
//! Each drafter fills a tree in the whole room. What it estimates of its nodes is calibrated by what became of
//! such nodes in the sequence so far (`calibration`), and the trees become one under the budget
//! ([`Union`]). One drafter alone is left as it is.

mod calibration;

use std::collections::HashMap;

use foretoken_core::{DraftTree, TokenId, Union};

use self::calibration::Calibration;
use super::{DraftTask, Drafter, SequenceKey};

/// Drafters whose trees are sent as one; what an engine drafts with.
#[derive(Default)]
pub struct Merged {
    drafters: Vec<Box<dyn Drafter>>,
    sequences: HashMap<SequenceKey, Drafts>,
    union: Union,
}

/// The drafts of one sequence, by drafter.
struct Drafts {
    trees: Vec<DraftTree>,
    calibrations: Vec<Calibration>,
}

impl Drafts {
    fn new(drafters: usize) -> Self {
        Self {
            trees: vec![DraftTree::single(0); drafters],
            calibrations: vec![Calibration::default(); drafters],
        }
    }

    /// Puts a drafter's own tree, with its root alone, in place of the task's.
    fn lend(&mut self, drafter: usize, tree: &mut DraftTree) {
        let own = &mut self.trees[drafter];
        own.set_single(tree.token(0));
        std::mem::swap(own, tree);
    }

    /// Takes it back, with what the drafter has proposed.
    fn take(&mut self, drafter: usize, tree: &mut DraftTree) {
        let own = &mut self.trees[drafter];
        std::mem::swap(own, tree);
        self.calibrations[drafter].correct(own);
    }

    fn learn(&mut self, emitted: &[TokenId]) {
        for (tree, calibration) in self.trees.iter().zip(&mut self.calibrations) {
            calibration.learn(tree, emitted);
        }
    }
}

impl Merged {
    /// Drafters in the order of their names; of equally likely nodes the first one's come first.
    pub fn new(drafters: Vec<Box<dyn Drafter>>) -> Self {
        Self { drafters, ..Self::default() }
    }

    pub(crate) fn into_drafters(self) -> Vec<Box<dyn Drafter>> {
        self.drafters
    }
}

impl Drafter for Merged {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.drafters.iter_mut().for_each(|drafter| drafter.begin(key, prompt));
        let several = self.drafters.len();
        if several > 1 {
            self.sequences.entry(key).or_insert_with(|| Drafts::new(several));
        }
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let Self { drafters, sequences, union } = self;
        for (index, drafter) in drafters.iter_mut().enumerate() {
            for_each(sequences, tasks, |drafts, tree| drafts.lend(index, tree));
            drafter.propose(tasks);
            for_each(sequences, tasks, |drafts, tree| drafts.take(index, tree));
        }
        for task in tasks {
            let Some(drafts) = sequences.get(&task.key) else { continue };
            // Trees of one root always merge; without a union the step is undrafted.
            if union.merge(&drafts.trees, task.room.nodes, &mut task.tree).is_err() {
                task.tree.set_single(drafts.trees[0].token(0));
            }
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            if let Some(drafts) = self.sequences.get_mut(&task.key) {
                drafts.learn(task.accepted.tokens());
            }
        }
        self.drafters.iter_mut().for_each(|drafter| drafter.observe(tasks));
    }

    fn end(&mut self, key: SequenceKey) {
        self.sequences.remove(&key);
        self.drafters.iter_mut().for_each(|drafter| drafter.end(key));
    }
}

/// Does something with the drafts and the task's tree of every sequence; nothing where one drafter is alone.
fn for_each(
    sequences: &mut HashMap<SequenceKey, Drafts>,
    tasks: &mut [DraftTask],
    mut work: impl FnMut(&mut Drafts, &mut DraftTree),
) {
    for task in tasks {
        if let Some(drafts) = sequences.get_mut(&task.key) {
            work(drafts, &mut task.tree);
        }
    }
}
