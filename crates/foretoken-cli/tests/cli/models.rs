//! Models by their names, and models whose files are missing, damaged, or do not belong together.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{foretoken, foretoken_with, json, refusal, root};

/// A copy of the demo's draft model in `folder`, for damage.
fn copy_model(folder: &Path) {
    for entry in fs::read_dir(root().join("models/foretoken-demo-draft")).expect("the demo") {
        let entry = entry.expect("a file of the demo");
        fs::copy(entry.path(), folder.join(entry.file_name())).expect("a copy");
    }
}

/// What the command says to a copy of a model that `damage` has changed; `{}` is the model.
fn damaged(arguments: &[&str], damage: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a folder");
    copy_model(&model);
    damage(&model);
    let place = model.to_string_lossy().into_owned();
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| if *argument == "{}" { &place } else { *argument })
        .collect();
    refusal(&arguments).replace(&*folder.path().to_string_lossy(), "[folder]")
}

/// What `generate` says to a model that `damage` has changed.
fn generate(damage: impl FnOnce(&Path)) -> String {
    damaged(&["generate", "{}", "-p", "x"], damage)
}

/// Replaces a text in a file of the model.
fn replace(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).expect("a text file");
    assert!(text.contains(from), "{file} has {from}");
    fs::write(path, text.replacen(from, to, 1)).expect("a changed file");
}

/// Cuts a file to its first bytes.
fn cut(path: &Path, length: u64) {
    fs::File::options().write(true).open(path).and_then(|f| f.set_len(length)).expect("a cut file");
}

#[test]
fn models_that_are_not_there() {
    let cases = [
        refusal(&["generate", "nowhere", "-p", "x"]),
        refusal(&["generate", "some/model", "-p", "x"]),
        refusal(&["generate", "crates", "-p", "x"]),
        refusal(&["generate", "Cargo.toml", "-p", "x"]),
        refusal(&["run", "nowhere"]),
        refusal(&["score", "nowhere", "--text", "x"]),
        refusal(&["tokenize", "nowhere", "x"]),
        refusal(&["inspect", "nowhere"]),
        refusal(&["generate", "-p", "x", "--draft-model", "nowhere"]),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    1 error: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    1 error: model `some/model` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    1 error: folder `crates` holds no config.json; name a Hugging Face model folder, or a .gguf file itself
    1 error: `Cargo.toml`: the file does not begin with `GGUF`, so it is no GGUF file
    1 error: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    1 error: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    1 error: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    1 error: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    1 error: --draft-model: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    ");
}

#[test]
fn models_that_do_not_fit_each_other() {
    let (small, other) = ("models/foretoken-demo-draft", "testdata/checkpoints/llama-gqa");
    let with_draft = &["generate", "-p", "x", "--draft-model", "{}", "--draft-vocab", "same"];
    let cases = [
        refusal(&["generate", small, "-p", "x", "--drafter", "model"]),
        refusal(&["generate", small, "-p", "x", "--draft-model", other]),
        damaged(with_draft, |folder| {
            for (from, to) in [(": 4095", ": 9999"), (": 4094", ": 4095"), (": 9999", ": 4094")] {
                replace(folder, "tokenizer.json", from, to);
            }
        }),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    2 error: --drafter: drafter `model` needs a draft model; name one with --draft-model
    1 error: folder `testdata/checkpoints/llama-gqa` holds no tokenizer.json, nor vocab.json with merges.txt; download the tokenizer's files as well
    1 error: --draft-model: draft model `model` does not share the target's vocabulary: token id 4094 is `Ġtf` in one vocabulary and `rew` in the other; draft across vocabularies with --draft-vocab auto
    ");
}

#[test]
fn damaged_folders() {
    let config = |from: &'static str, to: &'static str| {
        generate(move |folder| replace(folder, "config.json", from, to))
    };
    let cases = [
        generate(|folder| cut(&folder.join("model.safetensors"), 1_000_000)),
        generate(|folder| cut(&folder.join("model.safetensors"), 4)),
        generate(|folder| fs::remove_file(folder.join("model.safetensors")).expect("removed")),
        generate(|folder| fs::remove_file(folder.join("tokenizer.json")).expect("removed")),
        generate(|folder| cut(&folder.join("tokenizer.json"), 5000)),
        generate(|folder| cut(&folder.join("config.json"), 10)),
        generate(nan_weight),
        generate(|folder| replace(folder, "tokenizer.json", ": 4095", ": 4096")),
        config("\"model_type\": \"llama\"", "\"model_type\": \"mamba\""),
        config("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\""),
        config("\"vocab_size\": 4096", "\"vocab_size\": -1"),
        config("{", "{ \"logit_softcap\": 30.0,"),
        generate(|folder| {
            let stored = r#"{"do_sample": true, "top_p": 1.5}"#;
            fs::write(folder.join("generation_config.json"), stored).expect("a file");
        }),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    1 error: `[folder]/model/model.safetensors`: the tensors need 1836288 bytes where 997848 follow the header; the file is truncated or damaged, download it again
    1 error: `[folder]/model/model.safetensors`: the file has 4 bytes and is too short for a safetensors file; download it again
    1 error: folder `[folder]/model` holds no model.safetensors or model.safetensors.index.json; download the weights, or convert other formats to safetensors
    1 error: folder `[folder]/model` holds no tokenizer.json, nor vocab.json with merges.txt; download the tokenizer's files as well
    1 error: `[folder]/model/tokenizer.json`: no valid tokenizer.json: EOF while parsing a value at line 1 column 5000
    1 error: `[folder]/model/config.json` is no valid JSON of its kind: EOF while parsing a string at line 2 column 8
    1 error: `[folder]/model/model.safetensors`: the tensor `model.norm.weight` holds NaN at [127]; weights must be finite
    1 error: `model`: the tokenizer does not belong to this model: its piece `rew` has the id 4096, but the model knows 4096 tokens
    1 error: `[folder]/model/config.json`: the model family `mamba` is not supported; supported are llama, mistral, qwen2, qwen3
    1 error: `[folder]/model/config.json`: the key `hidden_act` is gelu; it must be silu
    1 error: `[folder]/model/config.json`: the key `vocab_size` is -1; it must be a non-negative integer
    1 error: `[folder]/model/config.json`: the key `logit_softcap` = 30.0 is unknown to the family `llama` and may change what the model computes; run with --allow-unknown-config to ignore it
    1 error: `model/generation_config.json`: top-p is 1.5; it must lie between 0 and 1 (1 keeps all tokens)
    ");
}

/// Makes a weight NaN: bytes near the end of the file are bf16 weights.
fn nan_weight(folder: &Path) {
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).expect("weights");
    let last = bytes.len() - 2;
    bytes[last..].copy_from_slice(&0x7fc0_u16.to_le_bytes());
    fs::write(path, bytes).expect("weights");
}

#[test]
fn an_unknown_key_is_a_warning_where_it_is_allowed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy_model(folder.path());
    replace(folder.path(), "config.json", "{", "{ \"logit_softcap\": 30.0,");
    let place = folder.path().to_string_lossy().into_owned();
    let run = foretoken(&["generate", &place, "-p", "x", "--allow-unknown-config", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.starts_with("warning: "), "{}", run.stderr);
    assert!(run.stderr.contains("`logit_softcap`"), "{}", run.stderr);
    let unknown = json(&["inspect", &place, "--json"])["unknown"].to_string();
    assert!(unknown.contains("logit_softcap"), "{unknown}");
}

#[test]
fn a_hub_id_is_found_in_the_cache_the_environment_names() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let model = home.path().join("hub/models--some--model");
    let snapshot = model.join("snapshots/0123abc");
    fs::create_dir_all(&snapshot).expect("a folder");
    fs::create_dir(model.join("refs")).expect("a folder");
    fs::write(model.join("refs/main"), "0123abc").expect("a file");
    copy_model(&snapshot);
    let home = home.path().to_string_lossy().into_owned();
    for (variable, value) in [("HF_HOME", home.clone()), ("HF_HUB_CACHE", home + "/hub")] {
        let arguments = ["generate", "some/model", "-p", "x", "--max-tokens", "2", "--json"];
        let run = foretoken_with(&arguments, &[(variable, &value)], "");
        assert_eq!(run.code, Some(0), "{variable}: {}", run.stderr);
        assert!(run.stdout.starts_with(r#"{"model":"some/model","drafter":"lookup""#));
    }
}

#[test]
fn a_prompt_without_tokens() {
    // Neither the post-processor nor a setting adds a BOS.
    let no_bos = |folder: &Path| {
        let path = folder.join("tokenizer.json");
        let text = fs::read_to_string(&path).expect("a tokenizer");
        let mut tokenizer: Value = serde_json::from_str(&text).expect("JSON");
        tokenizer["post_processor"] = Value::Null;
        fs::write(path, tokenizer.to_string()).expect("a tokenizer");
        replace(folder, "tokenizer_config.json", "\"add_bos_token\": true", "\"a\": 1");
    };
    let cases = [
        damaged(&["generate", "{}", "-p", ""], no_bos),
        damaged(&["generate", "{}", "--prompt-file", "-"], no_bos),
        damaged(&["score", "{}", "--text", ""], no_bos),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    2 error: --prompt: the prompt is empty; give at least one token
    1 error: `-`: the prompt is empty; give at least one token
    2 error: --text: the prompt is empty; give at least one token
    ");
}

#[test]
fn chat_templates() {
    let template = |text: &str| {
        damaged(&["generate", "{}", "--chat", "-p", "x"], |folder| {
            fs::write(folder.join("chat_template.jinja"), text).expect("a file");
        })
    };
    let endless = "{% for x in range(9999) %}{% for y in range(9999) %}a{% endfor %}{% endfor %}";
    let cases = [
        template("{% for %}"),
        template(endless),
        template("{{ raise_exception('no\nway') }}"),
        refusal(&["generate", "testdata/gguf/llama-gqa.gguf", "--chat", "-p", "x"]),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    1 error: `[folder]/model/chat_template.jinja`: the chat template cannot be compiled: syntax error: unexpected end of block, expected in (in chat_template:1)
    1 error: `model`: the chat template did not end within its budget of work; it may loop forever
    1 error: `model`: the chat template refuses this conversation: no way
    1 error: --chat: `llama-gqa` has no chat template; leave --chat out
    ");
}

#[test]
fn damaged_gguf_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("damaged.gguf");
    let place = file.to_string_lossy().into_owned();
    let whole = fs::read(root().join("testdata/gguf/llama-quantised.gguf")).expect("a GGUF file");
    let mut cases = Vec::new();
    for part in [3, 20, 200, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..part]).expect("a cut file");
        cases.push(refusal(&["generate", &place, "--tokens", "1"]));
    }
    let mut version = whole.clone();
    version[4] = 9;
    fs::write(&file, version).expect("a changed file");
    cases.push(refusal(&["inspect", &place]));
    let mut count = whole;
    count[8..16].fill(0xff);
    fs::write(&file, count).expect("a changed file");
    cases.push(refusal(&["generate", &place, "--tokens", "1"]));
    insta::assert_snapshot!(cases.join("\n").replace(&place, "[file]"), @r"
    1 error: `[file]`: the file does not begin with `GGUF`, so it is no GGUF file
    1 error: `[file]`: the file is truncated: the metadata count at byte 16 needs 8 bytes where 4 are left; download it again
    1 error: `[file]`: the file is truncated: the metadata at byte 24 needs 260 bytes where 176 are left; download it again
    1 error: `[file]`: tensor `blk.0.ffn_down.weight` (17408 bytes at data offset 70848) lies beyond the end of the file (87424 bytes); the file is truncated, download it again
    1 error: `[file]`: tensor `output_norm.weight` (1024 bytes at data offset 170432) lies beyond the end of the file (174847 bytes); the file is truncated, download it again
    1 error: `[file]`: GGUF version 9 is not supported; convert the model again with a current tool (2 or 3)
    1 error: `[file]`: the file is truncated: the tensor table at byte 2198 needs 18446744073709551615 bytes where 172650 are left; download it again
    ");
}
