//! Medusa heads on a frozen model: against PyTorch, across threads and packings, through files.

use foretoken_model::{Checkpoint, HeadPrecision, MedusaHeads, ModelSource, OpenOptions};
use foretoken_train::{
    AdamOptions, AdamW, Batch, Compute, FrozenTarget, HeadExport, HeadLabels, HeadLayout, Learner,
    Medusa1, MedusaObjective, MedusaParameters, Metrics, OutputMatrices, Precision, TrainError,
    clip,
};

use crate::support::{Golden, compute, distance};

fn checkpoint() -> Checkpoint {
    let source = ModelSource::Folder(Golden::open("own-packed").folder);
    Checkpoint::open(&source, &OpenOptions::default()).expect("the case's model opens")
}

fn target(compute: &Compute) -> FrozenTarget {
    FrozenTarget::load(compute, &checkpoint(), None).expect("the case's model loads")
}

fn learner(compute: &Compute, heads: Option<&MedusaHeads>, labels: HeadLabels) -> Medusa1 {
    let target = target(compute);
    let heads = if let Some(heads) = heads {
        MedusaParameters::read(heads, target.spec()).expect("heads of the model")
    } else {
        let shape = MedusaParameters::shape_for(target.spec(), (2, 1), OutputMatrices::Own);
        MedusaParameters::new(shape, target.head())
    };
    let objective = MedusaObjective { labels, ..MedusaObjective::default() };
    Medusa1::new(target, heads, objective, export(HeadLayout::Published))
}

fn export(layout: HeadLayout) -> HeadExport {
    HeadExport { layout, precision: HeadPrecision::F32, base_model: "tiny/base".to_owned() }
}

fn update(learner: &mut Medusa1, compute: &Compute, adam: &mut AdamW, (rate, limit): (f32, f32)) {
    for parameters in learner.groups_mut() {
        let scale = clip(parameters.gradient_square_sum(compute), limit);
        adam.update(compute, parameters, rate, scale);
    }
}

#[test]
fn steps_are_those_of_pytorch() {
    let golden = Golden::open("medusa");
    let files = MedusaHeads::open(&ModelSource::Folder(golden.folder.clone())).expect("heads");
    for (case, labels) in [("text", HeadLabels::Text), ("soft", HeadLabels::Soft)] {
        let mut compute = compute(2, Precision::F32);
        let mut learner = learner(&compute, Some(&files), labels);
        let mut adam = AdamW::new(AdamOptions::default(), learner.groups()[0]);
        let values = |name: &str| golden.values(&format!("{case}.{name}"));
        for (step, wanted) in values("loss").into_iter().enumerate() {
            let loss = learner.step(&mut compute, &golden.batch()).expect("a good batch");
            let error = (loss / f64::from(wanted) - 1.0).abs();
            assert!(error < 1e-6, "{case} {step}: {loss}, {wanted}");
            if step == 0 {
                let norm = learner.groups()[0].gradient_square_sum(&compute).sqrt() as f32;
                assert!((norm / values("norm")[0] - 1.0).abs() < 1e-5, "{case}: {norm}");
                for parameter in learner.groups()[0].as_slice() {
                    let wanted = values(&format!("gradient.{}", parameter.name));
                    let distance = distance(&parameter.gradient, &wanted);
                    assert!(distance < 1e-5, "{case} {}: {distance}", parameter.name);
                }
            }
            update(&mut learner, &compute, &mut adam, (3e-3, 0.7));
        }
        for parameter in learner.groups()[0].as_slice() {
            let wanted = values(&format!("after.{}", parameter.name));
            let distance = distance(&parameter.values, &wanted);
            assert!(distance < 1e-5, "{case} {}: {distance}", parameter.name);
        }
    }
}

#[test]
fn states_are_those_of_the_trainable_model() {
    let golden = Golden::open("own-packed");
    let mut compute = compute(2, Precision::F32);
    let (mut model, mut states) = (golden.model(), Vec::new());
    model.forward(&mut compute, &golden.batch()).expect("a good batch");
    target(&compute).hidden(&golden.batch(), &mut states).expect("a good batch");
    assert!(distance(&states, model.output().hidden) < 1e-5);
}

/// More documents and rows than one pass takes, with a document that two passes share.
#[test]
fn documents_see_nothing_of_one_another() {
    let compute = compute(2, Precision::F32);
    let (mut target, length) = (target(&compute), 40);
    let tokens: Vec<u32> = (0..40 * length as u32).map(|i| i * i % 79).collect();
    let starts = |row: usize| match (row / length, row % length) {
        (3, row) => row as u32,
        (sequence, row) if row >= sequence => sequence as u32,
        _ => 0,
    };
    let starts: Vec<u32> = (0..tokens.len()).map(starts).collect();
    let weights = vec![1.0; tokens.len()];
    let (targets, weights) = (&tokens[..], &weights[..]);
    let batch = Batch { tokens: &tokens, length, targets, weights, starts: &starts };
    let (mut packed, mut alone) = (Vec::new(), Vec::new());
    target.hidden(&batch, &mut packed).expect("a good batch");
    let mut begin = 0;
    for row in 1..=tokens.len() {
        let ends = row == tokens.len() || row % length == 0 || starts[row] != starts[row - 1];
        if ends {
            let tokens = &tokens[begin..row];
            let (targets, weights) = (tokens, &weights[..tokens.len()]);
            let batch = Batch { tokens, length: tokens.len(), targets, weights, starts: &[] };
            target.hidden(&batch, &mut alone).expect("a good document");
            assert!(packed[begin * 24..row * 24] == alone, "document at {begin}");
            begin = row;
        }
    }
}

#[test]
fn threads_change_no_bit_of_heads() {
    let golden = Golden::open("own-packed");
    let train = |threads| {
        let mut compute = compute(threads, Precision::Bf16);
        let mut learner = learner(&compute, None, HeadLabels::Mixed);
        let mut adam = AdamW::new(AdamOptions::default(), learner.groups()[0]);
        for _ in 0..2 {
            learner.step(&mut compute, &golden.batch()).expect("a good batch");
            update(&mut learner, &compute, &mut adam, (1e-2, 1.0));
        }
        learner.heads().clone()
    };
    let wanted = train(1);
    assert!(train(2) == wanted && train(3) == wanted);
}

#[test]
fn text_that_repeats_is_foreseen() {
    let mut compute = compute(2, Precision::F32);
    let mut learner = learner(&compute, None, HeadLabels::Text);
    let mut adam = AdamW::new(AdamOptions::default(), learner.groups()[0]);
    let text: Vec<u32> = (0..=80).map(|i: u32| i % 11 * 5).collect();
    let weights = vec![1.0 / 80.0; 80];
    let (tokens, targets) = (&text[..80], &text[1..]);
    let batch = Batch { tokens, length: 40, targets, weights: &weights, starts: &[] };
    let evaluate = |learner: &mut Medusa1, compute: &mut Compute| {
        let mut metrics = Metrics::default();
        learner.evaluate(compute, &batch, &mut metrics).expect("a good batch");
        assert_eq!(metrics.mean("tokens per step"), None, "of a whole evaluation only");
        learner.end_evaluation(&mut metrics);
        let mean = |name: &str| metrics.mean(name).expect("it was measured");
        [mean("loss"), mean("head 1 top1"), mean("head 2 top5"), mean("tokens per step")]
    };
    let before = evaluate(&mut learner, &mut compute);
    let mut last = 0.0;
    for step in 0..60 {
        learner.begin_step(step, 60);
        last = learner.step(&mut compute, &batch).expect("a good batch");
        update(&mut learner, &compute, &mut adam, (1e-2, 1.0));
    }
    let after = evaluate(&mut learner, &mut compute);
    assert!(last < 0.2 * before[0], "{last} from {before:?}");
    assert!(before[1] < 0.5 && after[1] > 0.95 && after[2] > 0.95, "{before:?}, {after:?}");
    assert!(before[3] < 2.0 && after[3] > 2.9, "{before:?}, {after:?}");
}

#[test]
fn heads_go_through_files() {
    let mut compute = compute(2, Precision::F32);
    let spec = checkpoint().spec().clone();
    let mut learner = learner(&compute, None, HeadLabels::Text);
    let mut adam = AdamW::new(AdamOptions::default(), learner.groups()[0]);
    learner.step(&mut compute, &Golden::open("own-packed").batch()).expect("a good batch");
    update(&mut learner, &compute, &mut adam, (1e-2, 1.0));
    let shared = {
        let target = target(&compute);
        let shape = MedusaParameters::shape_for(target.spec(), (3, 2), OutputMatrices::Shared);
        MedusaParameters::new(shape, target.head())
    };
    for (heads, layout) in [
        (learner.heads(), HeadLayout::Published),
        (learner.heads(), HeadLayout::Vllm),
        (&shared, HeadLayout::Published),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        heads.export(folder.path(), &export(layout)).expect("the folder is there");
        let source = ModelSource::Folder(folder.path().to_owned());
        let files = MedusaHeads::open(&source).expect("the heads open");
        assert!(files.warnings().is_empty(), "{:?}", files.warnings());
        let read = MedusaParameters::read(&files, &spec).expect("heads of the model");
        assert_eq!(read.shape().parameters(), read.parameters.count());
        let values = |heads: &MedusaParameters| -> Vec<(String, Vec<f32>)> {
            let parameters = heads.parameters.as_slice().iter();
            parameters.map(|p| (p.name.clone(), p.values.clone())).collect()
        };
        assert!(values(&read) == values(heads), "{layout:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let refused = shared.export(folder.path(), &export(HeadLayout::Vllm)).expect_err("no matrix");
    assert!(matches!(refused, TrainError::Model(_)), "{refused}");
}

#[test]
fn memory_is_counted_without_overflow() {
    let learner = learner(&compute(1, Precision::F32), None, HeadLabels::Text);
    let [few, more] = [1, 1000].map(|tokens| learner.step_bytes(tokens));
    assert!(more - few >= 999 * 2 * 24 * size_of::<f32>(), "states and gradients: {few} {more}");
    for tokens in [usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX] {
        assert_eq!(learner.step_bytes(tokens), usize::MAX);
    }
}

#[test]
fn heads_of_other_models_are_refused() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/medusa");
    let refused = |case: &str, spec| {
        let files = MedusaHeads::open(&ModelSource::Folder(root.join(case))).expect("heads");
        MedusaParameters::read(&files, &spec).expect_err("other heads").to_string()
    };
    let mut spec = checkpoint().spec().clone();
    assert!(refused("v01", spec.clone()).contains("hidden"), "{}", refused("v01", spec.clone()));
    (spec.hidden, spec.vocab) = (8, 24);
    let message = refused("vllm-token-map", spec);
    assert!(message.starts_with("the heads leave tokens of the vocabulary out"), "{message}");
}
