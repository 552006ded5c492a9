//! GGUF metadata to [`ModelSpec`], for every family: the keys are the same under each architecture's
//! name, and what a family adds can be told from the tensors.

use foretoken_tensor::{Reach, RowOrder};

use super::{GgufFamily, MAX_CONTEXT, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, QkRows};
use crate::config::yarn_magnitude;
use crate::error::ConfigError;
use crate::gguf::Gguf;
use crate::spec::{AttentionBias, FfnBias, ModelSpec, OutputHead, Rope, RopeScaling, YarnRamp};

/// Keys under the architecture's name that are read.
const USES: &[&str] = &[
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
];
/// Keys under the architecture's name without influence on what the model computes.
const IGNORES: &[&str] = &["rope.scaling.finetuned", "tensor_data_layout"];
/// The tensor of per-frequency divisors.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";

/// The spec of a file, without the divisors of [`ROPE_FREQS`], and the metadata keys that no list
/// names.
pub(super) fn spec(
    gguf: &Gguf,
    family: &'static str,
    container: &GgufFamily,
) -> Result<(ModelSpec, Vec<(String, String)>), ConfigError> {
    let meta = Metadata { gguf, architecture: container.architecture };
    let hidden = meta.required_size("embedding_length", MAX_WIDTH)?;
    let heads = meta.required_size("attention.head_count", MAX_WIDTH)?;
    let kv_heads = meta.size("attention.head_count_kv", heads)?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let wanted = format!("a divisor of the {heads} heads");
        return Err(meta.refuse("attention.head_count_kv", &kv_heads, wanted));
    }
    let context = meta.required_size("context_length", MAX_CONTEXT)?;
    let layers = meta.required_size("block_count", MAX_LAYERS)?;
    let reach = match meta.size("attention.sliding_window", u32::MAX as usize)? {
        Some(window) => Reach::Window(window as u32),
        None => Reach::Full,
    };
    let head_size = meta.head_size(hidden, heads)?;
    let has = |name: &str| gguf.tensor(name).is_some();
    let spec = ModelSpec {
        family,
        vocab: meta.vocabulary()?,
        hidden,
        ffn: meta.required_size("feed_forward_length", MAX_WIDTH)?,
        heads,
        kv_heads,
        head_size,
        layers: vec![reach; layers],
        norm_eps: meta
            .positive("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| meta.missing("attention.layer_norm_rms_epsilon"))?
            as f32,
        qk_norm: container.qk_norm,
        attention_bias: match (has("blk.0.attn_q.bias"), has("blk.0.attn_output.bias")) {
            (false, _) => AttentionBias::None,
            (true, false) => AttentionBias::Qkv,
            (true, true) => AttentionBias::QkvOutput,
        },
        ffn_bias: if has("blk.0.ffn_gate.bias") { FfnBias::All } else { FfnBias::None },
        rope: meta.rope(head_size, context)?,
        output: if has("output.weight") { OutputHead::Own } else { OutputHead::Tied },
        context,
    };
    Ok((spec, meta.unknown()))
}

impl QkRows {
    /// The order of the rows of a query or key projection.
    pub(crate) fn order(self, head_size: usize) -> RowOrder {
        match self {
            Self::Natural => RowOrder::Natural,
            Self::Interleaved => RowOrder::InterleavedHeads { head_size },
        }
    }
}

/// The metadata under an architecture's name.
struct Metadata<'a> {
    gguf: &'a Gguf,
    architecture: &'static str,
}

impl Metadata<'_> {
    fn full(&self, key: &str) -> String {
        debug_assert!(USES.contains(&key), "only listed keys are read: {key}");
        format!("{}.{key}", self.architecture)
    }

    fn size(&self, key: &str, max: usize) -> Result<Option<usize>, ConfigError> {
        match self.gguf.u64(&self.full(key))? {
            None => Ok(None),
            Some(size) if (1..=max as u64).contains(&size) => Ok(Some(size as usize)),
            Some(size) => Err(self.refuse(key, &size, format!("from 1 to {max}"))),
        }
    }

    fn required_size(&self, key: &str, max: usize) -> Result<usize, ConfigError> {
        self.size(key, max)?.ok_or_else(|| self.missing(key))
    }

    fn positive(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.gguf.f64(&self.full(key))? {
            None => Ok(None),
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            Some(x) => Err(self.refuse(key, &x, "a finite number above 0".to_owned())),
        }
    }

    fn missing(&self, key: &str) -> ConfigError {
        ConfigError::Missing { key: self.full(key) }
    }

    fn refuse(&self, key: &str, found: &dyn ToString, wanted: String) -> ConfigError {
        ConfigError::Value { key: self.full(key), found: found.to_string(), wanted }
    }

    /// Rows of the embedding; the key may be absent or stale.
    fn vocabulary(&self) -> Result<usize, ConfigError> {
        match self.gguf.tensor("token_embd.weight").map(|tensor| tensor.shape.as_slice()) {
            Some(&[rows, _]) if (1..=MAX_VOCAB).contains(&rows) => Ok(rows),
            _ => self.required_size("vocab_size", MAX_VOCAB),
        }
    }

    fn head_size(&self, hidden: usize, heads: usize) -> Result<usize, ConfigError> {
        let key = "attention.key_length";
        let size = match self.size(key, MAX_WIDTH)? {
            Some(size) => size,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return Err(self.missing(key)),
        };
        if !size.is_multiple_of(2) || size.saturating_mul(heads) > MAX_WIDTH {
            let wanted = format!("even, and at most {MAX_WIDTH} for all {heads} heads");
            return Err(self.refuse(key, &size, wanted));
        }
        for key in ["attention.value_length", "rope.dimension_count"] {
            if let Some(other) = self.size(key, MAX_WIDTH)?
                && other != size
            {
                return Err(self.refuse(key, &other, format!("the head size, {size}")));
            }
        }
        Ok(size)
    }

    fn rope(&self, head_size: usize, context: usize) -> Result<Rope, ConfigError> {
        let theta = self.positive("rope.freq_base")?.unwrap_or(10_000.0);
        if theta <= 1.0 {
            return Err(self.refuse("rope.freq_base", &theta, "above 1".to_owned()));
        }
        Ok(Rope { theta, dims: head_size, scaling: self.scaling(context)? })
    }

    fn scaling(&self, context: usize) -> Result<RopeScaling, ConfigError> {
        // A factor without a type is linear, and llama.cpp takes a factor of 0 for absent.
        let key = "rope.scaling.type";
        let kind = self.gguf.str(&self.full(key))?.unwrap_or("linear");
        let mut factor = None;
        for key in ["rope.scaling.factor", "rope.scale_linear"] {
            if factor.is_none() && self.gguf.f64(&self.full(key))? != Some(0.0) {
                factor = self.positive(key)?;
            }
        }
        match (kind, factor) {
            ("none", _) | ("linear", None) => Ok(RopeScaling::None),
            ("linear", Some(factor)) => Ok(RopeScaling::Linear { factor }),
            ("yarn", Some(factor)) => self.yarn(factor, context),
            ("yarn", None) => Err(self.missing("rope.scaling.factor")),
            (other, _) => Err(self.refuse(key, &other, "none, linear or yarn".to_owned())),
        }
    }

    fn yarn(&self, factor: f64, context: usize) -> Result<RopeScaling, ConfigError> {
        let original = self.size("rope.scaling.original_context_length", MAX_CONTEXT)?;
        let mut attention_factor = yarn_magnitude(factor, 1.0);
        for key in ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"] {
            attention_factor *= self.positive(key)?.unwrap_or(1.0);
        }
        Ok(RopeScaling::Yarn {
            factor,
            original_context: original.unwrap_or(context),
            beta_fast: self.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            attention_factor,
            ramp: YarnRamp::Rounded,
        })
    }

    /// The keys under the architecture's name that no list names and that are set to something.
    fn unknown(&self) -> Vec<(String, String)> {
        let unknown = |full: &str| {
            let own = full.strip_prefix(self.architecture).and_then(|key| key.strip_prefix('.'));
            own.is_some_and(|key| !USES.contains(&key) && !IGNORES.contains(&key))
        };
        self.gguf
            .metadata()
            .iter()
            .filter(|(full, value)| unknown(full) && value.is_set())
            .map(|(full, value)| (full.clone(), value.describe()))
            .collect()
    }
}
