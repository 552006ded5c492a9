//! How the layouts of Medusa heads call their tensors.

use std::num::Saturating;
use std::ops::Range;

/// A tensor of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeadTensor {
    /// Matrix of a residual block, `[hidden, hidden]`.
    Block {
        /// The head.
        head: usize,
        /// The block, from the input.
        block: usize,
    },
    /// Its bias, `[hidden]`.
    BlockBias {
        /// The head.
        head: usize,
        /// The block, from the input.
        block: usize,
    },
    /// Output matrix, `[vocab, hidden]`.
    Output {
        /// The head.
        head: usize,
    },
}

/// How heads are laid out in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MedusaLayout {
    /// As the authors publish them, `{head}.{index}.linear.weight`; text-generation-inference reads the
    /// same names.
    Published,
    /// The same beneath `medusa_head.` among the tensors of the whole model (Medusa-2).
    InModel,
    /// As vLLM reads them, `blocks.{head}.layers.{index}.weight`.
    Vllm,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Head(HeadTensor),
    /// The published layout's output matrix: its index is the number of blocks.
    Last {
        head: usize,
        index: usize,
    },
    /// A copy of the model's own output matrix (vLLM's `original_lm_head`).
    ModelHead,
    TokenMap,
}

/// What heads in a whole model are called.
pub(super) const IN_MODEL: &str = "medusa_head.";
/// What vLLM leaves out of names.
const VLLM_PREFIX: &str = "medusa_heads.";

/// Understands a name of a file of heads; `None` for one of no layout.
pub(super) fn understand(name: &str) -> Option<(MedusaLayout, Role)> {
    if let Some(name) = name.strip_prefix(IN_MODEL) {
        return published(name).map(|role| (MedusaLayout::InModel, role));
    }
    let plain = name.strip_prefix(VLLM_PREFIX).unwrap_or(name);
    let in_vllm = |role| (MedusaLayout::Vllm, role);
    vllm(plain).map(in_vllm).or_else(|| published(name).map(|role| (MedusaLayout::Published, role)))
}

fn published(name: &str) -> Option<Role> {
    let mut parts = name.splitn(3, '.');
    let (head, index) = (number(parts.next()?)?, number(parts.next()?)?);
    Some(match parts.next()? {
        "linear.weight" => Role::Head(HeadTensor::Block { head, block: index }),
        "linear.bias" => Role::Head(HeadTensor::BlockBias { head, block: index }),
        "weight" => Role::Last { head, index },
        _ => return None,
    })
}

fn vllm(name: &str) -> Option<Role> {
    let parts: Vec<&str> = name.splitn(6, '.').collect();
    Some(match parts[..] {
        ["blocks", head, "layers", block, part] => {
            let (head, block) = (number(head)?, number(block)?);
            match part {
                "weight" => Role::Head(HeadTensor::Block { head, block }),
                "bias" => Role::Head(HeadTensor::BlockBias { head, block }),
                _ => return None,
            }
        }
        ["lm_heads", head, "weight"] => Role::Head(HeadTensor::Output { head: number(head)? }),
        ["lm_head", "weight"] => Role::ModelHead,
        ["token_map"] => Role::TokenMap,
        _ => return None,
    })
}

/// A number as Python prints it.
fn number(text: &str) -> Option<usize> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical && text.len() < 5)
}

/// What a layout calls a tensor of heads with so many blocks.
pub(super) fn name(layout: MedusaLayout, tensor: HeadTensor, blocks: usize) -> String {
    let prefix = if layout == MedusaLayout::InModel { IN_MODEL } else { "" };
    match (layout, tensor) {
        (MedusaLayout::Vllm, HeadTensor::Block { head, block }) => {
            format!("blocks.{head}.layers.{block}.weight")
        }
        (MedusaLayout::Vllm, HeadTensor::BlockBias { head, block }) => {
            format!("blocks.{head}.layers.{block}.bias")
        }
        (MedusaLayout::Vllm, HeadTensor::Output { head }) => format!("lm_heads.{head}.weight"),
        (_, HeadTensor::Block { head, block }) => format!("{prefix}{head}.{block}.linear.weight"),
        (_, HeadTensor::BlockBias { head, block }) => format!("{prefix}{head}.{block}.linear.bias"),
        (_, HeadTensor::Output { head }) => format!("{prefix}{head}.{blocks}.weight"),
    }
}

/// Whether residual blocks have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadBias {
    /// None.
    None,
    /// All.
    All,
}

/// How many heads there are, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MedusaShape {
    /// Heads; head `k` predicts the token `k + 2` places behind the last known one.
    pub count: usize,
    /// Residual blocks per head.
    pub blocks: usize,
    /// Width of the model's final hidden state.
    pub hidden: usize,
    /// Rows of each head's output matrix; `None` where the heads share the model's.
    pub vocab: Option<usize>,
    /// Biases of the blocks.
    pub bias: HeadBias,
}

impl MedusaShape {
    /// Every tensor of heads of this shape, head by head.
    pub fn tensors(&self) -> impl Iterator<Item = HeadTensor> + use<> {
        let Self { blocks, vocab, bias, .. } = *self;
        (0..self.count).flat_map(move |head| {
            let block = move |block| {
                let bias = (bias == HeadBias::All).then_some(HeadTensor::BlockBias { head, block });
                [Some(HeadTensor::Block { head, block }), bias].into_iter().flatten()
            };
            let output = vocab.map(|_| HeadTensor::Output { head });
            Range { start: 0, end: blocks }.flat_map(block).chain(output)
        })
    }

    /// Number of values of all tensors.
    pub fn parameters(&self) -> usize {
        let Self { count, blocks, hidden, vocab, bias } = *self;
        let sizes = [count, blocks, hidden, vocab.unwrap_or(0)].map(Saturating);
        let [count, blocks, hidden, vocab] = sizes;
        let of_bias = match bias {
            HeadBias::None => Saturating(0),
            HeadBias::All => hidden,
        };
        (count * (blocks * (hidden * hidden + of_bias) + vocab * hidden)).0
    }

    /// What a layout calls a tensor.
    pub fn name(&self, layout: MedusaLayout, tensor: HeadTensor) -> String {
        name(layout, tensor, self.blocks)
    }

    /// A tensor's sizes, outermost first.
    pub fn dims(&self, tensor: HeadTensor) -> Vec<usize> {
        match tensor {
            HeadTensor::Block { .. } => vec![self.hidden, self.hidden],
            HeadTensor::BlockBias { .. } => vec![self.hidden],
            HeadTensor::Output { .. } => vec![self.vocab.unwrap_or(0), self.hidden],
        }
    }
}
