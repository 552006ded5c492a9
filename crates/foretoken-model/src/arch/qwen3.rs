//! Qwen3: a norm on each head's queries and keys, heads of their own size, no biases by default.

use super::{Family, GgufFamily, HeadSize, QkRows, base, qwen_layers};
use crate::config::{Config, KeyLists};
use crate::error::ConfigError;
use crate::spec::{AttentionBias, ModelSpec, QkNorm};

/// transformers' head size where the configuration names none.
const DEFAULT_HEAD_SIZE: usize = 128;

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    keys: KeyLists { uses: KEYS, ignores: &[] },
    from_config,
    gguf: Some(GgufFamily {
        architecture: "qwen3",
        qk_rows: QkRows::Natural,
        qk_norm: QkNorm::PerHead,
    }),
};

const KEYS: &[&str] =
    &["attention_bias", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"];

fn from_config(config: &Config<'_>) -> Result<ModelSpec, ConfigError> {
    let base = base(config, FAMILY.name, HeadSize::Fixed(DEFAULT_HEAD_SIZE))?;
    Ok(ModelSpec {
        layers: qwen_layers(config, base.layers.len())?,
        qk_norm: QkNorm::PerHead,
        attention_bias: match config.boolean("attention_bias")? {
            Some(true) => AttentionBias::QkvOutput,
            _ => AttentionBias::None,
        },
        ..base
    })
}
