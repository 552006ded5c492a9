//! The shape of a model to train.

use std::num::Saturating;

use foretoken_model::{
    AttentionBias, FfnBias, ModelSpec, OutputHead, QkNorm, Rope, RopeScaling, Tensor,
};
use foretoken_tensor::Reach;

use crate::error::TrainError;
use crate::loss::LOGITS;

/// Most layers of a model, and most of everything else: products of sizes stay numbers.
const LAYERS: usize = 1 << 12;
const SIZE: usize = 1 << 24;

/// The shape of a plain Llama: no biases, no norms of heads, no scaled rotations.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaShape {
    /// Tokens.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values per head; even.
    pub head_size: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// The output matrix.
    pub output: OutputHead,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Longest sequence.
    pub context: usize,
}

impl LlamaShape {
    /// The shape of an opened model; `model` names it in messages.
    ///
    /// # Errors
    /// If the model has more than a plain Llama.
    pub fn of_spec(spec: &ModelSpec, model: &str) -> Result<Self, TrainError> {
        let rope = &spec.rope;
        let others = [
            (spec.qk_norm != QkNorm::None, "norms of queries and keys"),
            (spec.attention_bias != AttentionBias::None, "biases in attention"),
            (spec.ffn_bias != FfnBias::None, "biases in its feed-forward layers"),
            (spec.layers.iter().any(|reach| *reach != Reach::Full), "windowed attention"),
            (rope.scaling != RopeScaling::None, "scaled rotations"),
            (rope.dims != spec.head_size, "partly rotated heads"),
        ];
        if let Some((_, what)) = others.iter().find(|(has, _)| *has) {
            return Err(TrainError::Unsupported { model: model.to_owned(), what });
        }
        Ok(Self {
            vocab: spec.vocab,
            hidden: spec.hidden,
            layers: spec.layers.len(),
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_size: spec.head_size,
            ffn: spec.ffn,
            output: spec.output,
            rope_theta: rope.theta,
            norm_eps: spec.norm_eps,
            context: spec.context,
        })
    }

    /// The spec that a decoder of this model has.
    pub fn spec(&self) -> ModelSpec {
        ModelSpec {
            family: "llama",
            vocab: self.vocab,
            hidden: self.hidden,
            ffn: self.ffn,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            layers: vec![Reach::Full; self.layers],
            norm_eps: self.norm_eps,
            qk_norm: QkNorm::None,
            attention_bias: AttentionBias::None,
            ffn_bias: FfnBias::None,
            rope: Rope { theta: self.rope_theta, dims: self.head_size, scaling: RopeScaling::None },
            output: self.output,
            context: self.context,
        }
    }

    /// Number of parameters; a tied output matrix counts once.
    pub fn parameters(&self) -> usize {
        let spec = self.spec();
        let sizes =
            |tensor: &Tensor| tensor.shape(&spec).into_iter().fold(1, usize::saturating_mul);
        self.tensors().iter().map(sizes).fold(0, usize::saturating_add)
    }

    /// Bytes of memory that a step on so many tokens needs beside the parameters: activations, their
    /// gradients, a block of logits and a packed matrix, as `docs/training.md` counts them.
    pub fn step_bytes(&self, tokens: usize) -> usize {
        let Self { vocab, hidden, layers, heads, kv_heads, head_size, ffn, .. } = *self;
        let rest = Saturating(LOGITS.max(vocab)) + Saturating(hidden) * Saturating(vocab.max(ffn));
        let sizes = [tokens, layers, hidden, heads, kv_heads, head_size, ffn].map(Saturating);
        let [tokens, layers, hidden, heads, kv_heads, head_size, ffn] = sizes;
        let (two, six) = (Saturating(2), Saturating(6));
        let heads_values = two * (heads + kv_heads) * head_size;
        let saved = two * hidden + heads_values + heads + two * ffn;
        let shared = six * hidden + heads_values + ffn;
        let floats = tokens * (layers * saved + shared) + rest;
        (floats * Saturating(size_of::<f32>())).0
    }

    /// Refuses shapes that are no model.
    ///
    /// # Errors
    /// If a size is 0 or beyond all models, or heads do not fit one another.
    pub fn check(&self) -> Result<(), TrainError> {
        let sizes = [
            ("vocab", self.vocab),
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_size", self.head_size),
            ("ffn", self.ffn),
            ("context", self.context),
        ];
        let shape = |what: String| Err(TrainError::Shape { what });
        for (name, size) in sizes {
            let most = if name == "layers" { LAYERS } else { SIZE };
            if !(1..=most).contains(&size) {
                return shape(format!("{name} is {size}; give 1 to {most}"));
            }
        }
        let Self { heads, kv_heads, head_size, .. } = self;
        if !heads.is_multiple_of(*kv_heads) {
            return shape(format!(
                "{heads} heads are no multiple of {kv_heads} key heads; change either"
            ));
        }
        if !head_size.is_multiple_of(2) {
            return shape(format!(
                "a head of {head_size} values cannot rotate; choose an even size"
            ));
        }
        Ok(())
    }

    /// The tensors in the order of a model's parameters: embedding, layers, final norm, head.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let layer = |layer| {
            [
                Tensor::AttentionNorm,
                Tensor::Query,
                Tensor::Key,
                Tensor::Value,
                Tensor::Output,
                Tensor::FfnNorm,
                Tensor::Gate,
                Tensor::Up,
                Tensor::Down,
            ]
            .map(|tensor: fn(usize) -> Tensor| tensor(layer))
        };
        let mut tensors = vec![Tensor::Embedding];
        tensors.extend((0..self.layers).flat_map(layer));
        tensors.push(Tensor::FinalNorm);
        tensors.extend((self.output == OutputHead::Own).then_some(Tensor::Head));
        tensors
    }
}
