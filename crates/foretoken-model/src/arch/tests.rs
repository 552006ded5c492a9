//! Configurations and the specs they make.

use foretoken_tensor::Reach;
use serde_json::{Value, json};

use super::{ARCHES, Understood, from_config};
use crate::config::UnknownKeys;
use crate::spec::{AttentionBias, FfnBias, ModelSpec, OutputHead, QkNorm, RopeScaling};

/// A small configuration of `family`, changed by `changes` (null removes nothing, it sets null).
fn config(family: &str, changes: Value) -> Value {
    let mut config = json!({
        "model_type": family, "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 4, "num_attention_heads": 4,
    });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    config.as_object_mut().unwrap().extend(changes);
    config
}

fn understand(family: &str, changes: Value, keys: UnknownKeys) -> Result<Understood, String> {
    let config = config(family, changes);
    from_config(config.as_object().unwrap(), keys).map_err(|error| error.to_string())
}

fn spec(family: &str, changes: Value) -> ModelSpec {
    understand(family, changes, UnknownKeys::Refuse).unwrap().spec
}

fn refusal(family: &str, changes: Value) -> String {
    understand(family, changes, UnknownKeys::Refuse).unwrap_err()
}

#[test]
fn absent_keys_mean_what_transformers_says() {
    let llama = spec("llama", json!({}));
    assert_eq!((llama.kv_heads, llama.head_size, llama.context), (4, 8, 2048));
    assert_eq!((llama.norm_eps, llama.rope.theta, llama.rope.dims), (1e-6, 10_000.0, 8));
    assert_eq!(llama.rope.scaling, RopeScaling::None);
    assert_eq!((llama.output, llama.qk_norm), (OutputHead::Own, QkNorm::None));
    assert_eq!((llama.attention_bias, llama.ffn_bias), (AttentionBias::None, FfnBias::None));
    assert_eq!(llama.layers, [Reach::Full; 4]);
    assert_eq!(spec("qwen2", json!({})).attention_bias, AttentionBias::Qkv);
    let qwen3 = spec("qwen3", json!({}));
    assert_eq!((qwen3.head_size, qwen3.qk_norm), (128, QkNorm::PerHead));
    assert_eq!(qwen3.attention_bias, AttentionBias::None);
}

#[test]
fn biases_are_read() {
    let llama = spec("llama", json!({ "attention_bias": true, "mlp_bias": true }));
    assert_eq!(llama.attention_bias, AttentionBias::QkvOutput);
    assert_eq!(llama.ffn_bias, FfnBias::All);
    let qwen3 = spec("qwen3", json!({ "attention_bias": true }));
    assert_eq!(qwen3.attention_bias, AttentionBias::QkvOutput);
}

#[test]
fn mistral_slides_over_every_layer_unless_null() {
    let window = |changes| spec("mistral", changes).layers;
    assert_eq!(window(json!({ "sliding_window": 8 })), [Reach::Window(8); 4]);
    assert_eq!(window(json!({ "sliding_window": null })), [Reach::Full; 4]);
    assert_eq!(window(json!({})), [Reach::Window(4096); 4]);
}

#[test]
fn qwen_slides_where_transformers_does() {
    let (full, window) = (Reach::Full, Reach::Window(8));
    for family in ["qwen2", "qwen3"] {
        let layers = |changes| spec(family, changes).layers;
        let off = json!({ "sliding_window": 8, "max_window_layers": 1 });
        assert_eq!(layers(off), [full; 4], "use_sliding_window is off by default");
        let on = json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1 });
        assert_eq!(layers(on), [full, window, window, window]);
        let late = json!({ "use_sliding_window": true, "sliding_window": 8 });
        assert_eq!(layers(late), [full; 4], "the first 28 layers are full by default");
        let null =
            json!({ "use_sliding_window": true, "sliding_window": null, "max_window_layers": 0 });
        assert_eq!(layers(null), [full; 4]);
        let types = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"];
        let listed =
            json!({ "use_sliding_window": true, "sliding_window": 8, "layer_types": types });
        assert_eq!(layers(listed), [window, full, window, full]);
        let error = refusal(family, json!({ "layer_types": types }));
        assert!(error.contains("while use_sliding_window is off"), "{error}");
        let error = refusal(family, json!({ "layer_types": ["full_attention"] }));
        assert!(error.contains("`layer_types` is a list of 1; it must be one entry per layer, 4"));
    }
}

#[test]
fn a_key_that_may_change_the_mathematics_is_refused_by_name() {
    for (family, key, value) in [
        ("llama", "quantization_config", json!({ "bits": 4 })),
        ("llama", "logit_scale", json!(0.5)),
        ("llama", "sliding_window", json!(8)),
        ("mistral", "attention_bias", json!(true)),
        ("qwen2", "attention_bias", json!(true)),
        ("qwen3", "auto_map", json!({ "AutoModel": "x.Y" })),
        ("llama", "rope_scaling", json!({ "type": "linear", "factor": 2.0, "mystery": [1] })),
    ] {
        let changes = json!({ key: value });
        let name = if key == "rope_scaling" { "rope_scaling.mystery" } else { key };
        let error = refusal(family, changes.clone());
        assert!(error.starts_with(&format!("the key `{name}` = ")), "{error}");
        assert!(error.contains("--allow-unknown-config"), "{error}");
        let warned = understand(family, changes, UnknownKeys::Warn).unwrap();
        assert!(warned.warnings[0].contains(name), "{:?}", warned.warnings);
    }
}

#[test]
fn unknown_keys_that_ask_for_nothing_are_fine() {
    for value in [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!([]), json!({})]
    {
        assert_eq!(spec("llama", json!({ "mystery": value })), spec("llama", json!({})));
    }
}

#[test]
fn impossible_configurations_name_the_key() {
    let million = 1 << 20;
    for (changes, message) in [
        (json!({ "model_type": null }), "`model_type` is missing".to_owned()),
        (json!({ "model_type": 3 }), "`model_type` is 3; it must be a string".to_owned()),
        (
            json!({ "model_type": "gpt2" }),
            "`gpt2` is not supported; supported are llama, mistral, qwen2, qwen3".to_owned(),
        ),
        (
            json!({ "architectures": ["LlamaForSequenceClassification"] }),
            "`architectures` is LlamaForSequenceClassification; it must be LlamaForCausalLM"
                .to_owned(),
        ),
        (json!({ "hidden_act": "gelu" }), "`hidden_act` is gelu; it must be silu".to_owned()),
        (json!({ "vocab_size": null }), "`vocab_size` is missing".to_owned()),
        (json!({ "vocab_size": -5 }), "`vocab_size` is -5; it must be a non-negative".to_owned()),
        (json!({ "vocab_size": 1.5 }), "`vocab_size` is 1.5; it must be a non-negative".to_owned()),
        (
            json!({ "hidden_size": 0 }),
            format!("`hidden_size` is 0; it must be from 1 to {million}"),
        ),
        (json!({ "hidden_size": 1u64 << 40 }), format!("must be at most {million}")),
        (json!({ "hidden_size": 33 }), "a multiple of num_attention_heads, 4".to_owned()),
        (json!({ "num_hidden_layers": 5000 }), "must be at most 4096".to_owned()),
        (json!({ "num_key_value_heads": 3 }), "a divisor of num_attention_heads, 4".to_owned()),
        (json!({ "num_key_value_heads": 8 }), "must be at most 4".to_owned()),
        (json!({ "head_dim": 7 }), "`head_dim` is 7; it must be even".to_owned()),
        (json!({ "head_dim": million }), "`head_dim` is 1048576; it must be even, and".to_owned()),
        (json!({ "rms_norm_eps": 0.0 }), "`rms_norm_eps` is 0; it must be a finite".to_owned()),
        (json!({ "tie_word_embeddings": "yes" }), "must be true or false".to_owned()),
    ] {
        let error = refusal("llama", changes);
        assert!(error.contains(&message), "{error} / {message}");
    }
}

/// Configurations of published models.
const PUBLISHED: &[(&str, &str)] = &[
    (
        "Llama 3.1",
        r#"{
            "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
            "use_cache": true, "architectures": ["LlamaForCausalLM"], "attention_bias": false,
            "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009],
            "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072,
            "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
            "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.42.3", "vocab_size": 128256
        }"#,
    ),
    (
        "SmolLM2",
        r#"{
            "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
            "use_cache": true, "architectures": ["LlamaForCausalLM"], "attention_bias": false,
            "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 576,
            "intermediate_size": 1536, "is_llama_config": true,
            "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama",
            "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
            "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers_version": "4.42.3",
            "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
            "vocab_size": 49152
        }"#,
    ),
    (
        "Llama 1",
        r#"{
            "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
            "initializer_range": 0.02, "max_sequence_length": 2048,
            "max_position_embeddings": 2048, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 32, "pad_token_id": 0, "rms_norm_eps": 1e-06,
            "torch_dtype": "float16", "transformers_version": "4.28.0.dev0", "use_cache": true,
            "vocab_size": 32000, "tie_word_embeddings": false
        }"#,
    ),
    (
        "Mistral 7B v0.3",
        r#"{
            "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
            "use_cache": true, "architectures": ["MistralForCausalLM"], "bos_token_id": 1,
            "eos_token_id": 2, "hidden_size": 4096, "intermediate_size": 14336,
            "max_position_embeddings": 32768, "model_type": "mistral",
            "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
            "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": null,
            "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.42.0.dev0", "vocab_size": 32768
        }"#,
    ),
    (
        "Qwen2.5",
        r#"{
            "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
            "use_cache": true, "architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643,
            "eos_token_id": 151645, "hidden_size": 896, "intermediate_size": 4864,
            "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2",
            "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers_version": "4.40.1", "use_mrope": false, "use_sliding_window": false,
            "vocab_size": 151936
        }"#,
    ),
    (
        "Qwen3",
        r#"{
            "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
            "use_cache": true, "architectures": ["Qwen3ForCausalLM"], "attention_bias": false,
            "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128,
            "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960,
            "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16,
            "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
            "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers_version": "4.51.0", "use_sliding_window": false,
            "vocab_size": 151936
        }"#,
    ),
];

#[test]
fn published_configurations_are_understood() {
    for (name, config) in PUBLISHED {
        let map = serde_json::from_str(config).unwrap();
        let understood = from_config(&map, UnknownKeys::Refuse);
        let spec = understood.unwrap_or_else(|error| panic!("{name}: {error}")).spec;
        assert!(spec.layers.iter().all(|&reach| reach == Reach::Full), "{name}");
    }
}

#[test]
fn the_lists_of_a_family_are_disjoint() {
    for family in ARCHES {
        let lists = [super::SHARED, family.keys];
        let mut keys: Vec<_> = lists.iter().flat_map(|l| l.uses.iter().chain(l.ignores)).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "{} lists a key twice", family.name);
    }
}
