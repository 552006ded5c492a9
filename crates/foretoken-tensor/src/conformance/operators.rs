//! Each operator alone, over odd sizes, against the reference.

use super::model::{Model, Stored, packed_formats, whole};
use super::rng::Rng;
use super::runner::{Blocks, Inputs, Tandem};
use super::tree::{Form, Tree};
use super::{ROWS, Thoroughness, pick};
use crate::{
    Affine, Backend, BufferId, KvShape, KvType, Op, Projection, RowSet, WeightFormat, Write,
};

const VOCABULARY: usize = 61;
const WIDTHS: [usize; 13] = [1, 3, 15, 16, 17, 31, 32, 33, 64, 65, 100, 130, 257];
const NO_KV: KvShape = KvShape { layers: 1, kv_heads: 1, head_size: 8, kv_type: KvType::F32 };

/// Embeddings, norms, rotation and copies, each in a program of its own.
///
/// # Panics
/// With the first difference.
pub fn check_operators<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    let formats = packed_formats();
    for case in thoroughness.cases(26) {
        let rng = &mut Rng::new(case as u64);
        let width = pick(&WIDTHS, case);
        let embed = |model: &mut Model, rng: &mut Rng| {
            let format = pick(&formats, case);
            let width = whole(format, width);
            let stored = Stored::packable(rng, format, [VOCABULARY, width], 1.0);
            let table = model.matrix(stored, format);
            let out = model.buffer(width);
            model.push(Op::Embed { table, out });
        };
        check_op(team, rng, "embed", case, 0, embed);
        check_op(team, rng, "norm", case, 0, |model, rng| {
            let input = model.source(rng, width, pick(&[1.0, 1e-4, 300.0], case));
            let (weight, out) = (model.vector(rng.floats(width, 2.0)), model.buffer(width));
            model.push(Op::RmsNorm { input, weight, eps: pick(&[1e-6, 1e-5], case), out });
        });
        check_op(team, rng, "copies", case, 0, |model, rng| {
            let input = model.source(rng, width, 1.0);
            let out = model.buffer(width);
            model.push(Op::Copy { input, out });
            let out = model.program.buffer(width, RowSet::Wanted);
            model.push(Op::Select { input, out });
        });
        check_op(team, rng, "input", case, 0, |model, _| {
            let out = model.buffer(width);
            model.push(Op::Input { out });
        });
        check_heads(team, rng, case);
    }
}

/// The operators on heads: norm and rotation of all or a part of each.
fn check_heads<B: Backend>(team: &[B], rng: &mut Rng, case: usize) {
    let (heads, head_size) = pick(&[(3, 8), (2, 64), (3, 80), (1, 128), (5, 6)], case);
    let width = heads * head_size;
    check_op(team, rng, "head norm", case, 0, |model, rng| {
        let buffer = model.source(rng, width, 3.0);
        let weight = model.vector(rng.floats(head_size, 2.0));
        model.push(Op::HeadNorm { buffer, weight, eps: 1e-6 });
    });
    let rotary = pick(&[head_size, head_size / 4 * 2, 0], case);
    check_op(team, rng, "rotation", case, rotary, |model, rng| {
        let buffer = model.source(rng, width, 3.0);
        model.push(Op::Rotate { buffer, head_size });
    });
}

/// Products of every packed format, with one to three parts, with and without bias, stored and
/// added, of all rows and of the wanted ones; and gated ones.
///
/// # Panics
/// With the first difference.
pub fn check_linear<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    let formats = packed_formats();
    for case in thoroughness.cases(13 * formats.len() + 1) {
        let rng = &mut Rng::new(1000 + case as u64);
        let format = pick(&formats, case);
        check_op(team, rng, &format!("linear {format}"), case, 0, |model, rng| {
            let inputs = whole(format, WIDTHS[rng.below(WIDTHS.len())]);
            let input = model.source(rng, inputs, pick(&[1.0, 40.0, 1e-3], case));
            let rows = pick(&[RowSet::All, RowSet::All, RowSet::Wanted], case / formats.len());
            let input = match rows {
                RowSet::All => input,
                RowSet::Wanted => {
                    let out = model.program.buffer(inputs, RowSet::Wanted);
                    model.push(Op::Select { input, out });
                    out
                }
            };
            linear(model, rng, input, rows, format);
        });
        check_op(team, rng, &format!("swiglu {format}"), case, 0, |model, rng| {
            let inputs = whole(format, WIDTHS[rng.below(WIDTHS.len())]);
            // Wide enough for both ends of the exponential.
            let input = model.source(rng, inputs, pick(&[1.0, 40.0, 1e-3], case));
            swiglu(model, rng, input, format);
        });
    }
}

/// A product of one to three matrices of random shape and kind.
fn linear(model: &mut Model, rng: &mut Rng, input: BufferId, rows: RowSet, format: WeightFormat) {
    let inputs = model.program.buffers()[input.index()].width;
    let mut parts = Vec::new();
    for _ in 0..=rng.below(3) {
        let outputs = 1 + rng.below(70);
        let map = map(model, rng, [outputs, inputs], format);
        let write = match (rows, rng.below(4)) {
            (RowSet::All, 0) => Write::Add,
            (RowSet::All, 1) => Write::AddSilu,
            _ => Write::Store,
        };
        let out = match write {
            Write::Store => model.program.buffer(outputs, rows),
            Write::Add | Write::AddSilu => model.source(rng, outputs, 1.0),
        };
        parts.push(Projection { map, out, write });
    }
    model.push(Op::Linear { input, parts });
}

/// A gated product of random width.
fn swiglu(model: &mut Model, rng: &mut Rng, input: BufferId, format: WeightFormat) {
    let shape = [1 + rng.below(150), model.program.buffers()[input.index()].width];
    let [gate, up] = [(); 2].map(|()| map(model, rng, shape, format));
    let out = model.buffer(shape[0]);
    model.push(Op::SwiGlu { input, gate, up, out });
}

/// A matrix, every other time with a bias.
fn map(model: &mut Model, rng: &mut Rng, shape: [usize; 2], format: WeightFormat) -> Affine {
    let weight = model.matrix(Stored::packable(rng, format, shape, 0.5), format);
    let bias = (rng.below(2) == 0).then(|| model.vector(rng.floats(shape[0], 1.0)));
    Affine { weight, bias }
}

/// Runs a program on passes of two sequences, first a small one, then one of the case's row count, of
/// which the second sequence has the last two rows where there are more.
fn check_op<B: Backend>(
    team: &[B],
    rng: &mut Rng,
    what: &str,
    case: usize,
    rotary: usize,
    build: impl FnOnce(&mut Model, &mut Rng),
) {
    let mut model = Model::new(NO_KV, rotary, VOCABULARY);
    build(&mut model, rng);
    let mut tandem = Tandem::new(team, &model, 8);
    let mut blocks = Blocks::shuffled(rng, 8);
    let [mut first, mut second] = [0, 1].map(|_| blocks.sequence(256));
    (first.len, second.len) = (rng.below(100), rng.below(100));
    for rows in [3 + rng.below(3), pick(&ROWS, case)] {
        let mut inputs = Inputs::new(&model);
        let form = pick(&[Form::Vine, Form::Bush, Form::Star, Form::Chain], case);
        let beside = if rows > 2 { 2 } else { 0 };
        let tree = Tree::random(rng, rows - beside, form);
        inputs.push(&first, &tree, &rng.tokens(tree.len(), VOCABULARY));
        if beside > 0 {
            inputs.push(&second, &Tree::chain(beside), &rng.tokens(beside, VOCABULARY));
        }
        inputs.want((0..rows).filter(|row| row % 3 != 1));
        if let Some(Op::Input { out }) = model.program.ops().first() {
            inputs.input = rng.floats(rows * model.program.buffers()[out.index()].width, 1.0);
        }
        tandem.run_without_kv(format_args!("{what}, case {case}, {rows} rows"), &inputs);
    }
}
