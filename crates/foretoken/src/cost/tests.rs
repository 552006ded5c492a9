use std::fs;
use std::sync::Arc;

use foretoken_cpu::{CpuBackend, CpuOptions};
use foretoken_model::{KvPosition, LoadOptions, Model, RandomWeights};
use foretoken_tensor::WeightFormat;

use super::*;

const TINY: Shape =
    Shape { name: "tiny", hidden: 64, layers: 2, heads: 2, kv_heads: 1, head_size: 32, ffn: 96 };

fn model() -> Model<CpuBackend> {
    model_of(TINY)
}

fn model_of(shape: Shape) -> Model<CpuBackend> {
    let weights = RandomWeights::new(shape.spec(), WeightFormat::Q8_0).expect("whole blocks");
    let backend = Arc::new(CpuBackend::new(CpuOptions::default()));
    Model::load(backend, &weights, LoadOptions::default(), &mut |_| {}).expect("a model")
}

fn curve(points: &[(usize, f64)]) -> Option<CostCurve> {
    CostCurve::new(points.to_vec())
}

#[test]
fn a_curve_is_interpolated_and_continued_and_never_falls() {
    let curve = curve(&[(1, 2.0), (2, 1.0), (4, 3.0), (8, 7.0)]).expect("a curve");
    let rows = [0, 1, 2, 3, 4, 6, 8, 16, 100];
    let seconds = rows.map(|rows| curve.seconds(rows));
    assert_eq!(seconds, [2.0, 2.0, 2.0, 2.5, 3.0, 5.0, 7.0, 15.0, 99.0]);
    assert_eq!(curve.ratio(8), 3.5);
    let one = self::curve(&[(1, 2.0)]).expect("a curve");
    assert_eq!([1, 3].map(|rows| one.seconds(rows)), [2.0, 6.0]);
}

#[test]
fn points_that_are_no_curve_are_refused() {
    for points in [
        &[][..],
        &[(2, 1.0)],
        &[(1, 0.0)],
        &[(1, -1.0)],
        &[(1, f64::NAN)],
        &[(1, 1.0), (2, f64::INFINITY)],
        &[(1, 1.0), (1, 1.0)],
        &[(1, 1.0), (4, 1.0), (2, 1.0)],
    ] {
        assert_eq!(curve(points), None, "{points:?}");
    }
}

#[test]
fn measuring_leaves_sequences_alone() {
    let mut model = model();
    let text = model.open();
    model.start();
    let item = model.add(text, &chain(40, 32_000), Wants::From(39)).expect("room");
    model.forward();
    let logits = model.logits(item, 39).to_vec();
    model.commit(text, &(0..39).collect::<Vec<_>>());
    let held = |model: &Model<CpuBackend>| -> Vec<[f32; 32]> {
        let position = |position| {
            let (mut key, mut value) = ([0.0; 32], [0.0; 32]);
            let at = KvPosition { layer: 1, head: 0, position };
            model.key_value(text, at, &mut key, &mut value);
            [key, value]
        };
        (0..model.committed(text)).flat_map(position).collect()
    };
    let before = held(&model);
    let mut told = Vec::new();
    let curve = CostCurve::measure(&mut model, &mut |spent, budget| told.push((spent, budget)));
    let curve = curve.expect("room");
    let rows: Vec<_> = curve.points().iter().map(|&(rows, _)| rows).collect();
    assert_eq!(rows, CostCurve::ROWS);
    assert!(told.len() >= CostCurve::ROWS.len(), "before every pass");
    assert!(told.is_sorted() && told.iter().all(|&(spent, budget)| spent <= budget));
    assert_eq!(held(&model), before);
    assert!(before.iter().flatten().any(|&x| x != 0.0));
    model.start();
    let tree = DraftTree::single(chain(40, 32_000).token(39));
    let item = model.add(text, &tree, Wants::From(0)).expect("room");
    model.forward();
    assert_eq!(model.logits(item, 0), logits);
}

#[test]
fn without_time_one_row_is_measured() {
    let mut model = model();
    let sequence = model.open();
    let rounds = measure(&mut model, sequence, |_| Duration::ZERO, &mut |_, _| {}).expect("room");
    assert_eq!(points(&rounds).len(), 1);
}

#[test]
fn what_counts_is_how_much_longer_than_one_row_of_the_same_round() {
    // The machine is slow in the second round and becomes slow within the third.
    let rounds = [[1.0, 1.25, 1.5].to_vec(), [2.0, 2.5, 3.0].to_vec(), [1.0, 2.5, 3.0].to_vec()];
    assert_eq!(points(&rounds), [(1, 1.0), (2, 1.25), (4, 1.5)]);
    // Rounds that end early count as far as they go.
    assert_eq!(points(&[vec![1.0, 3.0], vec![1.0], Vec::new()]), [(1, 1.0), (2, 3.0)]);
}

#[test]
fn a_cached_curve_is_the_stored_one_and_anything_else_is_measured_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = CostCache { folder: folder.path().join("new"), build: "b".to_owned() };
    let (stored, key) = (curve(&[(1, 0.1), (64, 0.3)]).expect("a curve"), "machine; build b");
    assert_eq!(cache.load(key), None);
    cache.store(key, &stored).expect("a folder to write to");
    assert_eq!(cache.load(key), Some(stored.clone()));
    assert_eq!(cache.load("machine; build c"), None);
    let files: Vec<_> = fs::read_dir(&cache.folder).expect("a folder").flatten().collect();
    assert_eq!(files.len(), 1, "nothing is left beside it");
    let file = files[0].path();
    let whole = fs::read_to_string(&file).expect("the file");
    for text in [
        "",
        "{",
        "[]",
        "null",
        &whole.replace("build b", "build c"),
        &whole.replace("0.3", "-0.3"),
        &whole.replace("0.3", "\"0.3\""),
        &whole.replace("[1,", "[1.5,"),
        &whole.replace("64", "64,64"),
    ] {
        fs::write(&file, text).expect("the file");
        assert_eq!(cache.load(key), None, "{text}");
    }
    fs::write(&file, b"\xff").expect("the file");
    assert_eq!(cache.load(key), None);
    cache.store(key, &stored).expect("a folder to write to");
    assert_eq!(cache.load(key), Some(stored));
}

#[test]
fn a_target_is_measured_when_it_is_asked_for_and_once_per_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = CostCache { folder: folder.path().to_owned(), build: "b".to_owned() };
    let mut model = model();
    let quiet = &mut |_, _| {};
    let mut measured = |how: &MeasureCost, threads| {
        how.curve(&mut model, threads, 1000, quiet).expect("room for a pass")
    };
    assert_eq!(measured(&MeasureCost::Never, 1), None);
    assert!(measured(&MeasureCost::Always, 1).is_some());
    let cached = MeasureCost::Cached(cache.clone());
    let first = measured(&cached, 1);
    assert!(first.is_some());
    assert_eq!(measured(&cached, 1), first);
    let files = || fs::read_dir(folder.path()).expect("a folder").count();
    measured(&cached, 2);
    assert_eq!(files(), 2, "threads are part of the key");
    measured(&MeasureCost::Cached(CostCache { build: "c".to_owned(), ..cache }), 1);
    assert_eq!(files(), 3, "the build is");
    cached
        .curve(&mut model_of(Shape { ffn: 128, ..TINY }), 1, 1000, &mut |_, _| {})
        .expect("room for a pass");
    assert_eq!(files(), 4, "the shape is");
    cached.curve(&mut self::model(), 1, 2000, &mut |_, _| {}).expect("room for a pass");
    assert_eq!(files(), 5, "the weights are");
    // A folder that cannot be made changes nothing but the time.
    fs::write(folder.path().join("file"), "").expect("a file");
    let nowhere = CostCache { folder: folder.path().join("file/below"), build: "b".to_owned() };
    assert!(measured(&MeasureCost::Cached(nowhere), 1).is_some());
}
