//! Model families: from a configuration to a [`ModelSpec`].
//!
//! A family is one file and one line in [`ARCHES`]. It says which configuration keys it reads, which
//! it may ignore, and how the spec differs from the plain transformer of [`base`]. It knows no
//! weights' bytes, no backend and no drafting method.

mod gguf;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;

use foretoken_tensor::Reach;
use serde_json::{Map, Value};

pub(crate) use self::gguf::ROPE_FREQS;
use crate::config::{Config, KeyLists, MAX_CONTEXT, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, UnknownKeys};
use crate::error::ConfigError;
use crate::gguf::Gguf;
use crate::spec::{AttentionBias, FfnBias, ModelSpec, OutputHead, QkNorm};

/// All supported families.
pub const ARCHES: &[&Family] = &[&llama::FAMILY, &mistral::FAMILY, &qwen2::FAMILY, &qwen3::FAMILY];

/// A model family.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in `config.json`, and the family's name everywhere else.
    pub name: &'static str,
    /// The entry of `architectures` it runs.
    pub class: &'static str,
    /// Keys of `config.json` beyond those that every family shares.
    pub keys: KeyLists,
    /// `config.json` to spec.
    pub from_config: fn(&Config<'_>) -> Result<ModelSpec, ConfigError>,
    /// The family as GGUF, unless another family's GGUF serves it.
    pub gguf: Option<GgufFamily>,
}

/// What differs between a family's Hugging Face and GGUF forms.
#[derive(Debug)]
pub struct GgufFamily {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Order of the rows of query and key projections.
    pub qk_rows: QkRows,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
}

/// How a GGUF architecture stores query and key projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkRows {
    /// As Hugging Face does.
    Natural,
    /// Each head's rows interleaved, for ggml's rotation of neighbouring pairs.
    Interleaved,
}

/// Keys of `config.json` that every family shares.
const SHARED: KeyLists = KeyLists {
    uses: &[
        "model_type",
        "architectures",
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "hidden_act",
        "rms_norm_eps",
        "max_position_embeddings",
        "tie_word_embeddings",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "partial_rotary_factor",
    ],
    ignores: &[
        // Of heads beside the model, which are counted from their tensors.
        "medusa_num_heads",
        "medusa_num_layers",
        // Read elsewhere, as settings of generation.
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "max_length",
        "max_sequence_length",
        "max_new_tokens",
        // About the file or its tools.
        "_name_or_path",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "tokenizer_class",
        "transformers.js_config",
        "is_llama_config",
        "unsloth_version",
        "unsloth_fixed",
        "model_name",
        // About training, caching and what transformers returns.
        "initializer_range",
        "attention_dropout",
        "hidden_dropout",
        "use_cache",
        "pretraining_tp",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "torchscript",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_flash_attn_2_enabled",
        "gradient_checkpointing",
        "chunk_size_feed_forward",
        "id2label",
        "label2id",
        "problem_type",
        "task_specific_params",
        "tie_encoder_decoder",
    ],
};

/// A configuration that has been understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Understood {
    pub(crate) spec: ModelSpec,
    pub(crate) qk_rows: QkRows,
    pub(crate) warnings: Vec<String>,
}

/// Understands a `config.json`.
pub(crate) fn from_config(
    map: &Map<String, Value>,
    unknown_keys: UnknownKeys,
) -> Result<Understood, ConfigError> {
    let shared = [SHARED];
    let kind = Config::new(map, &shared);
    let name = kind.text("model_type")?;
    let name = name.ok_or_else(|| ConfigError::Missing { key: "model_type".to_owned() })?;
    let family = ARCHES.iter().find(|family| family.name == name);
    let family = family.ok_or_else(|| ConfigError::Family {
        found: name.to_owned(),
        known: list(ARCHES.iter().map(|family| family.name)),
    })?;
    if let Some(classes) = kind.texts("architectures")?
        && !classes.is_empty()
        && !classes.contains(&family.class)
    {
        return Err(kind.refuse("architectures", &classes.join(", "), family.class));
    }
    let lists = [SHARED, family.keys];
    let config = Config::new(map, &lists);
    let spec = (family.from_config)(&config)?;
    let unknown = config.unknown().chain(config.unknown_rope_keys()?);
    let warnings = settle(unknown, family.name, unknown_keys)?;
    Ok(Understood { spec, qk_rows: QkRows::Natural, warnings })
}

/// Understands the metadata and the tensor table of a GGUF file.
pub(crate) fn from_gguf(gguf: &Gguf, unknown_keys: UnknownKeys) -> Result<Understood, ConfigError> {
    let key = "general.architecture";
    let name = gguf.str(key)?.ok_or_else(|| ConfigError::Missing { key: key.to_owned() })?;
    let all = || ARCHES.iter().filter_map(|family| Some((family.name, family.gguf.as_ref()?)));
    let found = all().find(|(_, gguf)| gguf.architecture == name);
    let (family, container) = found.ok_or_else(|| ConfigError::Family {
        found: name.to_owned(),
        known: list(all().map(|(_, gguf)| gguf.architecture)),
    })?;
    let key = "split.count";
    if let Some(parts) = gguf.u64(key)?
        && parts > 1
    {
        let wanted = "1; merge the parts into one file with `llama-gguf-split --merge`".to_owned();
        return Err(ConfigError::Value { key: key.to_owned(), found: parts.to_string(), wanted });
    }
    let (spec, unknown) = gguf::spec(gguf, family, container)?;
    let warnings = settle(unknown.into_iter(), family, unknown_keys)?;
    Ok(Understood { spec, qk_rows: container.qk_rows, warnings })
}

/// Refuses the first unknown key, or warns of each.
fn settle(
    unknown: impl Iterator<Item = (String, String)>,
    family: &'static str,
    unknown_keys: UnknownKeys,
) -> Result<Vec<String>, ConfigError> {
    let mut warnings = Vec::new();
    for (key, found) in unknown {
        match unknown_keys {
            UnknownKeys::Refuse => return Err(ConfigError::UnknownKey { key, found, family }),
            UnknownKeys::Warn => {
                warnings.push(format!("ignoring the unknown key `{key}` = {found}"));
            }
        }
    }
    Ok(warnings)
}

fn list(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// How a family derives the size of its heads where the configuration does not say it.
#[derive(Debug, Clone, Copy)]
enum HeadSize {
    /// The width split among the heads.
    Split,
    /// A size of its own.
    Fixed(usize),
}

/// The plain transformer of the shared keys: full attention, no biases, no norms of queries and keys.
fn base(
    config: &Config<'_>,
    family: &'static str,
    head_size: HeadSize,
) -> Result<ModelSpec, ConfigError> {
    if let Some(act) = config.text("hidden_act")?
        && act != "silu"
    {
        return Err(config.refuse("hidden_act", &act, "silu"));
    }
    let hidden = config.required_size("hidden_size", MAX_WIDTH)?;
    let heads = config.required_size("num_attention_heads", MAX_WIDTH)?;
    let kv_heads = config.size("num_key_value_heads", heads)?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let wanted = format!("a divisor of num_attention_heads, {heads}");
        return Err(config.refuse("num_key_value_heads", &kv_heads, wanted));
    }
    let head_size = match (config.size("head_dim", MAX_WIDTH)?, head_size) {
        (Some(size), _) | (None, HeadSize::Fixed(size)) => size,
        (None, HeadSize::Split) if hidden.is_multiple_of(heads) => hidden / heads,
        (None, HeadSize::Split) => {
            let wanted = format!("a multiple of num_attention_heads, {heads}");
            return Err(config.refuse("hidden_size", &hidden, wanted));
        }
    };
    if !head_size.is_multiple_of(2) || head_size.saturating_mul(heads) > MAX_WIDTH {
        let wanted = format!("even, and at most {MAX_WIDTH} for all {heads} heads");
        return Err(config.refuse("head_dim", &head_size, wanted));
    }
    let context = config.size("max_position_embeddings", MAX_CONTEXT)?.unwrap_or(2048);
    let layers = config.required_size("num_hidden_layers", MAX_LAYERS)?;
    Ok(ModelSpec {
        family,
        vocab: config.required_size("vocab_size", MAX_VOCAB)?,
        hidden,
        ffn: config.required_size("intermediate_size", MAX_WIDTH)?,
        heads,
        kv_heads,
        head_size,
        layers: vec![Reach::Full; layers],
        norm_eps: config.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        qk_norm: QkNorm::None,
        attention_bias: AttentionBias::None,
        ffn_bias: FfnBias::None,
        rope: config.rope(head_size, context)?,
        output: match config.boolean("tie_word_embeddings")? {
            Some(true) => OutputHead::Tied,
            _ => OutputHead::Own,
        },
        context,
    })
}

/// The sliding window of `key`, if present.
fn window(config: &Config<'_>, key: &str) -> Result<Option<Reach>, ConfigError> {
    let size = config.size(key, u32::MAX as usize)?;
    Ok(size.map(|size| Reach::Window(size as u32)))
}

/// Keys of the Qwen families' sliding windows.
const QWEN_WINDOW_KEYS: &[&str] =
    &["use_sliding_window", "sliding_window", "max_window_layers", "layer_types"];

/// transformers' default of `max_window_layers`.
const DEFAULT_MAX_WINDOW_LAYERS: usize = 28;

/// The Qwen families' reach per layer: `layer_types` where it is given, else a window from layer
/// `max_window_layers` on; none of it without `use_sliding_window`.
fn qwen_layers(config: &Config<'_>, layers: usize) -> Result<Vec<Reach>, ConfigError> {
    let enabled = config.boolean("use_sliding_window")?.unwrap_or(false);
    let window = window(config, "sliding_window")?.filter(|_| enabled);
    let first =
        config.integer("max_window_layers", usize::MAX)?.unwrap_or(DEFAULT_MAX_WINDOW_LAYERS);
    let Some(types) = config.texts("layer_types")? else {
        let reach = |layer| window.filter(|_| layer >= first).unwrap_or(Reach::Full);
        return Ok((0..layers).map(reach).collect());
    };
    if types.len() != layers {
        let found = format!("a list of {}", types.len());
        return Err(config.refuse("layer_types", &found, format!("one entry per layer, {layers}")));
    }
    let reach = |&kind: &&str| match (kind, window) {
        ("full_attention", _) => Ok(Reach::Full),
        ("sliding_attention", Some(window)) => Ok(window),
        ("sliding_attention", None) => {
            let wanted = "full_attention throughout while use_sliding_window is off";
            Err(config.refuse("layer_types", &kind, wanted))
        }
        _ => Err(config.refuse("layer_types", &kind, "full_attention or sliding_attention")),
    };
    types.iter().map(reach).collect()
}

#[cfg(test)]
mod tests;
