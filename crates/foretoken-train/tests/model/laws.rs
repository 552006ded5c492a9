//! What holds of every step: no thread shows, pieces add up, mistakes are named, learning learns.

use foretoken_model::OutputHead;
use foretoken_train::{AdamOptions, AdamW, Batch, Compute, Llama, Precision, clip};

use crate::support::{Golden, compute, distance, shape};

/// Steps on the same text, which repeats itself.
fn train(compute: &mut Compute, steps: usize) -> (Llama, AdamW, Vec<f64>) {
    let mut model = Llama::new(compute, shape(OutputHead::Tied), 7).expect("a good shape");
    let mut adam = AdamW::new(AdamOptions::default(), &model.parameters);
    let text: Vec<u32> = (0..=140).map(|i: u32| i * i % 11 * 5).collect();
    let weights = vec![1.0 / 140.0; 140];
    let (tokens, targets) = (&text[..140], &text[1..]);
    let batch = Batch { tokens, length: 70, targets, weights: &weights, starts: &[] };
    let losses = (0..steps).map(|_| {
        let loss = model.step(compute, &batch).expect("a good batch");
        let scale = clip(model.parameters.gradient_square_sum(compute), 1.0);
        adam.update(compute, &mut model.parameters, 1e-2, scale);
        loss
    });
    let losses = losses.collect();
    (model, adam, losses)
}

#[test]
fn threads_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        let (wanted, adam, losses) = train(&mut compute(1, precision), 3);
        for threads in [2, 3, 5] {
            let found = train(&mut compute(threads, precision), 3);
            assert_eq!(found.2, losses, "{precision:?} {threads} threads");
            assert!(found.0.parameters == wanted.parameters, "{precision:?} {threads} threads");
            assert!(found.1 == adam, "{precision:?} {threads} threads");
        }
    }
}

#[test]
fn a_seed_is_a_model() {
    let compute = compute(2, Precision::F32);
    let model = |seed| Llama::new(&compute, shape(OutputHead::Own), seed).expect("a good shape");
    assert!(model(1).parameters == model(1).parameters);
    assert!(model(1).parameters != model(2).parameters);
    let deviation = |name: &str| {
        let values = &model(1).parameters.get(name).expect("it exists").values.clone();
        (values.iter().map(|x| f64::from(x * x)).sum::<f64>() / values.len() as f64).sqrt()
    };
    for (name, wanted) in [("lm_head.weight", 0.02), ("model.layers.1.mlp.down_proj.weight", 0.01)]
    {
        assert!((deviation(name) / wanted - 1.0).abs() < 0.1, "{name}: {}", deviation(name));
    }
}

#[test]
fn text_that_repeats_is_learned_in_both_precisions() {
    for precision in [Precision::F32, Precision::Bf16] {
        let losses = train(&mut compute(2, precision), 60).2;
        assert!((losses[0] - f64::ln(61.0)).abs() < 0.1, "nothing is known: {}", losses[0]);
        assert!(losses[59] < 0.2, "{precision:?}: {}", losses[59]);
    }
}

#[test]
fn a_batch_in_pieces_has_its_gradients() {
    let golden = Golden::open("own-packed");
    let mut compute = compute(2, Precision::F32);
    let (mut whole, mut parts) = (golden.model(), golden.model());
    let batch = golden.batch();
    let loss = whole.step(&mut compute, &batch).expect("a good batch");
    let evaluated = whole.evaluate(&mut compute, &batch).expect("a good batch");
    assert_eq!(loss, evaluated);
    let mut sum = 0.0;
    for rows in [0..42, 42..63] {
        let piece = Batch {
            tokens: &batch.tokens[rows.clone()],
            targets: &batch.targets[rows.clone()],
            weights: &batch.weights[rows.clone()],
            starts: &batch.starts[rows],
            length: batch.length,
        };
        sum += parts.step(&mut compute, &piece).expect("a good piece");
    }
    assert!((sum / loss - 1.0).abs() < 1e-6);
    for (part, whole) in parts.parameters.as_slice().iter().zip(whole.parameters.as_slice()) {
        assert!(distance(&part.gradient, &whole.gradient) < 1e-5, "{}", part.name);
    }
}

#[test]
fn the_optimiser_continues_bit_for_bit() {
    let mut compute = compute(2, Precision::F32);
    let (mut model, mut adam, _) = train(&mut compute, 2);
    let mut other = AdamW::new(AdamOptions::default(), &model.parameters);
    let saved: Vec<(String, Vec<f32>)> =
        adam.tensors().map(|(name, values)| (name, values.to_vec())).collect();
    let read = |name: &str, values: &mut [f32]| {
        let (_, found) = saved.iter().find(|(saved, _)| saved == name).ok_or(())?;
        values.copy_from_slice(found);
        Ok::<(), ()>(())
    };
    other.restore(adam.steps(), read).expect("the state is whole");
    assert!(other == adam);
    let mut twin = model.parameters.clone();
    for parameter in model.parameters.as_mut_slice().iter_mut().chain(twin.as_mut_slice()) {
        parameter.gradient.fill(0.5);
    }
    adam.update(&compute, &mut model.parameters, 1e-3, 1.0);
    other.update(&compute, &mut twin, 1e-3, 1.0);
    assert!(twin == model.parameters);
}

#[test]
fn a_rate_of_its_own_is_a_factor() {
    let compute = compute(1, Precision::F32);
    let mut model = Llama::new(&compute, shape(OutputHead::Own), 1).expect("a good shape");
    let before = model.parameters.clone();
    for (index, parameter) in model.parameters.as_mut_slice().iter_mut().enumerate() {
        parameter.gradient.fill(1.0);
        parameter.rate = [1.0, 4.0, 0.0][index % 3];
    }
    let mut adam = AdamW::new(AdamOptions { decay: 0.0, ..AdamOptions::default() }, &before);
    adam.update(&compute, &mut model.parameters, 1e-3, 1.0);
    for (after, before) in model.parameters.as_slice().iter().zip(before.as_slice()) {
        let moved = before.values[0] - after.values[0];
        assert!((moved - 1e-3 * after.rate).abs() < 1e-6, "{}: {moved}", after.name);
    }
}

#[test]
fn mistakes_are_named() {
    let mut compute = compute(1, Precision::F32);
    let bad = foretoken_train::LlamaShape { heads: 3, ..shape(OutputHead::Tied) };
    let refused = Llama::new(&compute, bad, 1).map(|_| ()).expect_err("3 heads, 2 key heads");
    assert_eq!(refused.to_string(), "3 heads are no multiple of 2 key heads; change either");
    let mut model = Llama::new(&compute, shape(OutputHead::Tied), 1).expect("a good shape");
    let (tokens, weights) = ([1, 2, 3, 61], [1.0; 4]);
    let good = Batch {
        tokens: &tokens[..3],
        length: 3,
        targets: &tokens[..3],
        weights: &weights[..3],
        starts: &[],
    };
    for (batch, message) in [
        (
            Batch { length: 2, ..good },
            "3 tokens are no sequences of 2; give whole sequences of 1 to 96 tokens",
        ),
        (
            Batch { weights: &weights, ..good },
            "the batch has 3 tokens and 4 weights; give one per token",
        ),
        (
            Batch { targets: &tokens[1..], ..good },
            "token 61 is not below 61, the size of the vocabulary",
        ),
        (
            Batch { starts: &[0, 1, 0], ..good },
            "row 2 of a sequence says that its document starts at 0; a document starts at its first row, and its rows follow one another",
        ),
    ] {
        let refused = model.step(&mut compute, &batch).expect_err("a bad batch");
        assert_eq!(refused.to_string(), message);
    }
    model.step(&mut compute, &good).expect("a good batch");
}
