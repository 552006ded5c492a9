//! Heads and their model trained together: stages, threads, what is measured, and files.

use foretoken_model::{Checkpoint, MedusaHeads, MedusaLayout, ModelSource, OpenOptions};
use foretoken_train::{
    AdamOptions, AdamW, Compute, FrozenTarget, HeadLabels, JointExport, JointOptions, Kept,
    Learner, Llama, Medusa2, MedusaObjective, MedusaParameters, Metrics, OutputMatrices, Precision,
    Ramp, StoredAs,
};

use crate::support::{Golden, compute};

const OPTIONS: JointOptions = JointOptions {
    kept: Kept::Original,
    lambda: 0.2,
    ramp: Ramp::Constant,
    stage_one: 0.5,
    model_rate: 0.1,
};

fn learner(compute: &Compute, options: JointOptions, outputs: OutputMatrices) -> Medusa2 {
    let source = ModelSource::Folder(Golden::open("own-packed").folder);
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default()).expect("it opens");
    let original = FrozenTarget::load(compute, &checkpoint, None).expect("it loads");
    let shape = MedusaParameters::shape_for(original.spec(), (2, 1), outputs);
    let heads = MedusaParameters::new(shape, original.head());
    let model = Llama::open(&source).expect("a plain Llama");
    let objective = MedusaObjective { labels: HeadLabels::Mixed, ..MedusaObjective::default() };
    let export = JointExport { stored: StoredAs::F32, source };
    Medusa2::new((model, original), heads, objective, options, export)
}

/// Makes so many steps of four, on one batch.
fn train(learner: &mut Medusa2, compute: &mut Compute, steps: u64) -> Vec<f64> {
    let golden = Golden::open("own-packed");
    let groups = learner.groups();
    let mut adams: Vec<_> =
        groups.into_iter().map(|group| AdamW::new(AdamOptions::default(), group)).collect();
    let step = |done| {
        learner.begin_step(done, 4);
        let loss = learner.step(compute, &golden.batch()).expect("a good batch");
        for (group, adam) in learner.groups_mut().into_iter().zip(&mut adams) {
            adam.update(compute, group, 1e-2, 1.0);
        }
        loss
    };
    (0..steps).map(step).collect()
}

fn values(learner: &Medusa2, group: usize) -> Vec<Vec<f32>> {
    learner.groups()[group].as_slice().iter().map(|p| p.values.clone()).collect()
}

#[test]
fn the_first_stage_leaves_the_model_as_it_is() {
    let mut compute = compute(2, Precision::F32);
    for kept in [Kept::Text, Kept::Original] {
        let options = JointOptions { kept, ..OPTIONS };
        let mut heads_only = learner(&compute, options, OutputMatrices::Shared);
        let before = [values(&heads_only, 0), values(&heads_only, 1)];
        train(&mut heads_only, &mut compute, 2);
        assert!(values(&heads_only, 0) == before[0], "{kept:?}: not a bit changed");
        assert!(values(&heads_only, 1) != before[1], "{kept:?}: heads have learned");
        let mut both = learner(&compute, options, OutputMatrices::Shared);
        train(&mut both, &mut compute, 3);
        let changed = values(&both, 0);
        let moved = changed.iter().zip(&before[0]).all(|(after, before)| after != before);
        assert!(moved, "{kept:?}: every tensor of the model learns");
    }
}

#[test]
fn lambda_rises_to_the_last_step() {
    let mut compute = compute(2, Precision::F32);
    let mut loss = |ramp, done| {
        let options = JointOptions { ramp, stage_one: 1.0, ..OPTIONS };
        let mut learner = learner(&compute, options, OutputMatrices::Own);
        learner.begin_step(done, 2);
        learner.step(&mut compute, &Golden::open("own-packed").batch()).expect("a good batch")
    };
    let constant = loss(Ramp::Constant, 0);
    assert_eq!(loss(Ramp::Constant, 1), constant);
    let half = loss(Ramp::Sine, 0) / constant;
    assert!((half - std::f64::consts::FRAC_1_SQRT_2).abs() < 1e-6, "{half}");
    assert_eq!(loss(Ramp::Sine, 1), constant);
}

#[test]
fn threads_change_no_bit_of_both() {
    let train = |threads| {
        let mut compute = compute(threads, Precision::Bf16);
        let mut learner = learner(&compute, OPTIONS, OutputMatrices::Own);
        let losses = train(&mut learner, &mut compute, 4);
        (losses, values(&learner, 0), values(&learner, 1))
    };
    let wanted = train(1);
    assert!(train(2) == wanted && train(3) == wanted);
}

#[test]
fn what_becomes_of_the_model_is_measured() {
    let golden = Golden::open("own-packed");
    let mut compute = compute(2, Precision::F32);
    let mut learner = learner(&compute, OPTIONS, OutputMatrices::Own);
    let measure = |learner: &mut Medusa2, compute: &mut Compute| {
        let mut metrics = Metrics::default();
        for _ in 0..2 {
            learner.evaluate(compute, &golden.batch(), &mut metrics).expect("a good batch");
        }
        assert!(metrics.mean("head 2 top1").is_some());
        ["base loss", "base perplexity", "original perplexity", "base KL", "loss"]
            .map(|name| metrics.mean(name).expect(name))
    };
    let [entropy, perplexity, original, divergence, loss] = measure(&mut learner, &mut compute);
    let weight: f32 = golden.weights.iter().sum();
    let of_model = golden.model().evaluate(&mut compute, &golden.batch()).expect("a good batch");
    assert!((entropy - of_model / f64::from(weight)).abs() < 1e-6, "{entropy}");
    assert!((perplexity - entropy.exp()).abs() < 1e-9 && divergence.abs() < 1e-6, "{divergence}");
    assert!((original / perplexity - 1.0).abs() < 1e-6, "{original} {perplexity}");
    train(&mut learner, &mut compute, 4);
    let [_, changed, still, moved, learned] = measure(&mut learner, &mut compute);
    assert!(changed != perplexity && still == original && moved > 1e-6, "{changed} {moved}");
    assert!(learned < loss, "{learned} behind {loss}");
}

#[test]
fn memory_is_counted_without_overflow() {
    let compute = compute(1, Precision::F32);
    for outputs in [OutputMatrices::Own, OutputMatrices::Shared] {
        let learner = learner(&compute, OPTIONS, outputs);
        let [few, more] = [1, 1000].map(|tokens| learner.step_bytes(tokens));
        // At least the states of the original and of the model, for each token.
        assert!(more - few >= 999 * 2 * 24 * size_of::<f32>(), "{few} {more}");
        for tokens in [usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX] {
            assert_eq!(learner.step_bytes(tokens), usize::MAX);
        }
    }
}

#[test]
fn a_folder_holds_both() {
    let mut compute = compute(2, Precision::F32);
    for outputs in [OutputMatrices::Own, OutputMatrices::Shared] {
        let mut learner = learner(&compute, OPTIONS, outputs);
        train(&mut learner, &mut compute, 3);
        let folder = tempfile::tempdir().expect("a folder");
        learner.export(folder.path()).expect("the folder is there");
        let source = ModelSource::Folder(folder.path().to_owned());
        let model = Llama::open(&source).expect("the model opens");
        let of_model: Vec<_> =
            model.parameters.as_slice().iter().map(|p| p.values.clone()).collect();
        assert!(of_model == values(&learner, 0), "{outputs:?}");
        let files = MedusaHeads::open(&source).expect("the heads open");
        assert!(files.warnings().is_empty(), "{:?}", files.warnings());
        assert_eq!(files.layout(), MedusaLayout::InModel);
        let heads = MedusaParameters::read(&files, &model.shape().spec()).expect("its heads");
        let of_heads: Vec<_> =
            heads.parameters.as_slice().iter().map(|p| p.values.clone()).collect();
        assert!(of_heads == values(&learner, 1), "{outputs:?}");
    }
}
