//! Running passes on a backend and comparing what comes out, bit for bit.

use std::{fmt::Arguments, ops::Range, sync::Arc};

use super::{model::Model, rng::Rng, tree::Tree};
use crate::{
    Backend, BlockId, BufferId, CHUNK, Pass, Range32, Reference, RowSet, Slot, Span, SpanLayout,
    Weights,
};

/// One sequence's place in a KV store.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    /// Positions stored.
    pub(super) len: usize,
    pub(super) blocks: Vec<BlockId>,
}

impl Sequence {
    pub(super) fn slot(&self, slot: usize) -> Slot {
        Slot { block: self.blocks[slot / CHUNK], offset: slot % CHUNK }
    }

    /// Keeps the path of `node` after a tree pass: the copies that move its keys and values to the
    /// positions, and the longer sequence.
    pub(super) fn commit(&mut self, tree: &Tree, node: usize) -> Vec<(Slot, Slot)> {
        let path = tree.path(node);
        let base = self.len;
        self.len += path.len();
        let moved = path.iter().enumerate().filter(|&(depth, &node)| depth != node);
        moved.map(|(depth, &node)| (self.slot(base + node), self.slot(base + depth))).collect()
    }
}

/// A pool of blocks in random order.
pub(super) struct Blocks(Vec<BlockId>);

impl Blocks {
    pub(super) fn shuffled(rng: &mut Rng, count: usize) -> Self {
        let mut blocks: Vec<BlockId> = (0..count as u32).map(BlockId).collect();
        rng.shuffle(&mut blocks);
        Self(blocks)
    }

    /// An empty sequence with room for `positions`.
    pub(super) fn sequence(&mut self, positions: usize) -> Sequence {
        let kept = self.0.len() - positions.div_ceil(CHUNK).max(1);
        Sequence { len: 0, blocks: self.0.split_off(kept) }
    }
}

/// The owned arrays of a [`Pass`].
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    pub(super) rotary: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) rotation: Vec<f32>,
    pub(super) subtree_end: Vec<u32>,
    pub(super) depth: Vec<u32>,
    pub(super) blocks: Vec<BlockId>,
    pub(super) spans: Vec<SpanLayout>,
    pub(super) wanted: Vec<u32>,
    pub(super) input: Vec<f32>,
}

impl Inputs {
    pub(super) fn new(model: &Model) -> Self {
        Self { rotary: model.rotary, ..Self::default() }
    }

    /// Adds a sequence with a tree of new rows, none of them wanted, and returns its rows.
    pub(super) fn push(
        &mut self,
        sequence: &Sequence,
        tree: &Tree,
        tokens: &[u32],
    ) -> Range<usize> {
        assert_eq!(tree.len(), tokens.len(), "a tree has one token per node");
        let rows = self.tokens.len()..self.tokens.len() + tokens.len();
        let blocks = self.blocks.len() as u32;
        self.tokens.extend(tokens);
        self.blocks.extend(&sequence.blocks);
        self.subtree_end.extend(&tree.subtree_end);
        self.depth.extend(&tree.depth);
        for depth in &tree.depth {
            push_angles(&mut self.rotation, self.rotary, sequence.len + *depth as usize);
        }
        self.spans.push(SpanLayout {
            rows: Range32 { start: rows.start as u32, end: rows.end as u32 },
            base: sequence.len,
            blocks: Range32 { start: blocks, end: self.blocks.len() as u32 },
        });
        rows
    }

    pub(super) fn want(&mut self, rows: impl IntoIterator<Item = usize>) {
        self.wanted.extend(rows.into_iter().map(|row| row as u32));
    }

    pub(super) fn pass(&self) -> Pass<'_> {
        Pass {
            tokens: &self.tokens,
            input: &self.input,
            rotation: &self.rotation,
            subtree_end: &self.subtree_end,
            depth: &self.depth,
            blocks: &self.blocks,
            spans: &self.spans,
            wanted: &self.wanted,
        }
    }
}

/// Appends the angles of a position: `dims / 2` cosines, then sines.
pub(super) fn push_angles(rotation: &mut Vec<f32>, dims: usize, position: usize) {
    let angle = |i: usize| position as f64 / 10_000f64.powf(2.0 * i as f64 / dims as f64);
    rotation.extend((0..dims / 2).map(|i| angle(i).cos() as f32));
    rotation.extend((0..dims / 2).map(|i| angle(i).sin() as f32));
}

/// A backend with a model's weights, buffers, keys and values.
pub(super) struct Runner<'a, B: Backend> {
    backend: &'a B,
    pub(super) model: &'a Model,
    weights: Weights<B>,
    activations: B::Activations,
    kv: B::Kv,
}

/// What a pass computed for one row: per buffer that holds it, its values.
pub(super) type Trace = Vec<(usize, Vec<f32>)>;

impl<'a, B: Backend> Runner<'a, B> {
    /// The buffers start with room for one row and grow with the passes.
    pub(super) fn new(backend: &'a B, model: &'a Model, blocks: usize) -> Self {
        let mut kv = backend.kv(model.kv);
        backend.grow_kv(&mut kv, blocks);
        let activations = backend.activations(&model.program, 1, 1);
        Self { backend, model, weights: model.pack(backend), activations, kv }
    }

    pub(super) fn run(&mut self, inputs: &Inputs) {
        let pass = inputs.pass();
        let (program, weights) = (&self.model.program, &self.weights);
        self.backend.run(program, weights, &pass, &mut self.activations, &mut self.kv);
    }

    pub(super) fn copy(&mut self, moves: &[(Slot, Slot)]) {
        self.backend.copy_kv(&mut self.kv, moves);
    }

    pub(super) fn grow(&mut self, blocks: usize) {
        self.backend.grow_kv(&mut self.kv, blocks);
    }

    /// Every buffer's values of one row of the last pass.
    pub(super) fn trace(&self, inputs: &Inputs, row: usize) -> Trace {
        let buffers = self.model.program.buffers().iter().enumerate();
        let traced = buffers.filter_map(|(index, spec)| {
            let row = match spec.rows {
                RowSet::All => row,
                RowSet::Wanted => inputs.wanted.binary_search(&(row as u32)).ok()?,
            };
            Some((index, self.backend.row(&self.activations, BufferId(index as u32), row).to_vec()))
        });
        traced.collect()
    }

    /// A head's stored key and value.
    fn stored(&self, layer: usize, head: usize, slot: Slot) -> [Vec<f32>; 2] {
        let mut key = vec![f32::NAN; self.model.kv.head_size];
        let mut value = key.clone();
        self.backend.read_kv(&self.kv, layer, head, slot, &mut key, &mut value);
        [key, value]
    }
}

/// A team beside the oracle: all run the same passes.
pub(super) struct Tandem<'a, B: Backend> {
    ours: Vec<Runner<'a, B>>,
    oracle: Runner<'a, Reference>,
}

impl<'a, B: Backend> Tandem<'a, B> {
    pub(super) fn new(team: &'a [B], model: &'a Model, blocks: usize) -> Self {
        let mut oracle = Runner::new(&Reference, model, blocks);
        for matrix in &mut oracle.weights.matrices {
            let matrix = Arc::get_mut(matrix).expect("the oracle packed its own");
            matrix.set_pair_sum(team[0].pair_sum());
        }
        let ours = team.iter().map(|member| Runner::new(member, model, blocks)).collect();
        Self { ours, oracle }
    }

    /// Runs a pass on all and compares every buffer and everything stored for its sequences.
    pub(super) fn run(&mut self, what: Arguments<'_>, inputs: &Inputs) {
        self.run_without_kv(what, inputs);
        let sequence = |span: Span<'_>| Sequence {
            len: span.base + span.rows.range().len(),
            blocks: span.blocks.to_vec(),
        };
        let sequences: Vec<Sequence> = inputs.pass().spans().map(sequence).collect();
        self.compare_kv(what, &sequences);
    }

    /// Runs a pass on all and compares every buffer.
    pub(super) fn run_without_kv(&mut self, what: Arguments<'_>, inputs: &Inputs) {
        self.oracle.run(inputs);
        let rows = 0..inputs.tokens.len();
        let wanted: Vec<Trace> = rows.map(|row| self.oracle.trace(inputs, row)).collect();
        for (member, ours) in self.ours.iter_mut().enumerate() {
            ours.run(inputs);
            for (row, wanted) in wanted.iter().enumerate() {
                let what = format_args!("{what}, row {row}, member {member}");
                assert_same_trace(what, &ours.trace(inputs, row), wanted);
            }
        }
    }

    /// Compares what is stored for some sequences.
    pub(super) fn compare_kv(&self, what: Arguments<'_>, sequences: &[Sequence]) {
        for (member, ours) in self.ours.iter().enumerate() {
            for sequence in sequences {
                let what = format_args!("{what}, member {member}");
                assert_same_kv(what, (ours, sequence), (&self.oracle, sequence));
            }
        }
    }

    pub(super) fn copy(&mut self, moves: &[(Slot, Slot)]) {
        self.ours.iter_mut().for_each(|ours| ours.copy(moves));
        self.oracle.copy(moves);
    }

    pub(super) fn grow(&mut self, blocks: usize) {
        self.ours.iter_mut().for_each(|ours| ours.grow(blocks));
        self.oracle.grow(blocks);
    }
}

/// Panics with the first value whose bits differ.
pub(super) fn assert_same_bits(what: Arguments<'_>, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{what}: lengths");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let (f, w) = (found.to_bits(), wanted.to_bits());
        assert!(f == w, "{what}: value {i} is {found:?} ({f:#010x}), not {wanted:?} ({w:#010x})");
    }
}

/// Panics with the first difference of two traces of the same program.
pub(super) fn assert_same_trace(what: Arguments<'_>, found: &Trace, wanted: &Trace) {
    assert_eq!(found.len(), wanted.len(), "{what}: buffers");
    for ((buffer, found), (_, wanted)) in found.iter().zip(wanted) {
        assert_same_bits(format_args!("{what}, buffer {buffer}"), found, wanted);
    }
}

/// Panics with the first stored key or value of two sequences that differs.
pub(super) fn assert_same_kv<A: Backend, B: Backend>(
    what: Arguments<'_>,
    (ours, found): (&Runner<'_, A>, &Sequence),
    (theirs, wanted): (&Runner<'_, B>, &Sequence),
) {
    assert_eq!(found.len, wanted.len, "{what}: positions stored");
    let shape = ours.model.kv;
    for layer in 0..shape.layers {
        for position in 0..found.len {
            for head in 0..shape.kv_heads {
                let found = ours.stored(layer, head, found.slot(position));
                let wanted = theirs.stored(layer, head, wanted.slot(position));
                for (part, i) in ["key", "value"].iter().zip(0..) {
                    assert_same_bits(
                        format_args!(
                            "{what}, {part}, layer {layer}, position {position}, head {head}"
                        ),
                        &found[i],
                        &wanted[i],
                    );
                }
            }
        }
    }
}
