//! Folders written and read again.

use foretoken_model::{Checkpoint, ModelSource, OpenOptions, OutputHead};
use foretoken_train::{Llama, Precision, StoredAs, TrainError};

use crate::support::{compute, shape};

#[test]
fn folders_hold_the_model() {
    let compute = compute(2, Precision::F32);
    for output in [OutputHead::Tied, OutputHead::Own] {
        let model = Llama::new(&compute, shape(output), 3).expect("a good shape");
        let folder = tempfile::tempdir().expect("a folder");
        let source = ModelSource::Folder(folder.path().to_owned());
        model.save(folder.path(), StoredAs::F32, None).expect("the model is written");
        let read = Llama::open(&source).expect("the model opens");
        assert_eq!(read.shape(), model.shape());
        assert!(read.parameters == model.parameters);
        model.save(folder.path(), StoredAs::Bf16, None).expect("the model is written");
        let read = Llama::open(&source).expect("the model opens");
        for (read, ours) in read.parameters.as_slice().iter().zip(model.parameters.as_slice()) {
            let rounded = ours.values.iter().map(|x| half::bf16::from_f32(*x).to_f32());
            assert!(read.values.iter().copied().eq(rounded), "{}", read.name);
        }
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let compute = compute(1, Precision::F32);
    let mut model = Llama::new(&compute, shape(OutputHead::Tied), 3).expect("a good shape");
    let mut parameters = model.parameters.as_mut_slice().iter_mut();
    let parameter = parameters.find(|p| p.name == "model.layers.1.mlp.up_proj.weight");
    parameter.expect("it exists").values[2 * 32 + 3] = f32::INFINITY;
    let folder = tempfile::tempdir().expect("a folder");
    model.save(folder.path(), StoredAs::F32, None).expect("the model is written");
    let source = ModelSource::Folder(folder.path().to_owned());
    let refused = Llama::open(&source).map(|_| ()).expect_err("a value is no number").to_string();
    let wanted = "`model.layers.1.mlp.up_proj.weight` holds inf at [2, 3]";
    assert!(refused.contains(wanted), "{refused}");
}

#[test]
fn the_source_gives_its_tokenizer_and_special_tokens() {
    let compute = compute(1, Precision::F32);
    let model = Llama::new(&compute, shape(OutputHead::Tied), 3).expect("a good shape");
    let (from, to) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    std::fs::write(from.path().join("config.json"), r#"{"eos_token_id": [5, 6], "vocab_size": 9}"#)
        .expect("a file");
    std::fs::write(from.path().join("tokenizer.json"), "tokens").expect("a file");
    model
        .save(to.path(), StoredAs::F32, Some(&ModelSource::Folder(from.path().to_owned())))
        .expect("the model is written");
    let copied = std::fs::read(to.path().join("tokenizer.json")).expect("the file is copied");
    assert_eq!(copied, b"tokens");
    let source = ModelSource::Folder(to.path().to_owned());
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default()).expect("it opens");
    assert_eq!(checkpoint.eos(), [5, 6]);
    assert_eq!(checkpoint.spec().vocab, 61);
}

#[test]
fn other_models_are_refused_by_what_they_have() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/checkpoints");
    for (name, what) in [
        ("llama-biases", "biases in attention"),
        ("qwen3", "norms of queries and keys"),
        ("mistral-window", "windowed attention"),
        ("llama3-rope", "scaled rotations"),
    ] {
        match Llama::open(&ModelSource::Folder(root.join(name))) {
            Err(TrainError::Unsupported { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{name}: {:?}", other.map(|_| ())),
        }
    }
}
