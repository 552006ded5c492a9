//! Evaluated heads against their definition, written out in f64 on the values in the files.

use std::sync::Arc;

use foretoken_model::{
    HeadBias, HeadTensor, Heads, HubEnvironment, LoadOptions, MedusaHeads, MedusaNetwork, Model,
    ModelSpec, OutputHead, RandomWeights, Tensor, WeightSource,
};
use foretoken_tensor::{MatrixView, Reference, WeightFormat};

use crate::support::{open, testdata};

const CASES: [&str; 6] =
    ["v01", "version2", "full-model", "tied", "vllm-token-map", "vllm-original-head"];

fn heads(case: &str) -> MedusaHeads {
    let folder = testdata("medusa").join(case);
    MedusaHeads::resolve(folder.to_str().unwrap(), &HubEnvironment::default()).unwrap()
}

/// Random weights of a model that the heads fit.
fn target(output: OutputHead) -> RandomWeights {
    let spec = open(&testdata("checkpoints/llama-gqa")).unwrap().spec().clone();
    RandomWeights::new(ModelSpec { hidden: 8, vocab: 24, output, ..spec }, WeightFormat::F32)
        .unwrap()
}

fn network(
    heads: &MedusaHeads,
    source: &RandomWeights,
    tokens: Option<&[u32]>,
) -> MedusaNetwork<Reference> {
    let options = LoadOptions::default();
    let model = Model::load(Arc::new(Reference), source, options, &mut |_| {}).unwrap();
    MedusaNetwork::load(&model, source, heads, tokens).unwrap()
}

fn state(seed: usize) -> Vec<f32> {
    (0..8).map(|i| ((seed * 7 + i * 13) % 32) as f32 / 16.0 - 1.0).collect()
}

fn product(view: &MatrixView<'_>, x: &[f64]) -> Vec<f64> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
    view.decode().unwrap().chunks(view.cols).map(dot).collect()
}

/// What a head makes of a state, by the formula.
fn defined(heads: &MedusaHeads, source: &RandomWeights, head: usize, x: &[f32]) -> Vec<f64> {
    let mut x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    for block in 0..heads.blocks() {
        let bias = match heads.shape().bias {
            HeadBias::All => heads.vector(HeadTensor::BlockBias { head, block }).unwrap(),
            HeadBias::None => vec![0.0; 8],
        };
        let y = product(&heads.matrix(HeadTensor::Block { head, block }), &x);
        for ((x, y), bias) in x.iter_mut().zip(y).zip(bias) {
            let y = y + f64::from(bias);
            *x += y / (1.0 + (-y).exp());
        }
    }
    match heads.vocab() {
        Some(_) => product(&heads.matrix(HeadTensor::Output { head }), &x),
        None => product(&source.matrix(Tensor::of_output(source.spec())).unwrap(), &x),
    }
}

#[test]
fn heads_compute_their_definition_in_every_layout() {
    for case in CASES {
        let heads = heads(case);
        for output in [OutputHead::Own, OutputHead::Tied] {
            let source = target(output);
            let mut network = network(&heads, &source, None);
            assert_eq!((network.count(), network.tokens()), (heads.count(), heads.token_map()));
            for rows in [1, 3, 70] {
                network.start();
                for row in 0..rows {
                    assert_eq!(network.add(&state(row)), row);
                }
                network.forward();
                for (head, row) in (0..heads.count()).flat_map(|h| (0..rows).map(move |r| (h, r))) {
                    let (found, wanted) =
                        (network.logits(head, row), defined(&heads, &source, head, &state(row)));
                    assert_eq!(found.len(), wanted.len(), "{case}");
                    for (found, wanted) in found.iter().zip(wanted) {
                        let error = (f64::from(*found) - wanted).abs();
                        assert!(error < 1e-5, "{case}, head {head}, row {row}: off by {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn heads_that_nobody_asks_can_be_left_out() {
    let mut heads = heads("v01");
    let source = target(OutputHead::Own);
    let mut all = network(&heads, &source, None);
    let mut fewer = network(&heads, &source, None);
    fewer.truncate(2);
    heads.truncate(2);
    let mut some = network(&heads, &source, None);
    assert_eq!((all.count(), some.count(), fewer.count()), (3, 2, 2));
    for network in [&mut all, &mut some, &mut fewer] {
        network.start();
        network.add(&state(3));
        network.forward();
    }
    for head in 0..2 {
        assert_eq!(all.logits(head, 0), some.logits(head, 0));
        assert_eq!(all.logits(head, 0), fewer.logits(head, 0));
    }
    heads.truncate(9);
    assert_eq!(heads.count(), 2);
}

#[test]
fn a_row_depends_on_no_other_and_an_empty_batch_is_none() {
    let heads = heads("version2");
    let source = target(OutputHead::Tied);
    let mut network = network(&heads, &source, None);
    let mut run = |states: &[usize]| -> Vec<Vec<u32>> {
        network.start();
        for &seed in states {
            network.add(&state(seed));
        }
        network.forward();
        let bits = |row| network.logits(2, row).iter().map(|value| value.to_bits()).collect();
        (0..states.len()).map(bits).collect()
    };
    let alone = run(&[5]);
    assert_eq!(run(&[]), Vec::<Vec<u32>>::new());
    assert_eq!(run(&[1, 5, 9])[1], alone[0]);
    assert_eq!(run(&(0..100).collect::<Vec<_>>())[5], alone[0]);
}

#[test]
fn chosen_tokens_have_the_logits_they_had_among_all() {
    let tokens = [3, 0, 23, 7];
    for case in ["v01", "version2"] {
        let heads = heads(case);
        let source = target(OutputHead::Own);
        let [mut all, mut some] = [None, Some(&tokens[..])].map(|t| network(&heads, &source, t));
        for network in [&mut all, &mut some] {
            network.start();
            network.add(&state(2));
            network.forward();
        }
        assert_eq!(some.tokens(), Some(&tokens[..]));
        for head in 0..heads.count() {
            let wanted: Vec<_> =
                tokens.iter().map(|&t| all.logits(head, 0)[t as usize].to_bits()).collect();
            let found: Vec<_> = some.logits(head, 0).iter().map(|v| v.to_bits()).collect();
            assert_eq!(found, wanted, "{case}");
        }
    }
}
