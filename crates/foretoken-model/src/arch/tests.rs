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
