//! Row invariance: a backend against itself. Whatever else a pass holds, a row's buffers and its
//! key and value have the same bits.

use super::model::Model;
use super::programs::transformer;
use super::rng::Rng;
use super::runner::{Blocks, Inputs, Runner, Sequence, Trace, assert_same_kv, assert_same_trace};
use super::tree::{Form, Tree};
use super::{ROWS, Thoroughness, pick};
use crate::{Backend, CHUNK, Slot};

/// Positions committed before the tree: trees of the larger row counts then span two blocks and
/// chunks.
const BASES: [usize; 13] = [1, 64, 15, 40, 63, 2, 128, 60, 65, 33, 127, 100, 16];

/// A tree against each of several paths as a chain and one token at a time, also after its commit;
/// and prefill in chunks of 1, 7 and 64 against all at once.
///
/// # Panics
/// With the first difference.
pub fn check_invariance<B: Backend>(backend: &B, thoroughness: Thoroughness) {
    for case in thoroughness.cases(13) {
        let rng = &mut Rng::new(5000 + case as u64);
        let transformer = transformer(case);
        let model = transformer.build(rng);
        let base = pick(&BASES, case) + case / BASES.len() * 7;
        let form = pick(&[Form::Vine, Form::Bush, Form::Star, Form::Vine, Form::Chain], case);
        let tree = Tree::random(rng, pick(&ROWS, case), form);
        let what = format!("case {case}, {transformer:?}, base {base}, {form:?}");
        check_paths(backend, rng, &what, &model, base, &tree);
        let prompt = 66 + rng.below(70);
        check_prefill(backend, rng, &what, &model, prompt);
    }
    // A tree that begins at every place within a block.
    let rng = &mut Rng::new(6000);
    let transformer = transformer(0);
    let model = transformer.build(rng);
    for base in 1..=CHUNK {
        let tree = Tree::random(rng, 9, Form::Bush);
        check_paths(backend, rng, &format!("{transformer:?}, base {base}"), &model, base, &tree);
    }
}

/// Keeps the path of `node` after a tree pass: the copies that move its keys and values to the
/// positions, and the longer sequence.
pub(super) fn commit(sequence: &mut Sequence, tree: &Tree, node: usize) -> Vec<(Slot, Slot)> {
    let path = tree.path(node);
    let base = sequence.len;
    sequence.len += path.len();
    let moved = path.iter().enumerate().filter(|&(depth, &node)| depth != node);
    moved.map(|(depth, &node)| (sequence.slot(base + node), sequence.slot(base + depth))).collect()
}

/// A runner, its block pool and random numbers: what the checks below share.
struct Setting<'a, 'm, B: Backend> {
    runner: Runner<'m, B>,
    pool: Blocks,
    rng: &'a mut Rng,
    what: &'a str,
}

impl<B: Backend> Setting<'_, '_, B> {
    /// A copy of a sequence in blocks of its own, with room for `more` positions.
    fn fork(&mut self, sequence: &Sequence, more: usize) -> Sequence {
        let len = sequence.len;
        let fork = Sequence { len, ..self.pool.sequence(len + more) };
        let moves: Vec<_> = (0..len).map(|slot| (sequence.slot(slot), fork.slot(slot))).collect();
        self.runner.copy(&moves);
        fork
    }

    /// Runs a chain alone, appends it to the sequence and returns its rows.
    fn extend(&mut self, sequence: &mut Sequence, tokens: &[u32]) -> Vec<Trace> {
        let mut inputs = Inputs::new(self.runner.model);
        let rows = inputs.push(sequence, &Tree::chain(tokens.len()), tokens);
        inputs.want(rows.clone());
        self.runner.run(&inputs);
        sequence.len += tokens.len();
        rows.map(|row| self.runner.trace(&inputs, row)).collect()
    }

    /// Runs a tree between two other sequences and returns its rows.
    fn run_among_others(&mut self, sequence: &Sequence, tree: &Tree, tokens: &[u32]) -> Vec<Trace> {
        let mut inputs = Inputs::new(self.runner.model);
        let [before, after] = [(); 2].map(|()| self.pool.sequence(CHUNK));
        let (first, last) = (1 + self.rng.below(20), 1 + self.rng.below(5));
        let other = |rng: &mut Rng, n: usize| rng.tokens(n, self.runner.model.vocabulary);
        inputs.push(&before, &Tree::random(self.rng, first, Form::Bush), &other(self.rng, first));
        let rows = inputs.push(sequence, tree, tokens);
        inputs.push(&after, &Tree::chain(last), &other(self.rng, last));
        inputs.want(rows.clone());
        self.runner.run(&inputs);
        rows.map(|row| self.runner.trace(&inputs, row)).collect()
    }

    fn same_rows(&self, how: &str, found: &[Trace], wanted: &[Trace]) {
        assert_eq!(found.len(), wanted.len(), "{}, {how}: rows", self.what);
        for (row, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            assert_same_trace(format_args!("{}, {how}, row {row}", self.what), found, wanted);
        }
    }

    fn same_kv(&self, how: &str, found: &Sequence, wanted: &Sequence) {
        let what = format_args!("{}, {how}", self.what);
        assert_same_kv(what, (&self.runner, found), (&self.runner, wanted));
    }
}

/// A tree among other sequences against its paths as chains and one token at a time.
fn check_paths<B: Backend>(
    backend: &B,
    rng: &mut Rng,
    what: &str,
    model: &Model,
    base: usize,
    tree: &Tree,
) {
    let nodes = tree.len();
    let blocks = 8 * (base + nodes + 2).div_ceil(CHUNK) + 2;
    let pool = Blocks::shuffled(rng, blocks);
    let mut setting = Setting { runner: Runner::new(backend, model, blocks), pool, rng, what };
    let mut prefix = setting.pool.sequence(base);
    let tokens = setting.rng.tokens(base, model.vocabulary);
    setting.extend(&mut prefix, &tokens);
    let tokens = setting.rng.tokens(nodes, model.vocabulary);
    let mut committed = setting.fork(&prefix, nodes + 1);
    let in_tree = setting.run_among_others(&committed, tree, &tokens);
    // The path of the last node, of the deepest and of any.
    let deepest = (0..nodes).max_by_key(|&node| tree.depth[node]).unwrap_or(0);
    let chosen = [nodes - 1, deepest, setting.rng.below(nodes)];
    for (case, node) in chosen.into_iter().enumerate() {
        let path = tree.path(node);
        let on_path: Vec<u32> = path.iter().map(|&node| tokens[node]).collect();
        let rows: Vec<Trace> = path.iter().map(|&node| in_tree[node].clone()).collect();
        let mut chain = setting.fork(&prefix, nodes + 1);
        let chained = setting.extend(&mut chain, &on_path);
        setting.same_rows("a tree is its paths as chains", &rows, &chained);
        if case == chosen.len() - 1 {
            let mut single = setting.fork(&prefix, nodes + 1);
            let one_by_one: Vec<Trace> =
                on_path.iter().flat_map(|&token| setting.extend(&mut single, &[token])).collect();
            setting.same_rows("a chain is its tokens one at a time", &chained, &one_by_one);
            let moves = commit(&mut committed, tree, node);
            setting.runner.copy(&moves);
            setting.same_kv("a committed path is stored as a chain", &committed, &chain);
            setting.same_kv("a chain is stored as single tokens", &chain, &single);
            let next = setting.rng.tokens(1, model.vocabulary);
            let after_tree = setting.extend(&mut committed, &next);
            let after_single = setting.extend(&mut single, &next);
            setting.same_rows("the token after a commit", &after_tree, &after_single);
        }
    }
}

/// A prompt in chunks of several sizes.
fn check_prefill<B: Backend>(backend: &B, rng: &mut Rng, what: &str, model: &Model, len: usize) {
    let blocks = 4 * len.div_ceil(CHUNK);
    let pool = Blocks::shuffled(rng, blocks);
    let mut setting = Setting { runner: Runner::new(backend, model, blocks), pool, rng, what };
    let tokens = setting.rng.tokens(len, model.vocabulary);
    let mut whole = setting.pool.sequence(len);
    let wanted = setting.extend(&mut whole, &tokens);
    for size in [1, 7, 64] {
        let mut sequence = setting.pool.sequence(len);
        let chunks = tokens.chunks(size);
        let rows: Vec<Trace> =
            chunks.flat_map(|chunk| setting.extend(&mut sequence, chunk)).collect();
        setting.same_rows(&format!("prefill of {len} in chunks of {size}"), &rows, &wanted);
        setting.same_kv(&format!("prefill of {len} in chunks of {size}"), &sequence, &whole);
    }
}
