//! Qwen2 and Qwen2.5: biases on queries, keys and values; sliding windows in the upper layers.

use super::{Family, GgufFamily, HeadSize, QWEN_WINDOW_KEYS, QkRows, base, qwen_layers};
use crate::config::{Config, KeyLists};
use crate::error::ConfigError;
use crate::spec::{AttentionBias, ModelSpec, QkNorm};

pub(super) const FAMILY: Family = Family {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    keys: KeyLists { uses: QWEN_WINDOW_KEYS, ignores: &[] },
    from_config,
    gguf: Some(GgufFamily {
        architecture: "qwen2",
        qk_rows: QkRows::Natural,
        qk_norm: QkNorm::None,
    }),
};

fn from_config(config: &Config<'_>) -> Result<ModelSpec, ConfigError> {
    let base = base(config, FAMILY.name, HeadSize::Split)?;
    Ok(ModelSpec {
        layers: qwen_layers(config, base.layers.len())?,
        attention_bias: AttentionBias::Qkv,
        ..base
    })
}
