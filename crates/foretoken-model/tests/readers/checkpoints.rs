//! Checkpoints of both kinds: what they say, the weights they hand out, and how they are refused.

use std::fs;
use std::path::Path;

use foretoken_model::{Checkpoint, GenerationDefaults, OutputHead, RopeScaling, Tensor};
use foretoken_tensor::WeightFormat;
use serde_json::{Value, json};

use crate::support::{
    GgufBuilder, copy, one_line, open, refusal, safetensors, shared, testdata, tiny_llama,
};

/// A matrix as f32 rows in the program's order.
fn rows(checkpoint: &Checkpoint, tensor: Tensor) -> Vec<Vec<f32>> {
    let view = checkpoint.matrix(tensor).unwrap();
    view.decode().unwrap().chunks(view.cols).map(<[f32]>::to_vec).collect()
}

fn is_matrix(checkpoint: &Checkpoint, tensor: Tensor) -> bool {
    tensor.shape(checkpoint.spec()).len() == 2
}

#[test]
fn a_gguf_file_holds_what_its_folder_holds() {
    for case in ["llama-gqa", "llama3-rope", "qwen2", "qwen3"] {
        let folder = open(&testdata("checkpoints").join(case)).unwrap();
        let file = open(&testdata("gguf").join(format!("{case}.gguf"))).unwrap();
        let mut spec = folder.spec().clone();
        if case == "llama3-rope" {
            assert!(matches!(file.spec().rope.scaling, RopeScaling::PerFrequency { .. }));
            spec.rope = file.spec().rope.clone();
        }
        assert_eq!(file.spec(), &spec, "{case}");
        for tensor in Tensor::all(&spec) {
            if is_matrix(&folder, tensor) {
                assert_eq!(rows(&folder, tensor), rows(&file, tensor), "{case} {tensor:?}");
            } else {
                let vectors = (folder.vector(tensor).unwrap(), file.vector(tensor).unwrap());
                assert_eq!(vectors.0, vectors.1, "{case} {tensor:?}");
            }
        }
        assert_eq!(folder.weight_bytes(), 4 * folder.parameters());
        assert_eq!(
            (folder.parameters(), folder.weight_bytes()),
            (file.parameters(), file.weight_bytes())
        );
        assert_eq!((folder.eos(), folder.bos()), (&[2][..], Some(1)));
        assert_eq!((file.eos(), file.bos()), (&[2, 3][..], Some(1)), "eos and eot");
        assert_eq!((folder.name(), file.name()), (case, case));
    }
}

#[test]
fn llama_biases_of_a_gguf_are_reordered_like_their_matrices() {
    let tensor = |file: GgufBuilder, name: &str, shape: &[u64], at: &mut u64| {
        let file = file.tensor(name, shape, 0, *at);
        *at += (4 * shape.iter().product::<u64>()).next_multiple_of(32);
        file
    };
    let mut at = 0;
    let mut file = tiny_llama().u32("llama.attention.key_length", 4);
    file = tensor(file, "token_embd.weight", &[4, 8], &mut at);
    file = tensor(file, "blk.0.attn_q.bias", &[8], &mut at);
    let mut bytes = file.data(at as usize).build();
    let start = bytes.len() - 32;
    for (i, chunk) in bytes[start..].chunks_mut(4).enumerate() {
        chunk.copy_from_slice(&(i as f32).to_le_bytes());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("biased.gguf");
    fs::write(&path, bytes).unwrap();
    let bias = open(&path).unwrap().vector(Tensor::QueryBias(0)).unwrap();
    assert_eq!(bias, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0], "two heads of four, interleaved");
}

#[test]
fn quantised_matrices_decode_as_the_gguf_package_does() {
    let text = fs::read_to_string(testdata("goldens/blocks.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let checkpoint = open(&testdata(golden["file"].as_str().unwrap())).unwrap();
    let mut formats = vec![];
    for tensor in Tensor::all(checkpoint.spec()).into_iter().filter(|t| is_matrix(&checkpoint, *t))
    {
        let golden = &golden["tensors"][tensor.gguf_name()];
        let mut view = checkpoint.matrix(tensor).unwrap();
        view.order = foretoken_tensor::RowOrder::Natural;
        assert_eq!(view.format.name(), golden["format"].as_str().unwrap().to_lowercase());
        let (mut sum, mut weighted) = (0.0, 0.0);
        for (index, value) in view.decode().unwrap().into_iter().enumerate() {
            sum += f64::from(value);
            weighted += f64::from(value) * (index as f64).cos();
        }
        for (found, wanted) in [(sum, &golden["sum"]), (weighted, &golden["weighted"])] {
            let error = (found - wanted.as_f64().unwrap()).abs();
            assert!(error < 1e-3, "{tensor:?}: {found} {wanted}");
        }
        formats.push(view.format);
    }
    for format in ["q8_0", "q4_0", "q4_k", "q5_k", "q6_k"] {
        assert!(formats.iter().any(|found| found.name() == format), "{format} is covered");
    }
}

#[test]
fn stored_formats_are_told_apart() {
    for (case, format) in [
        ("llama-gqa", WeightFormat::F32),
        ("llama-f16", WeightFormat::F16),
        ("llama-bf16", WeightFormat::Bf16),
    ] {
        let checkpoint = open(&testdata("checkpoints").join(case)).unwrap();
        assert_eq!(checkpoint.stored_format(), format);
        assert_eq!(checkpoint.matrix(Tensor::Up(1)).unwrap().format, format);
        let gain = checkpoint.vector(Tensor::FinalNorm).unwrap();
        assert!(gain.iter().all(|x| (0.2..2.0).contains(x)), "{gain:?}");
    }
}

#[test]
fn shards_are_found_by_their_index() {
    let sharded = open(&testdata("checkpoints/llama-sharded")).unwrap();
    assert_eq!(sharded.tensors().count(), Tensor::all(sharded.spec()).len());
    assert_eq!(sharded.spec().output, OutputHead::Own);
    for tensor in Tensor::all(sharded.spec()) {
        assert!(sharded.tensors().any(|stored| stored.name == tensor.hf_name()));
    }
}

fn index(weight_map: &Value) -> String {
    json!({ "metadata": {}, "weight_map": weight_map }).to_string()
}

#[test]
fn shard_names_stay_inside_their_folder() {
    let first = "model-00001-of-00003.safetensors";
    for (shard, message) in [
        ("../model.safetensors", "is no plain file name"),
        ("/etc/passwd", "is no plain file name"),
        ("..", "is no plain file name"),
        ("", "is no plain file name"),
        ("a\\b", "is no plain file name"),
        ("model-00009.safetensors", "does not exist"),
    ] {
        let folder = copy("llama-sharded");
        let map = json!({ "a": first, "b": shard });
        fs::write(folder.path().join("model.safetensors.index.json"), index(&map)).unwrap();
        let found = refusal(folder.path());
        assert!(found.contains(message) && found.contains(shard), "{found}");
    }
    let folder = copy("llama-sharded");
    fs::copy(folder.path().join(first), folder.path().join("again.safetensors")).unwrap();
    let map = json!({ "a": first, "b": "again.safetensors" });
    fs::write(folder.path().join("model.safetensors.index.json"), index(&map)).unwrap();
    assert!(refusal(folder.path()).contains("is in more than one shard"));
    fs::write(folder.path().join("model.safetensors.index.json"), "{\"weight_map\": 3}").unwrap();
    assert!(refusal(folder.path()).contains("is no valid JSON of its kind"));
}

/// Rewrites `model.safetensors` with other names, types, shapes or values.
fn rewrite(folder: &Path, change: impl FnOnce(&mut Value, &mut Vec<u8>)) {
    let path = folder.join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..end]).unwrap();
    let mut data = file[end..].to_vec();
    change(&mut header, &mut data);
    fs::write(&path, safetensors(&header.to_string(), &data)).unwrap();
}

fn rename(header: &mut Value, from: &str, to: &str) {
    let entry = header.as_object_mut().unwrap().remove(from).unwrap();
    header[to] = entry;
}

#[test]
fn missing_misshapen_and_unreadable_tensors_are_named() {
    let name = Tensor::Down(1).hf_name();
    let folder = copy("llama-gqa");
    rewrite(folder.path(), |header, _| rename(header, &name, "model.layers.0.rotary_emb.inv_freq"));
    let error = one_line(&open(folder.path()).unwrap().matrix(Tensor::Down(1)).unwrap_err());
    assert!(error.contains(&format!("the tensor `{name}` is missing")), "{error}");

    let folder = copy("llama-gqa");
    rewrite(folder.path(), |header, _| header[&name]["shape"] = json!([64, 32]));
    let error = one_line(&open(folder.path()).unwrap().matrix(Tensor::Down(1)).unwrap_err());
    assert!(error.contains("has shape [64, 32] where the configuration needs [32, 64]"), "{error}");

    let folder = copy("llama-gqa");
    rewrite(folder.path(), |header, _| header[&name]["dtype"] = json!("I32"));
    let error = one_line(&open(folder.path()).unwrap().matrix(Tensor::Down(1)).unwrap_err());
    assert!(error.contains("is stored as I32, which cannot be read here; use F32"), "{error}");

    let folder = copy("llama-gqa");
    rewrite(folder.path(), |header, _| rename(header, &name, "model.layers.1.mlp.mystery"));
    let error = refusal(folder.path());
    assert!(error.contains("the tensor `model.layers.1.mlp.mystery` is unknown to the family"));
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let name = Tensor::FfnNorm(0).hf_name();
    for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let folder = copy("llama-gqa");
        rewrite(folder.path(), |header, data| {
            let start = header[&name]["data_offsets"][0].as_u64().unwrap() as usize + 4 * 5;
            data[start..start + 4].copy_from_slice(&value.to_le_bytes());
        });
        let error = one_line(&open(folder.path()).unwrap().vector(Tensor::FfnNorm(0)).unwrap_err());
        assert!(error.contains(&format!("`{name}` holds {text} at [5]")), "{error}");
    }
}

#[test]
fn a_tied_head_that_is_stored_counts_where_it_differs() {
    for (spoil, output) in [(false, OutputHead::Tied), (true, OutputHead::Own)] {
        let folder = copy("llama-gqa");
        rewrite(folder.path(), |header, data| {
            let embedding = header["model.embed_tokens.weight"].clone();
            let offsets = &embedding["data_offsets"];
            let range =
                offsets[0].as_u64().unwrap() as usize..offsets[1].as_u64().unwrap() as usize;
            let mut head = data[range].to_vec();
            head[0] ^= u8::from(spoil);
            header["lm_head.weight"] = embedding;
            header["lm_head.weight"]["data_offsets"] = json!([data.len(), data.len() + head.len()]);
            data.extend(head);
        });
        let checkpoint = open(folder.path()).unwrap();
        assert_eq!(checkpoint.spec().output, output);
        assert_eq!(checkpoint.warnings().len(), usize::from(spoil), "{:?}", checkpoint.warnings());
    }
}

#[test]
fn settings_of_generation_are_united() {
    let folder = copy("llama-gqa");
    let path = folder.path().join("generation_config.json");
    let settings = json!({
        "eos_token_id": [7, 2, 5000, -1], "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.9,
        "mystery": 3,
    });
    fs::write(&path, settings.to_string()).unwrap();
    let checkpoint = open(folder.path()).unwrap();
    assert_eq!(checkpoint.eos(), [2, 7]);
    assert_eq!(checkpoint.warnings().len(), 2, "two ids outside: {:?}", checkpoint.warnings());
    let wanted = GenerationDefaults {
        do_sample: Some(true),
        temperature: Some(0.6),
        top_k: Some(20),
        top_p: Some(0.9),
        ..GenerationDefaults::default()
    };
    assert_eq!(checkpoint.generation_defaults(), &wanted);
    for (settings, message) in [
        ("{\"temperature\": -1}", "`temperature` is -1; it must be a finite number of at least 0"),
        ("{\"top_k\": 0.5}", "`top_k` is 0.5; it must be a non-negative integer"),
        ("{\"eos_token_id\": \"x\"}", "`eos_token_id` is \"x\"; it must be a token id or a list"),
        ("[1]", "is no valid JSON of its kind"),
        ("{", "is no valid JSON of its kind"),
    ] {
        fs::write(&path, settings).unwrap();
        let error = refusal(folder.path());
        assert!(error.contains(message) && error.contains("generation_config.json`"), "{error}");
    }
}

fn gguf_refusal(file: &GgufBuilder) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, file.build()).unwrap();
    refusal(&path)
}

#[test]
fn gguf_metadata_is_checked_like_a_configuration() {
    let valid = || tiny_llama().u32("llama.vocab_size", 8);
    let llama = |key: &str, value: u32| valid().u32(&format!("llama.{key}"), value);
    for (file, message) in [
        (GgufBuilder::default(), "`general.architecture` is missing"),
        (
            GgufBuilder::default().string("general.architecture", "gpt2"),
            "`gpt2` is not supported; supported are llama, qwen2, qwen3",
        ),
        (
            GgufBuilder::default().u32("general.architecture", 3),
            "is an integer; it must be a string",
        ),
        (tiny_llama(), "`llama.vocab_size` is missing"),
        (valid().u32("split.count", 3), "`split.count` is 3; it must be 1; merge the parts"),
        (
            llama("expert_count", 8),
            "the key `llama.expert_count` = 8 is unknown to the family `llama`",
        ),
        (llama("attention.head_count_kv", 3), "`llama.attention.head_count_kv` is 3; it must be"),
        (llama("attention.key_length", 3), "`llama.attention.key_length` is 3; it must be even"),
        (
            llama("attention.value_length", 8),
            "`llama.attention.value_length` is 8; it must be the head",
        ),
        (
            llama("rope.dimension_count", 1),
            "`llama.rope.dimension_count` is 1; it must be the head",
        ),
        (valid().string("llama.rope.scaling.type", "longrope"), "it must be none, linear or yarn"),
        (
            valid().string("llama.rope.scaling.type", "yarn"),
            "`llama.rope.scaling.factor` is missing",
        ),
        (
            valid().f32("llama.rope.freq_base", f32::NAN),
            "is NaN; it must be a finite number above 0",
        ),
        (
            valid().string("tokenizer.ggml.eos_token_id", "x"),
            "must be a token id or a list of them",
        ),
        (valid().tensor("mystery", &[1], 99, 0).data(32), "the tensor `mystery` is unknown"),
        (
            valid().tensor("rope_freqs.weight", &[2], 0, 0).data(32),
            "`rope_freqs.weight` has shape [2] where the configuration needs [1]",
        ),
        (
            valid().tensor("rope_freqs.weight", &[1], 0, 0).data(32),
            "`rope_freqs.weight` is 0; it must be above 0 throughout",
        ),
    ] {
        let found = gguf_refusal(&file);
        assert!(found.contains(message) && found.contains("model.gguf`: "), "{found} / {message}");
    }
}

#[test]
fn a_type_that_cannot_be_read_is_an_error_only_when_used() {
    let file = tiny_llama().tensor("token_embd.weight", &[4, 8], 10, 0).data(32);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, file.build()).unwrap();
    let checkpoint = open(&path).unwrap();
    assert_eq!(checkpoint.spec().vocab, 8);
    let error = one_line(&checkpoint.matrix(Tensor::Embedding).unwrap_err());
    assert!(
        error.contains("`token_embd.weight` is stored as ggml type 10, which cannot be"),
        "{error}"
    );
    let error = one_line(&checkpoint.matrix(Tensor::Up(0)).unwrap_err());
    assert!(error.contains("`blk.0.ffn_up.weight` is missing"), "{error}");
}

#[test]
fn gguf_rope_scalings_are_read() {
    let scaling = |file: GgufBuilder| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs::write(&path, file.u32("llama.vocab_size", 8).build()).unwrap();
        open(&path).unwrap().spec().rope.scaling.clone()
    };
    let factor = || tiny_llama().f32("llama.rope.scaling.factor", 4.0);
    assert_eq!(scaling(tiny_llama()), RopeScaling::None);
    assert_eq!(scaling(factor()), RopeScaling::Linear { factor: 4.0 });
    assert_eq!(scaling(factor().string("llama.rope.scaling.type", "none")), RopeScaling::None);
    let old = tiny_llama().f32("llama.rope.scale_linear", 2.0);
    assert_eq!(scaling(old), RopeScaling::Linear { factor: 2.0 });
    let yarn = factor()
        .string("llama.rope.scaling.type", "yarn")
        .u32("llama.rope.scaling.original_context_length", 8);
    let RopeScaling::Yarn { factor, original_context, attention_factor, .. } = scaling(yarn) else {
        panic!("the scaling is yarn")
    };
    assert_eq!((factor, original_context), (4.0, 8));
    assert!((attention_factor - (1.0 + 0.1 * 4f64.ln())).abs() < 1e-12);
}

#[test]
fn published_checkpoints_open() {
    for name in ["stories260K", "llama2xs"] {
        let Some(folder) = shared(&format!("weights/{name}")) else { return };
        let file = folder.join(format!("{name}.gguf"));
        let (folder, file) = (open(&folder).unwrap(), open(&file).unwrap());
        assert_eq!(folder.spec(), file.spec());
        for tensor in Tensor::all(folder.spec()).into_iter().filter(|t| is_matrix(&folder, *t)) {
            assert_eq!(rows(&folder, tensor), rows(&file, tensor), "{name} {tensor:?}");
        }
    }
}
