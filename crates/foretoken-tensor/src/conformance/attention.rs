//! Attention alone on arbitrary queries, keys and values, against the reference.

use super::model::Model;
use super::rng::Rng;
use super::runner::{Blocks, Inputs, Tandem};
use super::tree::{Form, Tree};
use super::{ROWS, Thoroughness, pick};
use crate::{Backend, CHUNK, KvShape, KvType, Op, Reach};

const VOCABULARY: usize = 97;
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
/// block tables, with other sequences before and after.
///
/// # Panics
/// With the first difference.
pub fn check_attention<B: Backend>(backend: &B, thoroughness: Thoroughness) {
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
        check_tree(backend, rng, &what, &model, base, &tree);
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
    let mut model = Model::new(kv, 0, VOCABULARY);
    let queries = model.source(rng, heads * kv.head_size, 2.0);
    let [keys, values] = [0, 1].map(|_| model.source(rng, kv.kv_heads * kv.head_size, 2.0));
    let out = model.buffer(heads * kv.head_size);
    model.push(Op::StoreKv { keys: values, values: keys, layer: 0 });
    model.push(Op::StoreKv { keys, values, layer: 1 });
    let scale = sharpness / (kv.head_size as f32).sqrt();
    model.push(Op::Attention { queries, layer: 1, reach, scale, out });
    model
}

/// Fills three sequences and hangs a tree on the one in the middle.
fn check_tree<B: Backend>(
    backend: &B,
    rng: &mut Rng,
    what: &str,
    model: &Model,
    base: usize,
    tree: &Tree,
) {
    let positions = [70, base + tree.len(), 9];
    let blocks = positions.iter().map(|n| n.div_ceil(CHUNK)).sum();
    let mut tandem = Tandem::new(backend, model, 1);
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
