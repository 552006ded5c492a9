//! Mistral: Llama with one sliding window for all layers (Jiang et al. 2023). Its GGUF files are
//! written as architecture `llama`.

use foretoken_tensor::Reach;

use super::{Family, HeadSize, base, window};
use crate::config::{Config, KeyLists};
use crate::error::ConfigError;
use crate::spec::ModelSpec;

/// transformers' default where the key is absent; null means full attention.
const DEFAULT_WINDOW: Reach = Reach::Window(4096);

pub(super) const FAMILY: Family = Family {
    name: "mistral",
    class: "MistralForCausalLM",
    keys: KeyLists { uses: &["sliding_window"], ignores: &[] },
    from_config,
    gguf: None,
};

fn from_config(config: &Config<'_>) -> Result<ModelSpec, ConfigError> {
    let mut spec = base(config, FAMILY.name, HeadSize::Split)?;
    let reach = match window(config, "sliding_window")? {
        Some(window) => window,
        None if config.contains("sliding_window") => Reach::Full,
        None => DEFAULT_WINDOW,
    };
    spec.layers.fill(reach);
    Ok(spec)
}
