//! Shapes of well-known models, for benchmarks with random weights.

use foretoken_model::{AttentionBias, FfnBias, ModelSpec, OutputHead, QkNorm, Rope, RopeScaling};
use foretoken_tensor::Reach;

/// The shape of a model. Its vocabulary has 32,000 tokens and its output matrix is the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Name on the command line.
    pub name: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Values per head.
    pub head_size: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
}

/// Every shape.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "smol-135m",
        hidden: 576,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_size: 64,
        ffn: 1536,
    },
    Shape {
        name: "llama-1b",
        hidden: 2048,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        head_size: 64,
        ffn: 8192,
    },
    Shape {
        name: "llama-3b",
        hidden: 3072,
        layers: 28,
        heads: 24,
        kv_heads: 8,
        head_size: 128,
        ffn: 8192,
    },
    Shape {
        name: "llama-8b",
        hidden: 4096,
        layers: 32,
        heads: 32,
        kv_heads: 8,
        head_size: 128,
        ffn: 14336,
    },
];

impl Shape {
    /// The shape of that name.
    pub fn parse(name: &str) -> Option<&'static Self> {
        SHAPES.iter().find(|shape| shape.name == name)
    }

    /// A model of this shape.
    pub(super) fn spec(&self) -> ModelSpec {
        ModelSpec {
            family: "llama",
            vocab: 32_000,
            hidden: self.hidden,
            ffn: self.ffn,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            layers: vec![Reach::Full; self.layers],
            norm_eps: 1e-5,
            qk_norm: QkNorm::None,
            attention_bias: AttentionBias::None,
            ffn_bias: FfnBias::None,
            rope: Rope { theta: 5e5, dims: self.head_size, scaling: RopeScaling::None },
            output: OutputHead::Tied,
            context: 1 << 17,
        }
    }
}
