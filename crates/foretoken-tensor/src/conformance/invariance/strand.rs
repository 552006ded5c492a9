//! One text on one backend: a sequence that is fed in some way and cut back to a shorter one.

use super::super::model::Model;
use super::super::rng::Rng;
use super::super::runner::{Blocks, Inputs, Runner, Sequence, Trace};
use super::super::tree::{Form, Tree};
use crate::{Backend, CHUNK};

/// A sequence on a runner of its own.
///
/// Whatever lies behind its length is of no account: to go on from an earlier position the length
/// is set back and the rest overwritten.
pub(super) struct Strand<'m, B: Backend> {
    pub(super) runner: Runner<'m, B>,
    pub(super) sequence: Sequence,
    /// What stands before and after the sequence in a pass.
    others: [Sequence; 2],
}

impl<'m, B: Backend> Strand<'m, B> {
    /// An empty sequence with room for `positions`.
    pub(super) fn new(backend: &'m B, model: &'m Model, rng: &mut Rng, positions: usize) -> Self {
        let blocks = positions.div_ceil(CHUNK) + 2;
        let mut pool = Blocks::shuffled(rng, blocks);
        let others = [(); 2].map(|()| pool.sequence(CHUNK));
        let sequence = pool.sequence(positions);
        Self { runner: Runner::new(backend, model, blocks), sequence, others }
    }

    /// Runs a chain alone, appends it and returns its rows.
    pub(super) fn extend(&mut self, tokens: &[u32]) -> Vec<Trace> {
        let mut inputs = Inputs::new(self.runner.model);
        let rows = inputs.push(&self.sequence, &Tree::chain(tokens.len()), tokens);
        inputs.want(rows.clone());
        self.runner.run(&inputs);
        self.sequence.len += tokens.len();
        rows.map(|row| self.runner.trace(&inputs, row)).collect()
    }

    /// Appends tokens in chunks of a size and returns their rows.
    pub(super) fn extend_by(&mut self, size: usize, tokens: &[u32]) -> Vec<Trace> {
        tokens.chunks(size).flat_map(|chunk| self.extend(chunk)).collect()
    }

    /// Runs a tree between two other sequences and returns its rows.
    pub(super) fn run_among_others(
        &mut self,
        rng: &mut Rng,
        tree: &Tree,
        tokens: &[u32],
    ) -> Vec<Trace> {
        let model = self.runner.model;
        let mut inputs = Inputs::new(model);
        let mut other = |inputs: &mut Inputs, other: &mut Sequence, most: usize| {
            other.len = rng.below(CHUNK - most);
            let nodes = 1 + rng.below(most);
            let tree = Tree::random(rng, nodes, Form::Bush);
            let rows = inputs.push(other, &tree, &rng.tokens(tree.len(), model.vocabulary));
            inputs.want(rows.last());
        };
        other(&mut inputs, &mut self.others[0], 20);
        let rows = inputs.push(&self.sequence, tree, tokens);
        inputs.want(rows.clone());
        other(&mut inputs, &mut self.others[1], 5);
        self.runner.run(&inputs);
        rows.map(|row| self.runner.trace(&inputs, row)).collect()
    }

    /// Keeps the path of a node of the last tree.
    pub(super) fn commit(&mut self, tree: &Tree, node: usize) {
        let moves = self.sequence.commit(tree, node);
        self.runner.copy(&moves);
    }
}
