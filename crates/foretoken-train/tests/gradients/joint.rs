//! The joint loss of heads and their model: the gradient of every parameter of both.

use foretoken_model::{ModelSource, OutputHead, RandomWeights};
use foretoken_tensor::WeightFormat;
use foretoken_train::{
    Batch, FrozenTarget, HeadLabels, JointExport, JointOptions, Kept, Learner, Llama, Medusa2,
    MedusaObjective, MedusaParameters, OutputMatrices, Parameters, Ramp, StoredAs,
};

use crate::check::{
    EPS, HIDDEN, THETA, assert_within, blocks, compute, differences, divergence, entropy, label,
    log_softmax, product, random, tiny, wide,
};

const LENGTH: usize = 7;
const HEADS: usize = 2;
const DECAY: f64 = 0.5;
const LAMBDA: f64 = 0.4;
/// Errors of f32 add up over the operators of a model.
const BOUND: f64 = 1e-5;

fn norm(x: &[f64], gain: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(gain).map(|(x, gain)| x * gain / (mean + EPS).sqrt()).collect()
}

fn rotate(x: &[f64], position: usize) -> Vec<f64> {
    let half = x.len() / 2;
    let angle = |i: usize| position as f64 * THETA.powf(-(i as f64) / half as f64);
    let low = (0..half).map(|i| x[i] * angle(i).cos() - x[i + half] * angle(i).sin());
    low.chain((0..half).map(|i| x[i + half] * angle(i).cos() + x[i] * angle(i).sin())).collect()
}

fn add(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// The final hidden states of a model of one layer, in the order of its parameters.
fn states(p: &[Vec<f64>], batch: &Batch<'_>) -> Vec<Vec<f64>> {
    let tokens = batch.tokens.iter().map(|token| *token as usize * HIDDEN);
    let embedded: Vec<_> = tokens.map(|start| &p[0][start..start + HIDDEN]).collect();
    let normed: Vec<_> = embedded.iter().map(|x| norm(x, &p[1])).collect();
    let rotated = |row: usize, weight: &[f64]| rotate(&product(&normed[row], weight), row % LENGTH);
    let of_row = |row: usize| {
        let query = rotated(row, &p[2]);
        let sees = row - row % LENGTH + batch.starts[row] as usize..=row;
        let score = |seen: usize| {
            let key = rotated(seen, &p[3]);
            query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (HIDDEN as f64).sqrt()
        };
        let weights = log_softmax(&sees.clone().map(score).collect::<Vec<_>>());
        let mut mixed = vec![0.0; HIDDEN];
        for (seen, weight) in sees.zip(weights) {
            let value = product(&normed[seen], &p[4]);
            mixed.iter_mut().zip(value).for_each(|(mixed, v)| *mixed += weight.exp() * v);
        }
        let middle = add(embedded[row], &product(&mixed, &p[5]));
        let x = norm(&middle, &p[6]);
        let gate = product(&x, &p[7]).into_iter().map(|g| g / (1.0 + (-g).exp()));
        let gated: Vec<_> = gate.zip(product(&x, &p[8])).map(|(g, up)| g * up).collect();
        norm(&add(&middle, &product(&gated, &p[9])), &p[10])
    };
    (0..batch.tokens.len()).map(of_row).collect()
}

/// The loss from its definition; `original` are the log-probabilities of the model before training.
fn twin(
    batch: &Batch<'_>,
    (labels, kept): (HeadLabels, Kept),
    original: &[Vec<f64>],
    (model, heads): (&[Vec<f64>], &[Vec<f64>]),
) -> f64 {
    let states = states(model, batch);
    let output = model.get(11).unwrap_or(&model[0]);
    let (of_head, mut sum) = (heads.len() / HEADS, 0.0);
    for row in 0..batch.tokens.len() {
        let said = log_softmax(&product(&states[row], output));
        sum += f64::from(batch.weights[row])
            * match kept {
                Kept::Text => entropy(&said, batch.targets[row]),
                Kept::Original => divergence(&original[row], &said),
            };
        for (index, head) in heads.chunks(of_head).enumerate() {
            let Some(label) = label(batch, row, index) else { continue };
            let own = head.get(2).unwrap_or(output);
            let said = log_softmax(&product(&blocks(&states[row], &head[..2]), own));
            let loss = match labels {
                HeadLabels::Text => entropy(&said, batch.targets[label]),
                _ => divergence(&original[label], &said),
            };
            let scale = LAMBDA * DECAY.powi(index as i32);
            sum += scale * f64::from(batch.weights[label]) * loss;
        }
    }
    sum
}

fn check(terms: (HeadLabels, Kept), output: OutputHead, outputs: OutputMatrices) {
    let mut compute = compute();
    let spec = tiny(output, LENGTH).spec();
    let source = RandomWeights::new(spec, WeightFormat::F32).expect("a good shape");
    let mut original = FrozenTarget::load(&compute, &source, None).expect("it loads");
    let text: Vec<u32> = (0..=2 * LENGTH as u32).map(|i| i * i % 7 + i % 4).collect();
    let weights: Vec<f32> = (0..2 * LENGTH).map(|i| [0.3, 0.0, 1.0, 0.5][i % 4]).collect();
    let starts = [0, 0, 0, 0, 4, 4, 4, 0, 0, 0, 0, 0, 0, 6];
    let (tokens, targets) = (&text[..2 * LENGTH], &text[1..]);
    let batch = Batch { tokens, length: LENGTH, targets, weights: &weights, starts: &starts };
    let mut before = Vec::new();
    original.hidden(&batch, &mut before).expect("a good batch");
    let head = wide(original.head());
    let before: Vec<_> =
        wide(&before).chunks(HIDDEN).map(|x| log_softmax(&product(x, &head))).collect();

    let shape_of_heads = MedusaParameters::shape_for(original.spec(), (HEADS, 1), outputs);
    let heads = MedusaParameters::new(shape_of_heads, original.head());
    // Another model than the original, so that nothing vanishes.
    let model = Llama::new(&compute, tiny(output, LENGTH), 3).expect("a good shape");
    let (labels, kept) = terms;
    let objective = MedusaObjective { labels, decay: DECAY as f32 };
    let (lambda, ramp) = (LAMBDA as f32, Ramp::Constant);
    let options = JointOptions { kept, lambda, ramp, stage_one: 0.0, model_rate: 1.0 };
    let export = JointExport { stored: StoredAs::F32, source: ModelSource::Gguf("".into()) };
    let mut learner = Medusa2::new((model, original), heads, objective, options, export);
    let groups = learner.groups_mut().into_iter().flat_map(Parameters::as_mut_slice);
    for (seed, parameter) in (1..).zip(groups) {
        parameter.values = random(parameter.values.len(), seed);
    }
    let loss = learner.step(&mut compute, &batch).expect("a good batch");
    let groups = learner.groups().into_iter().flat_map(Parameters::as_slice);
    let parameters: Vec<_> = groups.collect();
    let values: Vec<_> = parameters.iter().map(|parameter| wide(&parameter.values)).collect();
    let of_model = learner.model.parameters.as_slice().len();
    let sum = twin(&batch, terms, &before, values.split_at(of_model));
    assert!((loss / sum - 1.0).abs() < 1e-5, "{loss} instead of {sum}");
    for (index, parameter) in parameters.iter().enumerate() {
        let wanted = differences(&parameter.values, |x| {
            let mut values = values.clone();
            values[index] = x.to_vec();
            twin(&batch, terms, &before, values.split_at(of_model))
        });
        assert_within(BOUND, &parameter.name, &parameter.gradient, &wanted);
    }
}

#[test]
fn text_for_both() {
    check((HeadLabels::Text, Kept::Text), OutputHead::Own, OutputMatrices::Own);
}

#[test]
fn the_original_for_the_model_and_text_for_heads() {
    check((HeadLabels::Text, Kept::Original), OutputHead::Tied, OutputMatrices::Own);
}

/// The heads' gradient of the shared matrix is the model's.
#[test]
fn the_original_for_both_with_a_shared_output() {
    check((HeadLabels::Soft, Kept::Original), OutputHead::Own, OutputMatrices::Shared);
}
