//! Whole small transformers against the reference: prefill, trees, commits, several sequences.

use super::invariance::commit;
use super::model::{Extras, Transformer};
use super::operators::PACKED;
use super::rng::Rng;
use super::runner::{Blocks, Inputs, Tandem};
use super::tree::{Form, Tree};
use super::{ROWS, Thoroughness, pick};
use crate::{Backend, CHUNK, KvShape, KvType, Reach, WeightFormat};

/// A transformer whose features follow from a case number.
pub(super) fn transformer(case: usize) -> Transformer {
    let (heads, kv_heads, head_size) = pick(
        &[(4, 2, 8), (2, 1, 64), (3, 3, 16), (2, 2, 80), (4, 1, 8), (1, 1, 128), (6, 2, 8)],
        case,
    );
    Transformer {
        heads,
        kv: KvShape {
            layers: 2,
            kv_heads,
            head_size,
            kv_type: pick(&[KvType::Bf16, KvType::F32], case),
        },
        rotary: pick(&[head_size, head_size, head_size / 2], case),
        reach: pick(&[Reach::Full, Reach::Full, Reach::Window(40), Reach::Window(64)], case),
        extras: pick(&[Extras::None, Extras::BiasAndHeadNorm, Extras::None], case),
        stored: pick(&[WeightFormat::F32, WeightFormat::Bf16], case / 2),
        packed: pick(&PACKED, case),
    }
}

/// Passes of two sequences with trees, commits of random paths between them, for every format.
///
/// # Panics
/// With the first difference.
pub fn check_programs<B: Backend>(backend: &B, thoroughness: Thoroughness) {
    for case in thoroughness.cases(11) {
        let rng = &mut Rng::new(4000 + case as u64);
        let transformer = transformer(case);
        let model = transformer.build(rng);
        let what = format!("program, case {case}, {transformer:?}");
        let nodes = [pick(&ROWS, case), 1 + rng.below(20)];
        let lens = [1 + rng.below(90), 1 + rng.below(90)];
        let rooms = [0, 1].map(|i| lens[i] + 2 * nodes[i]);
        let blocks = rooms.iter().map(|room| room.div_ceil(CHUNK)).sum();
        let mut pool = Blocks::shuffled(rng, blocks);
        let mut sequences = rooms.map(|room| pool.sequence(room));
        let mut tandem = Tandem::new(backend, &model, blocks);
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
                let moves = commit(sequence, tree, rng.below(tree.len()));
                tandem.copy(&moves);
            }
        }
        tandem.compare_kv(format_args!("{what}, committed"), &sequences);
    }
}
