//! What a decoder-only transformer is, once its configuration has been understood.
//!
//! A [`ModelSpec`] holds no file names and no JSON: the readers under `arch/` produce it from
//! `config.json` or GGUF metadata, and the decoder records its program from it. Choices are enums, so
//! that a combination without meaning cannot be written down.

use foretoken_tensor::Reach;

/// The shape and the mathematics of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Family name, such as `llama`.
    pub family: &'static str,
    /// Tokens in the embedding (padding rows included).
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated feed-forward layer.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values per head; `heads * head_size` need not be `hidden`.
    pub head_size: usize,
    /// How far attention reaches, per layer.
    pub layers: Vec<Reach>,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Biases of the attention projections.
    pub attention_bias: AttentionBias,
    /// Biases of the feed-forward projections.
    pub ffn_bias: FfnBias,
    /// Rotary position embedding.
    pub rope: Rope,
    /// The matrix that turns the final norm into logits.
    pub output: OutputHead,
    /// Longest sequence the model is made for, in tokens.
    pub context: usize,
}

/// Norms applied to queries and keys before the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// RMSNorm over each head with one shared gain (Qwen3).
    PerHead,
}

/// Which attention projections carry biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionBias {
    /// None.
    None,
    /// Query, key and value (Qwen2).
    Qkv,
    /// Query, key, value and output (Llama's `attention_bias`).
    QkvOutput,
}

/// Which feed-forward projections carry biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FfnBias {
    /// None.
    None,
    /// Gate, up and down (Llama's `mlp_bias`).
    All,
}

/// The output matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputHead {
    /// The embedding table itself.
    Tied,
    /// A matrix of its own.
    Own,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// Leading values of each head that rotate; even, at most the head size.
    pub dims: usize,
    /// How the frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
}

/// Context extension of [`Rope`].
///
/// A rotation may depend on no pass and no current length, so the scalings that Hugging Face derives
/// from the running length (`dynamic`) are fixed once, from the context asked for at load.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// Positions divided by `factor`.
    Linear {
        /// Stretch.
        factor: f64,
    },
    /// NTK-aware base change, fixed for the context chosen at load.
    Dynamic {
        /// Stretch.
        factor: f64,
        /// Context of pre-training.
        original_context: usize,
    },
    /// Llama 3.1: low frequencies stretched, high ones kept, a ramp between.
    Llama3 {
        /// Stretch of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are stretched.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context of pre-training.
        original_context: usize,
    },
    /// YaRN (Peng et al. 2023).
    Yarn {
        /// Stretch.
        factor: f64,
        /// Context of pre-training.
        original_context: usize,
        /// Rotations at which extrapolation ends.
        beta_fast: f64,
        /// Rotations at which interpolation begins.
        beta_slow: f64,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded to whole dimensions.
        ramp: YarnRamp,
    },
    /// One divisor per frequency (GGUF's `rope_freqs.weight`).
    PerFrequency {
        /// `dims / 2` divisors.
        divisors: Vec<f32>,
    },
}

/// How YaRN places the ends of its ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YarnRamp {
    /// Rounded outwards to whole dimensions (the default).
    Rounded,
    /// Left fractional (`truncate: false`).
    Exact,
}
