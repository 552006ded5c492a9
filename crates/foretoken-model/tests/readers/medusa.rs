//! Medusa heads: every layout says the same, whatever is wrong is named, and what is written is read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use foretoken_model::{
    HeadBias, HeadPrecision, HeadTensor, HubEnvironment, MedusaCalibration, MedusaExport,
    MedusaHeads, MedusaLayout, MedusaMeasurement, MedusaPath, MedusaShape, ModelError, ModelSource,
    ModelSpec,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{one_line, open, safetensors, testdata};

fn heads(case: &str) -> MedusaHeads {
    read(&testdata("medusa").join(case)).unwrap()
}

fn read(folder: &Path) -> Result<MedusaHeads, ModelError> {
    MedusaHeads::resolve(folder.to_str().unwrap(), &HubEnvironment::default())
}

/// A tensor as f32.
fn values(heads: &MedusaHeads, tensor: HeadTensor) -> Vec<f32> {
    if matches!(tensor, HeadTensor::BlockBias { .. }) {
        return heads.vector(tensor).unwrap();
    }
    heads.matrix(tensor).decode().unwrap()
}

fn golden() -> BTreeMap<String, Vec<f32>> {
    serde_json::from_slice(&fs::read(testdata("medusa/values.json")).unwrap()).unwrap()
}

fn golden_name(tensor: HeadTensor) -> String {
    match tensor {
        HeadTensor::Block { head, block } => format!("{head}.{block}.linear.weight"),
        HeadTensor::BlockBias { head, block } => format!("{head}.{block}.linear.bias"),
        HeadTensor::Output { head } => format!("{head}.1.weight"),
    }
}

const FULL: MedusaShape =
    MedusaShape { count: 3, blocks: 1, hidden: 8, vocab: Some(24), bias: HeadBias::All };

#[test]
fn every_layout_holds_the_same_heads() {
    let golden = golden();
    let shared = MedusaShape { vocab: None, ..FULL };
    for (case, shape, layout) in [
        ("v01", FULL, MedusaLayout::Published),
        ("v01-f16", FULL, MedusaLayout::Published),
        ("v01-parameters", FULL, MedusaLayout::Published),
        ("v01-bf16", FULL, MedusaLayout::Published),
        ("version2", shared, MedusaLayout::Published),
        ("full-model", FULL, MedusaLayout::InModel),
        ("vllm", FULL, MedusaLayout::Vllm),
        ("vllm-original-head", shared, MedusaLayout::Vllm),
    ] {
        let heads = heads(case);
        assert_eq!((heads.shape(), heads.layout()), (shape, layout), "{case}");
        assert_eq!(shape.tensors().count(), if shape.vocab.is_some() { 9 } else { 6 });
        for tensor in shape.tensors() {
            assert_eq!(values(&heads, tensor), golden[&golden_name(tensor)], "{case} {tensor:?}");
        }
        assert_eq!(heads.tensors().count(), shape.tensors().count());
        assert_eq!(heads.token_map(), None);
    }
}

#[test]
fn a_token_map_names_the_rows() {
    let golden = golden();
    let map = [0, 1, 2, 5, 7, 11, 13, 23];
    for case in ["vllm-token-map", "vllm-token-map-pt"] {
        let heads = heads(case);
        assert_eq!(heads.shape(), MedusaShape { vocab: Some(8), bias: HeadBias::None, ..FULL });
        assert_eq!(heads.token_map(), Some(&map[..]));
        let all = &golden["2.1.weight"];
        let rows: Vec<f32> =
            map.iter().flat_map(|&row| all[row as usize * 8..][..8].to_vec()).collect();
        assert_eq!(values(&heads, HeadTensor::Output { head: 2 }), rows);
        assert!(heads.check(&spec(8, 24)).is_ok());
        let error = one_line(&heads.check(&spec(8, 23)).unwrap_err());
        assert!(
            error.contains("of 24 tokens (tensor `token_map`) where the model has 23"),
            "{error}"
        );
    }
}

#[test]
fn blocks_may_be_one_under_several_names() {
    let (saved, model) = (heads("tied"), heads("tied-safetensors"));
    assert_eq!(saved.shape(), MedusaShape { blocks: 2, ..FULL });
    assert_eq!(saved.shape(), model.shape());
    for tensor in saved.shape().tensors() {
        assert_eq!(values(&saved, tensor), values(&model, tensor), "{tensor:?}");
    }
    for heads in [saved, model] {
        let block = |block| heads.matrix(HeadTensor::Block { head: 1, block });
        assert_eq!(block(0).data.as_ptr(), block(1).data.as_ptr());
    }
}

#[test]
fn configurations_are_compared_and_nothing_more() {
    let warnings = |case| heads(case).warnings().to_vec();
    let claim = "config.json says medusa_num_heads = 2; the tensors say 3";
    assert_eq!(warnings("v01"), [claim]);
    assert_eq!(heads("v01").base_model(), Some("tiny/base"));
    for case in ["v01-f16", "v01-bf16", "version2", "full-model", "vllm", "vllm-token-map"] {
        assert_eq!(warnings(case), [""; 0], "{case}");
    }
    assert_eq!(warnings("vllm-original-head").len(), 1);
}

/// The tiny llama, as large as asked for.
fn spec(hidden: usize, vocab: usize) -> ModelSpec {
    let model = open(&testdata("medusa/full-model")).unwrap();
    ModelSpec { hidden, vocab, ..model.spec().clone() }
}

#[test]
fn a_model_with_heads_opens_as_a_model_too() {
    let model = open(&testdata("medusa/full-model")).unwrap();
    assert_eq!(model.warnings(), [""; 0]);
    heads("full-model").check(model.spec()).unwrap();
}

#[test]
fn heads_of_another_model_are_refused() {
    for (case, hidden, vocab, message) in [
        ("v01", 16, 24, "hidden size of 8 (tensor `0.0.linear.weight`) where the model has 16"),
        ("v01", 8, 25, "vocabulary of 24 tokens (tensor `0.1.weight`) where the model has 25"),
        ("vllm", 8, 23, "vocabulary of 24 tokens (tensor `medusa_heads.lm_heads.0.weight`) where"),
    ] {
        let error = one_line(&heads(case).check(&spec(hidden, vocab)).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
    heads("version2").check(&spec(8, 25)).unwrap();
}

/// A folder with one file of zeros: names and shapes.
fn folder(tensors: &[(&str, &[usize])]) -> TempDir {
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, shape) in tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert((*name).to_owned(), entry);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = safetensors(&Value::Object(header).to_string(), &vec![0; end]);
    fs::write(folder.path().join("medusa_lm_head.safetensors"), file).unwrap();
    folder
}

#[test]
fn what_is_wrong_with_heads_is_named() {
    let block: (&str, &[usize]) = ("0.0.linear.weight", &[4, 4]);
    let output: (&str, &[usize]) = ("0.1.weight", &[6, 4]);
    for (tensors, message) in [
        (&[block, ("0.0.linear.gain", &[4])][..], "`0.0.linear.gain` belongs to no layout"),
        (&[block, ("lm_heads.0.weight", &[6, 4])], "`lm_heads.0.weight` belongs to no layout"),
        (&[block, ("00.0.linear.bias", &[4])], "`00.0.linear.bias` belongs to no layout"),
        (&[block, output, ("1.0.linear.weight", &[4, 4])], "`1.1.weight` is missing"),
        (&[block, ("2.0.linear.weight", &[4, 4])], "`1.0.linear.weight` is missing"),
        (&[block, ("0.2.linear.weight", &[4, 4])], "`0.1.linear.weight` is missing"),
        (&[("0.0.linear.bias", &[4])], "`0.0.linear.weight` is missing"),
        (&[block, ("0.2.weight", &[6, 4])], "`0.2.weight` belongs to no layout"),
        (
            &[block, ("0.1.weight", &[6, 5])],
            "`0.1.weight` has shape [6, 5] where the other heads need [6, 4]",
        ),
        (&[("0.0.linear.weight", &[4, 5])], "`0.0.linear.weight` has shape [4, 5]"),
        (&[("0.0.linear.weight", &[])], "`0.0.linear.weight` has shape []"),
        (&[("0.1.weight", &[0, 4]), block], "`0.1.weight` has shape [0, 4]"),
        (
            &[
                ("blocks.0.layers.0.weight", &[4, 4]),
                ("medusa_heads.blocks.0.layers.0.weight", &[4, 4]),
            ],
            "are the same part of a head",
        ),
        (&[("lm_heads.0.weight", &[6, 4]), ("token_map", &[6])], "`token_map` must be I64 or I32"),
        (&[("token_map", &[6])], "holds no Medusa head"),
        (&[], "holds no Medusa head"),
    ] {
        let error = one_line(&read(folder(tensors).path()).unwrap_err());
        assert!(error.contains(message), "{error} / {message}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(one_line(&read(empty.path()).unwrap_err()).contains("holds no Medusa head"));
    let error = one_line(&read(&empty.path().join("gone")).unwrap_err());
    assert!(error.contains("neither a folder"), "{error}");
}

fn write(heads: &MedusaHeads, to: &Path, precision: HeadPrecision, layout: MedusaLayout) {
    let export = MedusaExport { shape: heads.shape(), precision, base_model: "tiny/base" };
    let values = |tensor| Cow::Owned(values(heads, tensor));
    match layout {
        MedusaLayout::Vllm => export.write_vllm(to, values),
        _ => export.write_published(to, values),
    }
    .unwrap();
}

#[test]
fn what_is_written_is_read() {
    for case in ["v01", "vllm", "tied", "version2"] {
        let source = heads(case);
        for layout in [MedusaLayout::Published, MedusaLayout::Vllm] {
            if source.vocab().is_none() && layout == MedusaLayout::Vllm {
                continue;
            }
            for precision in [HeadPrecision::F32, HeadPrecision::Bf16] {
                let folder = tempfile::tempdir().unwrap();
                write(&source, folder.path(), precision, layout);
                assert_eq!(
                    fs::read_dir(folder.path()).unwrap().count(),
                    2,
                    "nothing is left aside"
                );
                let written = read(folder.path()).unwrap();
                assert_eq!((written.shape(), written.layout()), (source.shape(), layout));
                assert_eq!(written.warnings(), [""; 0], "the configuration is right");
                assert_eq!(written.base_model(), Some("tiny/base"));
                for tensor in source.shape().tensors() {
                    assert_eq!(
                        values(&written, tensor),
                        values(&source, tensor),
                        "{case} {tensor:?}"
                    );
                }
                let bytes = if precision == HeadPrecision::F32 { 4 } else { 2 };
                let first = written.tensors().next().unwrap();
                assert_eq!(first.bytes, 64 * bytes);
            }
        }
    }
}

#[test]
fn written_configurations_say_what_their_readers_ask() {
    let config = |layout| -> Value {
        let folder = tempfile::tempdir().unwrap();
        write(&heads("v01"), folder.path(), HeadPrecision::Bf16, layout);
        serde_json::from_slice(&fs::read(folder.path().join("config.json")).unwrap()).unwrap()
    };
    let published = config(MedusaLayout::Published);
    assert_eq!(published["medusa_num_heads"], 3);
    assert_eq!(published.get("architectures"), None, "another kind for text-generation-inference");
    let vllm = config(MedusaLayout::Vllm);
    assert_eq!(vllm["medusa_fc_bias"], true);
    assert_eq!((&vllm["num_heads"], &vllm["vocab_size"]), (&json!(3), &json!(24)));
    let counts = vllm.as_object().unwrap().keys().filter(|key| key.contains("num"));
    assert_eq!(counts.count(), 2, "vLLM takes keys by parts of their names");
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shape = MedusaShape { count: 1, hidden: 2, vocab: None, ..FULL };
    let export = MedusaExport { shape, precision: HeadPrecision::Bf16, base_model: "m" };
    let spoilt = |value: f32| {
        move |tensor| match tensor {
            HeadTensor::BlockBias { .. } => Cow::Owned(vec![0.0, value]),
            _ => Cow::Owned(vec![0.0; 4]),
        }
    };
    for value in [f32::NAN, f32::INFINITY, f32::MAX] {
        let error = one_line(&export.write_published(folder.path(), spoilt(value)).unwrap_err());
        assert!(error.contains("the tensor `0.0.linear.bias` holds"), "{error}");
        assert!(error.contains("at [1]"), "{error}");
    }
    let error = one_line(&export.write_vllm(folder.path(), spoilt(0.0)).unwrap_err());
    assert!(error.contains("needs an output matrix in every head"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let gone = folder.path().join("gone");
    let error = one_line(&export.write_published(&gone, spoilt(0.0)).unwrap_err());
    assert!(error.contains("cannot write"), "{error}");
}

fn measurement(ranks: Vec<Vec<f64>>, paths: &[(&[u32], f64)]) -> MedusaMeasurement {
    let paths = paths.iter().map(|&(path, rate)| MedusaPath { path: path.to_vec(), rate });
    MedusaMeasurement { temperature: 0.8, positions: 100, ranks, paths: paths.collect() }
}

fn calibration(measurement: MedusaMeasurement) -> MedusaCalibration {
    MedusaCalibration {
        model: "tiny".into(),
        text: "prompts".into(),
        measurements: vec![measurement],
        frequent: vec![7, 0, 23],
    }
}

#[test]
fn a_calibration_is_kept_beside_its_heads() {
    let folder = tempfile::tempdir().unwrap();
    write(&heads("v01"), folder.path(), HeadPrecision::F32, MedusaLayout::Published);
    let ranks = vec![vec![0.56, 0.125], vec![0.3], vec![0.0, 1.0]];
    let paths: &[(&[u32], f64)] = &[(&[0, 0], 0.25), (&[0], 0.5), (&[0, 0, 1], 0.25)];
    let measured = calibration(measurement(ranks, paths));
    measured.write(folder.path()).unwrap();
    let source = ModelSource::Folder(folder.path().to_owned());
    assert_eq!(MedusaHeads::open(&source).unwrap().calibration(), Some(&measured));
    let file = MedusaHeads::open_file(&folder.path().join("medusa_lm_head.safetensors")).unwrap();
    assert_eq!(file.calibration(), Some(&measured));
    assert_eq!(heads("v01").calibration(), None);
}

#[test]
fn what_is_wrong_with_a_calibration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(&heads("v01"), folder.path(), HeadPrecision::F32, MedusaLayout::Published);
    let refused = |calibration: Value, message: &str| {
        fs::write(folder.path().join("medusa_calibration.json"), calibration.to_string()).unwrap();
        let error = one_line(&read(folder.path()).unwrap_err());
        assert!(error.contains(message), "{error} / {message}");
    };
    let whole = |measurement: Value| json!({ "model": "", "text": "", "measurements": [measurement], "frequent": [] });
    for (ranks, message) in [
        (vec![vec![0.5]; 2], "rates of 2 heads where there are 3"),
        (vec![vec![0.5], vec![1.5], vec![0.5]], "the rate 1.5 in head 1"),
        (vec![vec![0.5], vec![0.5], vec![-0.5]], "the rate -0.5 in head 2"),
        (vec![vec![0.5], vec![0.5, 0.75], vec![0.5]], "2 rates in head 1 that sum to 1.25"),
        (vec![vec![], vec![0.5], vec![0.5]], "0 rates in head 0"),
    ] {
        let measurement = json!({ "temperature": 0, "positions": 1, "ranks": ranks, "paths": [] });
        refused(whole(measurement), message);
    }
    for (paths, message) in [
        (json!([{ "path": [], "rate": 0.5 }]), "the path [] for 3 heads"),
        (json!([{ "path": [0, 0, 0, 0], "rate": 0.5 }]), "the path [0, 0, 0, 0] for 3 heads"),
        (json!([{ "path": [0], "rate": 2 }]), "the rate 2 of the path [0]"),
        (json!([{ "path": [0], "rate": 0 }, { "path": [0], "rate": 0 }]), "the path [0] twice"),
        (
            json!([{ "path": [0], "rate": 0.5 }, { "path": [0, 1], "rate": 0.75 }]),
            "a path [0, 1] more often right than its beginning",
        ),
        (json!([{ "path": [0, 1], "rate": 0.75 }]), "a path [0, 1] more often right than"),
    ] {
        let ranks = vec![vec![0.5]; 3];
        let measurement =
            json!({ "temperature": 0, "positions": 1, "ranks": ranks, "paths": paths });
        refused(whole(measurement), message);
    }
    let sound =
        json!({ "temperature": 0, "positions": 1, "ranks": vec![vec![0.5]; 3], "paths": [] });
    for (key, value, message) in [
        ("temperature", json!(-1), "the temperature -1"),
        ("positions", json!(0), "no measured positions"),
        ("rates", json!(0), "unknown field"),
    ] {
        let mut measurement = sound.clone();
        measurement[key] = value;
        refused(whole(measurement), message);
    }
    let mut twice = whole(sound);
    twice["frequent"] = json!([3, 4, 3]);
    refused(twice.clone(), "the frequent token 3 twice");
    twice["measurements"] = json!([]);
    refused(twice, "no measurement");
    let nan = calibration(measurement(vec![vec![f64::NAN]], &[]));
    assert!(one_line(&nan.write(folder.path()).unwrap_err()).contains("the rate NaN in head 0"));
}
