use foretoken_tensor::{QUANTS, Reach, Reference};

use super::*;
use crate::{
    AttentionBias, FfnBias, LoadOptions, Model, OutputHead, QkNorm, Rope, RopeScaling, Target,
    Wants,
};

fn spec() -> ModelSpec {
    ModelSpec {
        family: "random",
        vocab: 48,
        hidden: 256,
        ffn: 512,
        heads: 4,
        kv_heads: 2,
        head_size: 64,
        layers: vec![Reach::Full; 2],
        norm_eps: 1e-5,
        qk_norm: QkNorm::None,
        attention_bias: AttentionBias::None,
        ffn_bias: FfnBias::None,
        rope: Rope { theta: 1e4, dims: 64, scaling: RopeScaling::None },
        output: OutputHead::Tied,
        context: 256,
    }
}

#[test]
fn every_format_gives_a_model_with_finite_logits() {
    for format in QUANTS.iter().map(|quant| quant.format) {
        let weights = RandomWeights::new(spec(), format).expect("blocks divide the rows");
        let backend = std::sync::Arc::new(Reference);
        let options = LoadOptions::default();
        let model = Model::load(backend, &weights, options, &mut |_| {});
        let mut model = model.expect("random weights pack");
        let sequence = model.open();
        let tree = foretoken_core::DraftTree::chain(&[1, 2, 3]).expect("a chain");
        model.start();
        let item = model.add(sequence, &tree, Wants::From(0)).expect("room");
        model.forward();
        let logits = model.logits(item, 2);
        assert!(logits.iter().all(|x| x.is_finite()), "{format}: {logits:?}");
        assert!(logits.iter().any(|x| x.abs() > 1e-3), "{format}: {logits:?}");
    }
}

#[test]
fn random_weights_are_small_and_centred() {
    for quant in QUANTS {
        let blocks = random_blocks(quant.format);
        let mut values = vec![0.0; DISTINCT];
        (quant.decode)(&blocks, &mut values);
        let mean = values.iter().sum::<f32>() / DISTINCT as f32;
        let largest = values.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert!(mean.abs() < 0.002, "{}: {mean}", quant.name);
        assert!((0.03..0.11).contains(&largest), "{}: {largest}", quant.name);
    }
}

#[test]
fn blocks_that_do_not_divide_the_rows_are_refused() {
    let spec = ModelSpec { hidden: 192, ..spec() };
    let error = RandomWeights::new(spec, WeightFormat::Q4K).expect_err("192 is no block");
    assert!(matches!(error, PackError::Block { cols: 192, block: 256, .. }), "{error}");
}
