//! Drafts that learn from a frozen model.

use foretoken_model::{Checkpoint, ModelSource, OpenOptions, OutputHead};
use foretoken_train::{
    AdamOptions, AdamW, BaseModel, Compute, DraftModel, FrozenTarget, Learner, Llama, Metrics,
    Precision, StoredAs,
};

use crate::support::{Golden, compute, shape};

const CASE: &str = "own-packed";

fn source() -> ModelSource {
    ModelSource::Folder(Golden::open(CASE).folder)
}

fn draft(compute: &Compute, model: Llama, share: f32) -> DraftModel {
    let checkpoint = Checkpoint::open(&source(), &OpenOptions::default()).expect("a model");
    let target = FrozenTarget::load(compute, &checkpoint, None).expect("the model loads");
    DraftModel::new(BaseModel { model, stored: StoredAs::F32, source: source() }, target, share)
}

fn evaluate(draft: &mut DraftModel, compute: &mut Compute) -> Metrics {
    let mut metrics = Metrics::default();
    draft.evaluate(compute, &Golden::open(CASE).batch(), &mut metrics).expect("a good batch");
    metrics
}

#[test]
fn a_model_is_its_own_best_draft() {
    let golden = Golden::open(CASE);
    let mut compute = compute(2, Precision::F32);
    let wanted = golden.model().evaluate(&mut compute, &golden.batch()).expect("a good batch");
    for (share, wanted) in [(0.0, wanted), (0.25, 0.75 * wanted), (1.0, 0.0)] {
        let mut draft = draft(&compute, golden.model(), share);
        let loss = draft.step(&mut compute, &golden.batch()).expect("a good batch");
        assert!((loss - wanted).abs() < 1e-5, "{share}: {loss} instead of {wanted}");
        let metrics = evaluate(&mut draft, &mut compute);
        assert!(metrics.mean("divergence").is_some_and(|mean| mean.abs() < 1e-5), "{metrics:?}");
        assert!(metrics.mean("agreement").is_some_and(|mean| mean > 0.999), "{metrics:?}");
    }
}

#[test]
fn memory_is_counted_without_overflow() {
    let compute = compute(1, Precision::F32);
    let draft = draft(&compute, Golden::open(CASE).model(), 0.5);
    let [few, more] = [1, 1000].map(|tokens| draft.step_bytes(tokens));
    assert!(more - few >= 999 * 2 * 24 * size_of::<f32>(), "the states of both: {few} {more}");
    for tokens in [usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX] {
        assert_eq!(draft.step_bytes(tokens), usize::MAX);
    }
}

#[test]
fn a_draft_comes_closer_to_its_target() {
    let golden = Golden::open(CASE);
    let mut compute = compute(2, Precision::F32);
    let vocab = golden.model().shape().vocab;
    let shape = foretoken_train::LlamaShape { vocab, layers: 1, ..shape(OutputHead::Tied) };
    let model = Llama::new(&compute, shape, 3).expect("a good shape");
    let mut draft = draft(&compute, model, 1.0);
    let before = evaluate(&mut draft, &mut compute);
    let mut adam = AdamW::new(AdamOptions::default(), draft.groups()[0]);
    for _ in 0..30 {
        draft.step(&mut compute, &golden.batch()).expect("a good batch");
        adam.update(&compute, draft.groups_mut()[0], 1e-2, 1.0);
    }
    let after = evaluate(&mut draft, &mut compute);
    let mean = |metrics: &Metrics, name| metrics.mean(name).expect("it is measured");
    assert!(mean(&after, "divergence") < 0.5 * mean(&before, "divergence"), "{before:?} {after:?}");
    assert!(mean(&after, "agreement") > mean(&before, "agreement"), "{before:?} {after:?}");
}
