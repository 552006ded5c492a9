//! Attention alone on arbitrary queries, keys and values, against the reference.

use super::model::{Model, Stored};
use super::rng::Rng;
use super::runner::{Blocks, Inputs, Runner, Sequence, Tandem, Trace, assert_same_trace};
use super::tree::{Form, Tree};
use super::{ROWS, Thoroughness, pick};
use crate::{Backend, BufferId, CHUNK, KvShape, KvType, Op, Reach, WeightFormat};

const VOCABULARY: usize = 97;
/// A token whose keys and values are infinite as bfloat16; beyond the vocabulary, so never drawn.
const FAILING: u32 = VOCABULARY as u32;
/// Query heads, KV heads and head size.
const HEADS: [(usize, usize, usize); 7] =
    [(4, 2, 8), (2, 1, 64), (3, 3, 80), (4, 1, 128), (6, 2, 16), (1, 1, 40), (8, 1, 8)];
/// Positions stored before a tree: both sides of chunk and vector edges.
const BASES: [usize; 13] = [0, 1, 15, 16, 31, 47, 63, 64, 65, 100, 127, 128, 190];
const REACHES: [Reach; 8] = [
    Reach::Full,
    Reach::Window(1),
    Reach::Full,
    Reach::Window(5),
    Reach::Window(63),
    Reach::Window(64),
    Reach::Window(65),
    Reach::Window(100),
];
const FORMS: [Form; 5] = [Form::Vine, Form::Bush, Form::Chain, Form::Vine, Form::Star];
/// Multiples of `1 / sqrt(head_size)`: flat, usual and peaked weights (most of these exactly zero).
const SHARPNESS: [f32; 3] = [1.0, 0.1, 60.0];

/// Attention over trees on stored positions, for head sizes, grouped queries, KV types, windows and
/// block tables, with other sequences before and after; and beside slots that hold infinities.
///
/// # Panics
/// With the first difference.
pub fn check_attention<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    for case in thoroughness.cases(39) {
        let rng = &mut Rng::new(2000 + case as u64);
        let (heads, kv_heads, head_size) = pick(&HEADS, case);
        let kv_type = pick(&[KvType::F32, KvType::Bf16], case);
        let kv = KvShape { layers: 2, kv_heads, head_size, kv_type };
        let reach = pick(&REACHES, case);
        let model = model(rng, kv, heads, reach, pick(&SHARPNESS, case));
        // The residue of the base wanders beyond the list, so that a full run meets all of them.
        let base = pick(&BASES, case) + case / BASES.len() * 5;
        let form = pick(&FORMS, case);
        let tree = Tree::random(rng, pick(&ROWS, case), form);
        let what = format!("attention, case {case}, {kv:?}, {reach:?}, base {base}, {form:?}");
        check_tree(team, rng, &what, &model, base, &tree);
    }
    for (case, reach) in [Reach::Full, Reach::Window(5), Reach::Window(6)].into_iter().enumerate() {
        for base in [7, 8, 62, 63, 64] {
            let rng = &mut Rng::new(7000 + case as u64);
            let kv = KvShape { layers: 2, kv_heads: 2, head_size: 8, kv_type: KvType::Bf16 };
            let model = model(rng, kv, 4, reach, 1.0);
            for backend in team {
                check_failing(backend, rng, &model, reach, base);
            }
        }
    }
}

/// Random queries, keys and values, stored and attended to in layer 1 of 2.
pub(super) fn model(
    rng: &mut Rng,
    kv: KvShape,
    heads: usize,
    reach: Reach,
    sharpness: f32,
) -> Model {
    let mut model = Model::new(kv, 0, VOCABULARY + 1);
    let queries = model.source(rng, heads * kv.head_size, 2.0);
    let [keys, values] = [0, 1].map(|_| source(&mut model, rng, kv.kv_heads * kv.head_size));
    model.vocabulary = VOCABULARY;
    let out = model.buffer(heads * kv.head_size);
    model.push(Op::StoreKv { keys: values, values: keys, layer: 0 });
    model.push(Op::StoreKv { keys, values, layer: 1 });
    let scale = sharpness / (kv.head_size as f32).sqrt();
    model.push(Op::Attention { queries, layer: 1, reach, scale, out });
    model
}

/// As [`Model::source`], with infinities for the token that fails.
fn source(model: &mut Model, rng: &mut Rng, width: usize) -> BufferId {
    let mut stored = Stored::random(rng, WeightFormat::F32, [VOCABULARY + 1, width], 2.0);
    let (values, _) = stored.data.as_chunks_mut();
    values[VOCABULARY * width..].fill(f32::MAX.to_le_bytes());
    let table = model.matrix(stored, WeightFormat::F32);
    let out = model.buffer(width);
    model.push(Op::Embed { table, out });
    out
}

/// Infinities in slots that a row does not see (before its window, left behind by an earlier pass,
/// of other branches) change nothing: zero times them would be no number.
fn check_failing<B: Backend>(backend: &B, rng: &mut Rng, model: &Model, reach: Reach, base: usize) {
    // A root with a leaf, a branch of two and another leaf.
    let tree = Tree::from_depths(vec![0, 1, 1, 2, 1]);
    let (leaves, rows) = ([1, 4], [0, 2, 3]);
    let unseen = match reach {
        Reach::Full => 0,
        Reach::Window(n) => base + 1 - n as usize,
    };
    let (prompt, drafted) = (rng.tokens(base + 6, VOCABULARY), rng.tokens(tree.len(), VOCABULARY));
    let run = |failing: bool| -> Vec<Trace> {
        let [mut prompt, mut drafted] = [prompt.clone(), drafted.clone()];
        if failing {
            prompt[..unseen].fill(FAILING);
            prompt[base..].fill(FAILING);
            for leaf in leaves {
                drafted[leaf] = FAILING;
            }
        }
        let mut runner = Runner::new(backend, model, 2);
        let mut sequence = Blocks::shuffled(&mut Rng::new(1), 2).sequence(base + 6);
        let mut pass = |sequence: &Sequence, tree: &Tree, tokens: &[u32]| {
            let mut inputs = Inputs::new(model);
            let all = inputs.push(sequence, tree, tokens);
            runner.run(&inputs);
            all.map(|row| runner.trace(&inputs, row)).collect::<Vec<Trace>>()
        };
        pass(&sequence, &Tree::chain(prompt.len()), &prompt);
        sequence.len = base;
        pass(&sequence, &tree, &drafted)
    };
    let (found, wanted) = (run(true), run(false));
    for row in rows {
        let what = format_args!("failing neighbours, {reach:?}, base {base}, row {row}");
        assert_same_trace(what, &found[row], &wanted[row]);
    }
}

/// Fills three sequences and hangs a tree on the one in the middle.
fn check_tree<B: Backend>(
    team: &[B],
    rng: &mut Rng,
    what: &str,
    model: &Model,
    base: usize,
    tree: &Tree,
) {
    let positions = [70, base + tree.len(), 9];
    let blocks = positions.iter().map(|n| n.div_ceil(CHUNK)).sum();
    let mut tandem = Tandem::new(team, model, 1);
    tandem.grow(blocks);
    let mut pool = Blocks::shuffled(rng, blocks);
    let mut sequences = positions.map(|n| pool.sequence(n));
    let mut prefill = Inputs::new(model);
    for (sequence, len) in sequences.iter_mut().zip([67, base, 6]) {
        if len > 0 {
            prefill.push(sequence, &Tree::chain(len), &rng.tokens(len, VOCABULARY));
        }
        sequence.len = len;
    }
    tandem.run(format_args!("{what}, prefill"), &prefill);
    let mut inputs = Inputs::new(model);
    inputs.push(&sequences[0], &Tree::chain(3), &rng.tokens(3, VOCABULARY));
    inputs.push(&sequences[1], tree, &rng.tokens(tree.len(), VOCABULARY));
    inputs.push(&sequences[2], &Tree::chain(1), &rng.tokens(1, VOCABULARY));
    tandem.run(format_args!("{what}, {} nodes", tree.len()), &inputs);
}
