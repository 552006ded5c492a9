//! Broken backends: each does one thing wrong that real kernels and caches get wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::runner::{Inputs, push_angles};
use super::super::*;
use crate::reference::{ReferenceActivations, ReferenceKv, ReferenceMatrix};
use crate::{
    BufferId, KvShape, MatrixView, Op, PackError, Pass, Program, Reach, Reference, RowSet, Slot,
    WeightFormat, Weights,
};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    /// Nothing.
    Sound,
    /// Every node sees the nodes before it.
    SiblingVisible,
    /// A node is rotated as if its position were its index.
    PositionIsIndex,
    /// The last copy of a commit is left out.
    LastRowNotCopied,
    /// Values are copied and keys are not.
    KeyNotCopied,
    /// The row before is read.
    RowOffByOne,
    /// With more than 16 rows the last bit of one of the last row's values is off.
    RoundingOfManyRows,
    /// Windows are one position wider.
    WindowTooWide,
    /// The block table is read as if blocks followed one another.
    BlocksInARow,
    /// The last row takes the token of the row before.
    TokenOffByOne,
}

/// The reference with a fault.
struct Broken(Mutation);

impl Backend for Broken {
    type Matrix = ReferenceMatrix;
    type Vector = Vec<f32>;
    type Activations = ReferenceActivations;
    type Kv = ReferenceKv;

    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    fn pack(
        &self,
        view: &MatrixView<'_>,
        format: WeightFormat,
    ) -> Result<ReferenceMatrix, PackError> {
        Reference.pack(view, format)
    }

    fn packed_bytes(&self, matrix: &ReferenceMatrix) -> usize {
        Reference.packed_bytes(matrix)
    }

    fn vector(&self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn activations(&self, program: &Program, rows: usize, wanted: usize) -> ReferenceActivations {
        Reference.activations(program, rows, wanted)
    }

    fn kv(&self, shape: KvShape) -> ReferenceKv {
        Reference.kv(shape)
    }

    fn grow_kv(&self, kv: &mut ReferenceKv, blocks: usize) {
        Reference.grow_kv(kv, blocks);
    }

    fn copy_kv(&self, kv: &mut ReferenceKv, moves: &[(Slot, Slot)]) {
        let Some((last, others)) = moves.split_last() else { return };
        Reference.copy_kv(kv, others);
        match self.0 {
            Mutation::LastRowNotCopied => {}
            Mutation::KeyNotCopied => copy_value(kv, last.0, last.1),
            _ => Reference.copy_kv(kv, &[*last]),
        }
    }

    fn read_kv(
        &self,
        kv: &ReferenceKv,
        layer: usize,
        head: usize,
        slot: Slot,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        Reference.read_kv(kv, layer, head, slot, key, value);
    }

    fn run(
        &self,
        program: &Program,
        weights: &Weights<Self>,
        pass: &Pass<'_>,
        activations: &mut ReferenceActivations,
        kv: &mut ReferenceKv,
    ) {
        let weights =
            Weights { matrices: weights.matrices.clone(), vectors: weights.vectors.clone() };
        let mut inputs = copy_of(pass);
        self.break_inputs(&mut inputs, pass);
        let program = self.broken_program(program);
        Reference.run(&program, &weights, &inputs.pass(), activations, kv);
        self.break_results(&program, pass, activations);
    }

    fn row<'a>(
        &self,
        activations: &'a ReferenceActivations,
        buffer: BufferId,
        row: usize,
    ) -> &'a [f32] {
        let row = if self.0 == Mutation::RowOffByOne { row.saturating_sub(1) } else { row };
        Reference.row(activations, buffer, row)
    }
}

/// The arrays of a pass, owned.
fn copy_of(pass: &Pass<'_>) -> Inputs {
    Inputs {
        rotary: pass.rotary_dims(),
        tokens: pass.tokens.to_vec(),
        rotation: pass.rotation.to_vec(),
        subtree_end: pass.subtree_end.to_vec(),
        depth: pass.depth.to_vec(),
        blocks: pass.blocks.to_vec(),
        spans: pass.spans.to_vec(),
        wanted: pass.wanted.to_vec(),
        input: pass.input.to_vec(),
    }
}

impl Broken {
    fn break_inputs(&self, inputs: &mut Inputs, pass: &Pass<'_>) {
        match self.0 {
            Mutation::SiblingVisible => {
                for span in pass.spans() {
                    let rows = span.rows.range();
                    inputs.subtree_end[rows.clone()].fill(rows.len() as u32);
                    inputs.depth[rows].iter_mut().zip(0..).for_each(|(depth, i)| *depth = i);
                }
            }
            Mutation::PositionIsIndex => {
                inputs.rotation.clear();
                for span in pass.spans() {
                    for node in 0..span.rows.range().len() {
                        push_angles(&mut inputs.rotation, pass.rotary_dims(), span.base + node);
                    }
                }
            }
            Mutation::BlocksInARow => {
                for span in pass.spans {
                    let blocks = &mut inputs.blocks[span.blocks.range()];
                    blocks.sort_unstable_by_key(|block| block.0);
                }
            }
            Mutation::TokenOffByOne if pass.tokens.len() > 1 => {
                let rows = inputs.tokens.len();
                inputs.tokens[rows - 1] = inputs.tokens[rows - 2];
            }
            _ => {}
        }
    }

    fn broken_program(&self, program: &Program) -> Program {
        let mut broken = Program::new();
        for spec in program.buffers() {
            broken.buffer(spec.width, spec.rows);
        }
        for op in program.ops() {
            let mut op = op.clone();
            if let (Mutation::WindowTooWide, Op::Attention { reach: Reach::Window(n), .. }) =
                (self.0, &mut op)
            {
                *n += 1;
            }
            broken.push(op);
        }
        broken
    }

    fn break_results(&self, program: &Program, pass: &Pass<'_>, acts: &mut ReferenceActivations) {
        if self.0 == Mutation::RoundingOfManyRows && pass.tokens.len() > 16 {
            let all = program.buffers().iter().position(|spec| spec.rows == RowSet::All);
            if let Some(value) = all.and_then(|index| acts.last_mut(BufferId(index as u32))) {
                *value = value.next_up();
            }
        }
    }
}

/// Copies the values of a slot and keeps the keys that were there.
fn copy_value(kv: &mut ReferenceKv, from: Slot, to: Slot) {
    let shape = kv.shape();
    let size = shape.head_size;
    for layer in 0..shape.layers {
        let mut old_keys = vec![0.0; shape.kv_heads * size];
        let mut new_values = old_keys.clone();
        let mut unused = vec![0.0; size];
        for head in 0..shape.kv_heads {
            let part = head * size..(head + 1) * size;
            Reference.read_kv(kv, layer, head, to, &mut old_keys[part.clone()], &mut unused);
            Reference.read_kv(kv, layer, head, from, &mut unused, &mut new_values[part]);
        }
        kv.store(layer, to, &old_keys, &new_values);
    }
}

/// Runs a check on each broken backend; it must fail by finding a difference of which the words
/// tell.
fn assert_noticed(check: fn(&[Broken], Thoroughness), mutations: &[(Mutation, &str)]) {
    for &(mutation, words) in mutations {
        let run = AssertUnwindSafe(|| check(&[Broken(mutation)], Thoroughness::Quick));
        let panic = catch_unwind(run).expect_err("the suite notices the mutation");
        let message = panic.downcast_ref::<String>().expect("a formatted message");
        assert!(message.contains(words), "{mutation:?} is noticed as: {message}");
        assert!(message.contains(" not "), "{mutation:?} is noticed by a difference: {message}");
    }
}

#[test]
fn invariance_notices_mutants() {
    let paths = "a tree is its paths as chains";
    let mutations = [
        (Mutation::SiblingVisible, paths),
        (Mutation::PositionIsIndex, paths),
        (Mutation::LastRowNotCopied, "stored as a chain, key"),
        (Mutation::KeyNotCopied, "stored as a chain, key"),
        (Mutation::RowOffByOne, "prefill"),
        (Mutation::RoundingOfManyRows, "prefill"),
        (Mutation::TokenOffByOne, "prefill"),
    ];
    assert_noticed(check_invariance, &mutations);
    // What is the same in every pass of one backend shows where another one runs the rest.
    let with_sound = |broken: &[Broken], t| {
        check_invariance(&[Broken(Mutation::Sound), Broken(broken[0].0)], t);
    };
    assert_noticed(with_sound, &[(Mutation::WindowTooWide, "prefill")]);
}

#[test]
fn comparison_with_the_reference_notices_mutants() {
    let mutations = [
        (Mutation::SiblingVisible, "step 0"),
        (Mutation::PositionIsIndex, "step 0"),
        (Mutation::LastRowNotCopied, "step 1"),
        (Mutation::KeyNotCopied, "step 1"),
        (Mutation::RowOffByOne, "prefill"),
        (Mutation::RoundingOfManyRows, "row"),
        (Mutation::WindowTooWide, "row"),
        (Mutation::TokenOffByOne, "prefill"),
    ];
    assert_noticed(check_programs, &mutations);
    let mutations = [
        (Mutation::SiblingVisible, "nodes"),
        (Mutation::WindowTooWide, "row"),
        (Mutation::BlocksInARow, "key"),
    ];
    assert_noticed(check_attention, &mutations);
    // Whichever member of a team it is.
    let last = |broken: &[Broken], t| {
        check_programs(&[Broken(Mutation::Sound), Broken(broken[0].0)], t);
    };
    assert_noticed(
        last,
        &[(Mutation::SiblingVisible, "member 1"), (Mutation::KeyNotCopied, "member 1")],
    );
}
