//! Every family against transformers: log-probabilities and greedy text of small random checkpoints,
//! computed in f32 by the scalar reference backend.

use std::fs;
use std::sync::Arc;

use foretoken_core::{DraftTree, TokenId};
use foretoken_model::{LoadOptions, LoadProgress, Model, OutputHead, PassOutput, Target, Wants};
use foretoken_tensor::{KvType, Reference, WeightFormat};
use serde::Deserialize;

use crate::support::{open, testdata};

/// Largest difference of a log-probability.
const TOLERANCE: f64 = 2e-3;

/// What `make_goldens.py` writes for one case.
#[derive(Deserialize)]
struct Golden {
    /// Checkpoints with these weights.
    files: Vec<String>,
    /// Context to load with.
    context: usize,
    prompt: Vec<TokenId>,
    /// Log-probability of each token of the prompt but the first.
    logprobs: Vec<f64>,
    /// Whole rows, by position.
    rows: std::collections::BTreeMap<usize, Vec<f64>>,
    greedy: Vec<TokenId>,
}

fn golden(case: &str) -> Golden {
    let text = fs::read_to_string(testdata(&format!("goldens/{case}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits.iter().map(|&x| f64::from(x - max) - sum.ln()).collect()
}

fn argmax(logits: &[f32]) -> TokenId {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)));
    best.unwrap() as TokenId
}

/// Feeds a chain and returns the rows of logits of all its tokens.
fn feed(model: &mut Model<Reference>, chain: &[TokenId]) -> Vec<Vec<f32>> {
    let sequence = model.open();
    let tree = DraftTree::chain(chain).unwrap();
    model.start();
    let item = model.add(sequence, &tree, Wants::From(0)).unwrap();
    model.forward();
    let rows = (0..chain.len()).map(|node| model.logits(item, node).to_vec()).collect();
    model.close(sequence);
    rows
}

/// Continues the prompt greedily, one token per pass.
fn greedy(model: &mut Model<Reference>, prompt: &[TokenId], count: usize) -> Vec<TokenId> {
    let sequence = model.open();
    let mut tree = DraftTree::chain(prompt).unwrap();
    let mut tokens = vec![];
    for _ in 0..count {
        let last = tree.len() - 1;
        model.start();
        let item = model.add(sequence, &tree, Wants::From(last)).unwrap();
        model.forward();
        tokens.push(argmax(model.logits(item, last)));
        model.commit(sequence, &(0..=last).collect::<Vec<_>>());
        tree.set_single(tokens[tokens.len() - 1]);
    }
    tokens
}

fn check(case: &str) {
    let golden = golden(case);
    for file in &golden.files {
        let checkpoint = open(&testdata(file)).unwrap();
        let options = LoadOptions {
            format: Some(WeightFormat::F32),
            kv_type: Some(KvType::F32),
            context: Some(golden.context),
            ..LoadOptions::default()
        };
        let backend = Arc::new(Reference);
        let mut model = Model::load(backend, &checkpoint, options, &mut |_| {}).unwrap();
        let rows: Vec<_> =
            feed(&mut model, &golden.prompt).iter().map(|r| log_softmax(r)).collect();
        for (position, &wanted) in golden.logprobs.iter().enumerate() {
            let found = rows[position][golden.prompt[position + 1] as usize];
            assert!((found - wanted).abs() < TOLERANCE, "{file} at {position}: {found} {wanted}");
        }
        for (&position, wanted) in &golden.rows {
            for (token, (found, wanted)) in rows[position].iter().zip(wanted).enumerate() {
                let error = (found - wanted).abs();
                assert!(error < TOLERANCE, "{file} at {position}, {token}: {found} {wanted}");
            }
        }
        let text = greedy(&mut model, &golden.prompt, golden.greedy.len());
        assert_eq!(text, golden.greedy, "{file}");
    }
}

macro_rules! cases {
    ($($name:ident: $case:literal,)*) => {
        $(#[test]
        fn $name() {
            check($case);
        })*

        #[test]
        fn every_golden_has_a_test() {
            let cases = [$($case),*];
            for entry in fs::read_dir(testdata("goldens")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let case = name.trim_end_matches(".json");
                assert!(cases.contains(&case) || ["rope", "blocks"].contains(&case), "{case}");
            }
        }
    };
}

cases! {
    llama_with_a_key_per_query: "llama-mha",
    llama_with_shared_keys_and_a_tied_head: "llama-gqa",
    llama3_rope: "llama3-rope",
    linear_rope: "llama-linear",
    dynamic_rope_beyond_its_original_context: "llama-dynamic",
    yarn_rope: "llama-yarn",
    attention_and_ffn_biases: "llama-biases",
    shards: "llama-sharded",
    f16_weights: "llama-f16",
    bf16_weights: "llama-bf16",
    quantised_blocks: "llama-quantised",
    mistral_beyond_its_window: "mistral-window",
    qwen2_biases: "qwen2",
    qwen2_windows_in_upper_layers: "qwen2-window",
    qwen3_norms_of_queries_and_keys: "qwen3",
}

/// Loads a model, and returns its hidden states and how many matrices it has packed.
fn states(case: &str, output: PassOutput) -> (OutputHead, usize, Vec<Vec<f32>>) {
    let checkpoint = open(&testdata("checkpoints").join(case)).unwrap();
    let (mut packed, backend) = (0, Arc::new(Reference));
    let options = LoadOptions { output, ..LoadOptions::default() };
    let count = &mut |progress: LoadProgress| packed = progress.done;
    let mut model = Model::load(backend, &checkpoint, options, count).unwrap();
    let sequence = model.open();
    model.start();
    let item = model.add(sequence, &DraftTree::chain(&[5, 6, 7]).unwrap(), Wants::From(0)).unwrap();
    model.forward();
    let states = (0..3).map(|node| model.hidden(item, node).to_vec()).collect();
    (model.spec().output, packed, states)
}

#[test]
fn passes_without_logits_pack_no_output_matrix() {
    let mut outputs = vec![];
    for case in ["llama-mha", "qwen3"] {
        let (output, with, wanted) = states(case, PassOutput::Logits);
        let (_, without, found) = states(case, PassOutput::Hidden);
        assert_eq!(with - without, usize::from(output == OutputHead::Own), "{case}");
        assert_eq!(found, wanted, "{case}");
        outputs.push(output);
    }
    assert_eq!(outputs, [OutputHead::Own, OutputHead::Tied]);
}
