//! Llama 1, 2 and 3.x, and everything else that transformers runs as `LlamaForCausalLM`.

use super::{Family, GgufFamily, HeadSize, QkRows, base};
use crate::config::{Config, KeyLists};
use crate::error::ConfigError;
use crate::spec::{AttentionBias, FfnBias, ModelSpec, QkNorm};

pub(super) const FAMILY: Family = Family {
    name: "llama",
    class: "LlamaForCausalLM",
    keys: KeyLists { uses: &["attention_bias", "mlp_bias"], ignores: &[] },
    from_config,
    gguf: Some(GgufFamily {
        architecture: "llama",
        qk_rows: QkRows::Interleaved,
        qk_norm: QkNorm::None,
    }),
};

fn from_config(config: &Config<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(ModelSpec {
        attention_bias: match config.boolean("attention_bias")? {
            Some(true) => AttentionBias::QkvOutput,
            _ => AttentionBias::None,
        },
        ffn_bias: match config.boolean("mlp_bias")? {
            Some(true) => FfnBias::All,
            _ => FfnBias::None,
        },
        ..base(config, FAMILY.name, HeadSize::Split)?
    })
}
