//! The tensors of a model: their names in both kinds of checkpoint and their shapes.

use crate::spec::{AttentionBias, FfnBias, ModelSpec, OutputHead, QkNorm};

/// A tensor of a decoder-only transformer; the number is the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tensor {
    /// Token embedding, `[vocab, hidden]`.
    Embedding,
    /// Gain of the norm before the output matrix, `[hidden]`.
    FinalNorm,
    /// Output matrix, `[vocab, hidden]`.
    Head,
    /// Gain of the norm before attention, `[hidden]`.
    AttentionNorm(usize),
    /// Query projection, `[heads * head_size, hidden]`.
    Query(usize),
    /// Its bias, `[heads * head_size]`.
    QueryBias(usize),
    /// Key projection, `[kv_heads * head_size, hidden]`.
    Key(usize),
    /// Its bias, `[kv_heads * head_size]`.
    KeyBias(usize),
    /// Value projection, `[kv_heads * head_size, hidden]`.
    Value(usize),
    /// Its bias, `[kv_heads * head_size]`.
    ValueBias(usize),
    /// Output projection of attention, `[hidden, heads * head_size]`.
    Output(usize),
    /// Its bias, `[hidden]`.
    OutputBias(usize),
    /// Gain of the norm of each head's queries, `[head_size]`.
    QueryNorm(usize),
    /// Gain of the norm of each head's keys, `[head_size]`.
    KeyNorm(usize),
    /// Gain of the norm before the feed-forward layer, `[hidden]`.
    FfnNorm(usize),
    /// Gate projection, `[ffn, hidden]`.
    Gate(usize),
    /// Its bias, `[ffn]`.
    GateBias(usize),
    /// Up projection, `[ffn, hidden]`.
    Up(usize),
    /// Its bias, `[ffn]`.
    UpBias(usize),
    /// Down projection, `[hidden, ffn]`.
    Down(usize),
    /// Its bias, `[hidden]`.
    DownBias(usize),
}

impl Tensor {
    /// The matrix that makes a model's logits.
    pub fn of_output(spec: &ModelSpec) -> Self {
        match spec.output {
            OutputHead::Tied => Self::Embedding,
            OutputHead::Own => Self::Head,
        }
    }

    /// Every tensor that a model of this spec has, each once.
    pub fn all(spec: &ModelSpec) -> Vec<Self> {
        let mut tensors = vec![Self::Embedding, Self::FinalNorm];
        if spec.output == OutputHead::Own {
            tensors.push(Self::Head);
        }
        for layer in 0..spec.layers.len() {
            tensors.extend(
                [
                    Self::AttentionNorm,
                    Self::Query,
                    Self::Key,
                    Self::Value,
                    Self::Output,
                    Self::FfnNorm,
                    Self::Gate,
                    Self::Up,
                    Self::Down,
                ]
                .map(|tensor| tensor(layer)),
            );
            if spec.attention_bias != AttentionBias::None {
                tensors.extend(
                    [Self::QueryBias, Self::KeyBias, Self::ValueBias].map(|tensor| tensor(layer)),
                );
            }
            if spec.attention_bias == AttentionBias::QkvOutput {
                tensors.push(Self::OutputBias(layer));
            }
            if spec.qk_norm == QkNorm::PerHead {
                tensors.extend([Self::QueryNorm(layer), Self::KeyNorm(layer)]);
            }
            if spec.ffn_bias == FfnBias::All {
                tensors.extend(
                    [Self::GateBias, Self::UpBias, Self::DownBias].map(|tensor| tensor(layer)),
                );
            }
        }
        tensors
    }

    /// The tensor's name in a Hugging Face checkpoint.
    pub fn hf_name(self) -> String {
        let (layer, part) = match self {
            Self::Embedding => return "model.embed_tokens.weight".to_owned(),
            Self::FinalNorm => return "model.norm.weight".to_owned(),
            Self::Head => return "lm_head.weight".to_owned(),
            Self::AttentionNorm(i) => (i, "input_layernorm.weight"),
            Self::Query(i) => (i, "self_attn.q_proj.weight"),
            Self::QueryBias(i) => (i, "self_attn.q_proj.bias"),
            Self::Key(i) => (i, "self_attn.k_proj.weight"),
            Self::KeyBias(i) => (i, "self_attn.k_proj.bias"),
            Self::Value(i) => (i, "self_attn.v_proj.weight"),
            Self::ValueBias(i) => (i, "self_attn.v_proj.bias"),
            Self::Output(i) => (i, "self_attn.o_proj.weight"),
            Self::OutputBias(i) => (i, "self_attn.o_proj.bias"),
            Self::QueryNorm(i) => (i, "self_attn.q_norm.weight"),
            Self::KeyNorm(i) => (i, "self_attn.k_norm.weight"),
            Self::FfnNorm(i) => (i, "post_attention_layernorm.weight"),
            Self::Gate(i) => (i, "mlp.gate_proj.weight"),
            Self::GateBias(i) => (i, "mlp.gate_proj.bias"),
            Self::Up(i) => (i, "mlp.up_proj.weight"),
            Self::UpBias(i) => (i, "mlp.up_proj.bias"),
            Self::Down(i) => (i, "mlp.down_proj.weight"),
            Self::DownBias(i) => (i, "mlp.down_proj.bias"),
        };
        format!("model.layers.{layer}.{part}")
    }

    /// The tensor's name in a GGUF file.
    pub fn gguf_name(self) -> String {
        let (layer, part) = match self {
            Self::Embedding => return "token_embd.weight".to_owned(),
            Self::FinalNorm => return "output_norm.weight".to_owned(),
            Self::Head => return "output.weight".to_owned(),
            Self::AttentionNorm(i) => (i, "attn_norm.weight"),
            Self::Query(i) => (i, "attn_q.weight"),
            Self::QueryBias(i) => (i, "attn_q.bias"),
            Self::Key(i) => (i, "attn_k.weight"),
            Self::KeyBias(i) => (i, "attn_k.bias"),
            Self::Value(i) => (i, "attn_v.weight"),
            Self::ValueBias(i) => (i, "attn_v.bias"),
            Self::Output(i) => (i, "attn_output.weight"),
            Self::OutputBias(i) => (i, "attn_output.bias"),
            Self::QueryNorm(i) => (i, "attn_q_norm.weight"),
            Self::KeyNorm(i) => (i, "attn_k_norm.weight"),
            Self::FfnNorm(i) => (i, "ffn_norm.weight"),
            Self::Gate(i) => (i, "ffn_gate.weight"),
            Self::GateBias(i) => (i, "ffn_gate.bias"),
            Self::Up(i) => (i, "ffn_up.weight"),
            Self::UpBias(i) => (i, "ffn_up.bias"),
            Self::Down(i) => (i, "ffn_down.weight"),
            Self::DownBias(i) => (i, "ffn_down.bias"),
        };
        format!("blk.{layer}.{part}")
    }

    /// The shape the tensor has in a model of this spec, outermost first.
    pub fn shape(self, spec: &ModelSpec) -> Vec<usize> {
        let queries = spec.heads * spec.head_size;
        let keys = spec.kv_heads * spec.head_size;
        match self {
            Self::Embedding | Self::Head => vec![spec.vocab, spec.hidden],
            Self::FinalNorm
            | Self::AttentionNorm(_)
            | Self::FfnNorm(_)
            | Self::OutputBias(_)
            | Self::DownBias(_) => vec![spec.hidden],
            Self::Query(_) => vec![queries, spec.hidden],
            Self::QueryBias(_) => vec![queries],
            Self::Key(_) | Self::Value(_) => vec![keys, spec.hidden],
            Self::KeyBias(_) | Self::ValueBias(_) => vec![keys],
            Self::Output(_) => vec![spec.hidden, queries],
            Self::QueryNorm(_) | Self::KeyNorm(_) => vec![spec.head_size],
            Self::Gate(_) | Self::Up(_) => vec![spec.ffn, spec.hidden],
            Self::GateBias(_) | Self::UpBias(_) => vec![spec.ffn],
            Self::Down(_) => vec![spec.hidden, spec.ffn],
        }
    }
}
