//! Stored weights, converted on load and packed, against the reference.

use super::model::{Model, Stored, packed_formats};
use super::rng::Rng;
use super::runner::{Blocks, Inputs, Tandem};
use super::tree::Tree;
use super::{Thoroughness, pick};
use crate::{
    Affine, Backend, KvShape, KvType, MatrixView, Op, Projection, QUANTS, Reference, RowOrder,
    WeightFormat, Write,
};

/// Every stored format packed in every other that it can be packed in, natural and interleaved
/// rows, and the refusal of weights that cannot be packed.
///
/// # Panics
/// With the first difference.
pub fn check_packing<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    let formats = packed_formats();
    for case in thoroughness.cases(2) {
        let rng = &mut Rng::new(3000 + case as u64);
        for stored in QUANTS.iter().map(|spec| spec.format) {
            for packed in formats.iter().copied() {
                if stored == packed || packed.spec().encoder.is_some() {
                    check_conversion(team, rng, case, stored, packed);
                }
            }
        }
    }
    team.iter().for_each(check_refusals);
}

/// An embedding and a product with one stored matrix.
fn check_conversion<B: Backend>(
    team: &[B],
    rng: &mut Rng,
    case: usize,
    stored: WeightFormat,
    packed: WeightFormat,
) {
    let kv = KvShape { layers: 1, kv_heads: 1, head_size: 8, kv_type: KvType::F32 };
    let outputs = pick(&[24, 40, 8, 72], case + rng.below(4));
    let inputs = stored.spec().block_values
        * pick(&[1, 2], case)
        * match stored.spec().block_values {
            1 => 33,
            _ => 1,
        };
    let mut matrix = Stored::random(rng, stored, [outputs, inputs], 0.3);
    if rng.below(2) == 0 {
        matrix.order = RowOrder::InterleavedHeads { head_size: 8 };
    }
    let what = format!("{stored} packed as {packed}, case {case}, {:?}", matrix.order);
    let mut model = Model::new(kv, 0, outputs);
    let weight = model.matrix(matrix, packed);
    let [embedded, out] = [inputs, outputs].map(|width| model.buffer(width));
    model.push(Op::Embed { table: weight, out: embedded });
    let input = model.source(rng, inputs, 1.0);
    let part = Projection { map: Affine { weight, bias: None }, out, write: Write::Store };
    model.push(Op::Linear { input, parts: vec![part] });
    let mut pass = Inputs::new(&model);
    let tokens: Vec<u32> = (0..outputs as u32).collect();
    let sequence = Blocks::shuffled(rng, 2).sequence(tokens.len());
    pass.push(&sequence, &Tree::chain(tokens.len()), &tokens);
    Tandem::new(team, &model, 2).run_without_kv(format_args!("{what}"), &pass);
}

/// What the reference refuses is refused with the same words.
fn check_refusals<B: Backend>(backend: &B) {
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let (nan, infinite) =
        (bytes(&[1.0, 2.0, 3.0, f32::NAN]), bytes(&[1.0, f32::INFINITY, 0.0, 1.0]));
    let (large, short) = (bytes(&[1e38, 0.0, 0.0, 1.0]), bytes(&[1.0; 3]));
    let view = |data| MatrixView {
        name: "w",
        format: WeightFormat::F32,
        rows: 2,
        cols: 2,
        order: RowOrder::Natural,
        data,
    };
    let interleaved = RowOrder::InterleavedHeads { head_size: 4 };
    let cases = [
        (view(&nan), WeightFormat::F32),
        (view(&nan), WeightFormat::Q4_0),
        (view(&infinite), WeightFormat::Bf16),
        (view(&large), WeightFormat::Q8_0),
        (view(&short), WeightFormat::F32),
        (MatrixView { format: WeightFormat::Q8_0, ..view(&short) }, WeightFormat::Q8_0),
        (MatrixView { order: interleaved, ..view(&large) }, WeightFormat::F32),
        (view(&large), WeightFormat::Q4K),
    ];
    for (view, format) in cases {
        let wanted = Reference.pack(&view, format).expect_err("the case is a refusal").to_string();
        let found = backend.pack(&view, format).err().map(|error| error.to_string());
        assert_eq!(found, Some(wanted), "packing {view:?} as {format}");
    }
}
