//! Whole small transformers against the reference: prefill, trees, commits, several sequences.

use super::model::{Extras, KV_TYPES, LOGITS, SHAPES, Transformer, packed_formats};
use super::rng::Rng;
use super::runner::{Blocks, Inputs, Tandem};
use super::tree::{Form, Tree};
use super::{ROWS, Thoroughness, pick};
use crate::{Backend, CHUNK, Reach, WeightFormat};

/// A transformer whose features follow from a case number.
fn transformer(formats: &[WeightFormat], case: usize) -> Transformer {
    let shape = pick(&SHAPES, case);
    Transformer {
        shape,
        layers: 2,
        // Each format meets the other type in the next round of the formats.
        kv_type: pick(&KV_TYPES, case % formats.len() + case / formats.len()),
        rotary: pick(&[shape.head_size, shape.head_size, shape.head_size / 2], case),
        reach: pick(&[Reach::Full, Reach::Full, Reach::Window(40), Reach::Window(64)], case),
        extras: pick(&[Extras::None, Extras::BiasAndHeadNorm, Extras::None], case),
        logits: pick(&LOGITS, case / 2),
        stored: pick(&[Some(WeightFormat::F32), Some(WeightFormat::Bf16)], case / 2),
        packed: pick(formats, case),
    }
}

/// Passes of two sequences with trees, commits of random paths between them, for every format.
///
/// # Panics
/// With the first difference.
pub fn check_programs<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    let formats = packed_formats();
    for case in thoroughness.cases(2 * formats.len() + 1) {
        let rng = &mut Rng::new(4000 + case as u64);
        let transformer = transformer(&formats, case);
        let model = transformer.build(rng);
        let what = format!("program, case {case}, {transformer:?}");
        let nodes = [pick(&ROWS, case), 1 + rng.below(20)];
        let lens = [1 + rng.below(90), 1 + rng.below(90)];
        let rooms = [0, 1].map(|i| lens[i] + 2 * nodes[i]);
        let blocks = rooms.iter().map(|room| room.div_ceil(CHUNK)).sum();
        let mut pool = Blocks::shuffled(rng, blocks);
        let mut sequences = rooms.map(|room| pool.sequence(room));
        let mut tandem = Tandem::new(team, &model, blocks);
        let mut prefill = Inputs::new(&model);
        for (sequence, len) in sequences.iter_mut().zip(lens) {
            prefill.push(sequence, &Tree::chain(len), &rng.tokens(len, model.vocabulary));
            sequence.len = len;
        }
        prefill.want([lens[0] - 1]);
        tandem.run(format_args!("{what}, prefill"), &prefill);
        for (step, form) in [Form::Vine, Form::Bush].into_iter().enumerate() {
            let trees = nodes.map(|nodes| Tree::random(rng, nodes, form));
            let mut inputs = Inputs::new(&model);
            for (sequence, tree) in sequences.iter().zip(&trees) {
                let rows = inputs.push(sequence, tree, &rng.tokens(tree.len(), model.vocabulary));
                inputs.want(rows.filter(|row| row % 2 == step));
            }
            tandem.run(format_args!("{what}, step {step}"), &inputs);
            for (sequence, tree) in sequences.iter_mut().zip(&trees) {
                let moves = sequence.commit(tree, rng.below(tree.len()));
                tandem.copy(&moves);
            }
        }
        tandem.compare_kv(format_args!("{what}, committed"), &sequences);
    }
}
