//! Medusa heads: which rows learn what, and the gradients of their parameters.

use foretoken_model::{OutputHead, RandomWeights};
use foretoken_tensor::WeightFormat;
use foretoken_train::{
    Batch, FrozenTarget, HeadExport, HeadLabels, HeadLayout, Learner, Medusa1, MedusaObjective,
    MedusaParameters, OutputMatrices,
};

use crate::check::{
    HIDDEN, assert_close, blocks, compute, differences, divergence, entropy, label, log_softmax,
    product, random, tiny, wide,
};

const LENGTH: usize = 9;
const COUNT: usize = 2;
const DECAY: f32 = 0.5;

/// The loss of one head with these parameters, block by block and then the output matrix, from its definition.
fn twin(
    batch: &Batch<'_>,
    (head, labels): (usize, HeadLabels),
    (states, output): (&[f64], &[f64]),
    parameters: &[Vec<f64>],
) -> f64 {
    let (own, inner) = match parameters.len() % 2 {
        1 => (&parameters[parameters.len() - 1][..], &parameters[..parameters.len() - 1]),
        _ => (output, parameters),
    };
    let mut sum = 0.0;
    for row in 0..batch.tokens.len() {
        let Some(label) = label(batch, row, head) else { continue };
        let said = log_softmax(&product(&blocks(&states[row * HIDDEN..][..HIDDEN], inner), own));
        let teacher = log_softmax(&product(&states[label * HIDDEN..][..HIDDEN], output));
        let (text, soft) = (entropy(&said, batch.targets[label]), divergence(&teacher, &said));
        sum += f64::from(batch.weights[label])
            * match labels {
                HeadLabels::Text => text,
                HeadLabels::Soft => soft,
                HeadLabels::Mixed => 0.5 * (text + soft),
            };
    }
    sum * f64::from(DECAY).powi(head as i32)
}

fn check(labels: HeadLabels, blocks: usize, outputs: OutputMatrices) {
    let mut compute = compute();
    let source = RandomWeights::new(tiny(OutputHead::Own, LENGTH).spec(), WeightFormat::F32)
        .expect("a good shape");
    let mut target = FrozenTarget::load(&compute, &source, None).expect("it loads");
    let text: Vec<u32> = (0..=2 * LENGTH as u32).map(|i| i * i % 7 + i % 4).collect();
    let weights: Vec<f32> = (0..2 * LENGTH).map(|i| [0.3, 0.0, 1.0, 0.5][i % 4]).collect();
    let starts = [0, 0, 0, 0, 4, 4, 4, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (tokens, targets) = (&text[..2 * LENGTH], &text[1..]);
    let batch = Batch { tokens, length: LENGTH, targets, weights: &weights, starts: &starts };
    let mut states = Vec::new();
    target.hidden(&batch, &mut states).expect("a good batch");
    let (states, output) = (wide(&states), wide(target.head()));
    let shape = MedusaParameters::shape_for(target.spec(), (COUNT, blocks), outputs);
    let heads = MedusaParameters::new(shape, target.head());
    let export = HeadExport {
        layout: HeadLayout::Published,
        precision: foretoken_model::HeadPrecision::F32,
        base_model: String::new(),
    };
    let mut learner = Medusa1::new(target, heads, MedusaObjective { labels, decay: DECAY }, export);
    let parameters = learner.groups_mut().remove(0).as_mut_slice();
    for (seed, parameter) in (1..).zip(&mut *parameters) {
        parameter.values = random(parameter.values.len(), seed);
    }
    let of_head = parameters.len() / COUNT;
    let loss = learner.step(&mut compute, &batch).expect("a good batch");
    let parameters = learner.heads().parameters.as_slice();
    let mut sum = 0.0;
    for (head, parameters) in parameters.chunks(of_head).enumerate() {
        let values: Vec<_> = parameters.iter().map(|parameter| wide(&parameter.values)).collect();
        sum += twin(&batch, (head, labels), (&states, &output), &values);
        for (index, parameter) in parameters.iter().enumerate() {
            let wanted = differences(&parameter.values, |x| {
                let mut values = values.clone();
                values[index] = x.to_vec();
                twin(&batch, (head, labels), (&states, &output), &values)
            });
            assert_close(&parameter.name, &parameter.gradient, &wanted);
        }
    }
    assert!((loss / sum - 1.0).abs() < 1e-6, "{loss} instead of {sum}");
}

#[test]
fn heads_that_learn_text() {
    check(HeadLabels::Text, 1, OutputMatrices::Own);
}

#[test]
fn heads_that_learn_the_model() {
    check(HeadLabels::Soft, 1, OutputMatrices::Own);
}

#[test]
fn heads_of_two_blocks_that_share_the_output_and_learn_both() {
    check(HeadLabels::Mixed, 2, OutputMatrices::Shared);
}
