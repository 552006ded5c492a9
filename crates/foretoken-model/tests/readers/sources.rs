//! Where models are looked for.

use std::fs;
use std::path::Path;

use foretoken_model::{Checkpoint, HubEnvironment, ModelError, ModelSource, OpenOptions};

use crate::support::{copy, one_line, refusal, testdata};

/// A hub cache with `org/name` as two revisions, the second of them current.
fn hub() -> tempfile::TempDir {
    let cache = tempfile::tempdir().unwrap();
    let model = cache.path().join("models--org--name");
    for revision in ["0ld", "abc123"] {
        let snapshot = model.join("snapshots").join(revision);
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("config.json"), "{}").unwrap();
    }
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), "abc123\n").unwrap();
    cache
}

fn resolve(spec: &str, cache: &Path) -> Result<ModelSource, ModelError> {
    let hub_cache = Some(cache.to_owned());
    ModelSource::resolve(spec, &HubEnvironment { hub_cache, ..HubEnvironment::default() })
}

#[test]
fn a_hub_id_is_its_current_snapshot() {
    let cache = hub();
    let source = resolve("org/name", cache.path()).unwrap();
    assert_eq!(source.name(), "org/name");
    let ModelSource::Folder(folder) = source else { panic!("a snapshot is a folder") };
    assert!(folder.ends_with("models--org--name/snapshots/abc123"));
    fs::remove_file(cache.path().join("models--org--name/refs/main")).unwrap();
    assert!(resolve("org/name", cache.path()).is_err(), "two revisions and none is current");
    fs::remove_dir_all(cache.path().join("models--org--name/snapshots/0ld")).unwrap();
    assert!(resolve("org/name", cache.path()).is_ok(), "the only revision");
}

#[test]
fn what_is_no_model_is_refused_with_advice() {
    let cache = hub();
    for spec in ["org/other", "../name", "org/../name", "a/b/c", "", "no such file.gguf", "org/"] {
        let error = one_line(&resolve(spec, cache.path()).unwrap_err());
        assert!(error.contains("neither a folder, a .gguf file nor a hub id"), "{error}");
        assert!(error.contains(&cache.path().display().to_string()), "{error}");
    }
    fs::write(cache.path().join("models--org--name/refs/main"), "../../..").unwrap();
    assert!(resolve("org/name", cache.path()).is_err(), "a revision leads nowhere else");
    let empty = tempfile::tempdir().unwrap();
    let error = refusal(empty.path());
    assert!(error.contains("holds no config.json; name a Hugging Face model folder"), "{error}");
    let folder = copy("llama-gqa");
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let error = refusal(folder.path());
    assert!(
        error.contains("holds no model.safetensors or model.safetensors.index.json"),
        "{error}"
    );
    let config = folder.path().join("config.json");
    assert!(refusal(&config).contains("so it is no GGUF file"));
    fs::write(&config, "{ \"model_type\": ").unwrap();
    assert!(refusal(folder.path()).contains("config.json` is no valid JSON of its kind"));
    fs::write(&config, format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000))).unwrap();
    assert!(refusal(folder.path()).contains("config.json` is no valid JSON of its kind"));
}

#[cfg(unix)]
#[test]
fn unreadable_paths_are_refused_without_waiting() {
    let folder = copy("llama-gqa");
    let weights = folder.path().join("model.safetensors");
    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    assert!(refusal(folder.path()).contains("model.safetensors`: not a regular file"));
    let config = folder.path().join("config.json");
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &config).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("config.json"), "{error}");
    assert!(refusal(Path::new("/dev/zero")).contains("`/dev/zero`: not a regular file"));
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let folder = copy("llama-gqa");
    let tokenizer = fs::File::create(folder.path().join("tokenizer.json")).unwrap();
    tokenizer.set_len(200 << 20).unwrap();
    let source = resolve(folder.path().to_str().unwrap(), folder.path()).unwrap();
    let error = one_line(&source.read("tokenizer.json").unwrap_err());
    assert!(error.contains("has 209715200 bytes; at most 134217728 are read"), "{error}");
    assert!(source.read("absent.json").unwrap().is_none());
}

#[test]
fn embedded_files_make_a_checkpoint() {
    const FILES: &[(&str, &[u8])] = &[
        ("config.json", include_bytes!("../../../../testdata/checkpoints/llama-bf16/config.json")),
        (
            "model.safetensors",
            include_bytes!("../../../../testdata/checkpoints/llama-bf16/model.safetensors"),
        ),
    ];
    let source = ModelSource::Embedded { name: "tiny", files: FILES };
    let embedded = Checkpoint::open(&source, &OpenOptions::default()).unwrap();
    let folder = crate::support::open(&testdata("checkpoints/llama-bf16")).unwrap();
    assert_eq!(embedded.spec(), folder.spec());
    assert_eq!(embedded.name(), "tiny");
    let tensor = foretoken_model::Tensor::Down(1);
    assert_eq!(embedded.matrix(tensor).unwrap().data, folder.matrix(tensor).unwrap().data);
    let source = ModelSource::Embedded { name: "tiny", files: &FILES[..1] };
    let error = one_line(&Checkpoint::open(&source, &OpenOptions::default()).unwrap_err());
    assert!(error.contains("`tiny (built in)` holds no model.safetensors"), "{error}");
}

#[test]
fn the_cache_is_where_the_hub_client_puts_it() {
    let path = |text: &str| Some(Path::new(text).to_owned());
    let mut hub = HubEnvironment { hub_cache: path("/c"), hf_home: path("/h"), home: path("/u") };
    assert_eq!(hub.cache(), path("/c"));
    hub.hub_cache = None;
    assert_eq!(hub.cache(), path("/h/hub"));
    hub.hf_home = None;
    assert_eq!(hub.cache(), path("/u/.cache/huggingface/hub"));
    hub.home = None;
    assert_eq!(hub.cache(), None);
}
