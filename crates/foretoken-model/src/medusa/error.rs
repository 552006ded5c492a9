//! Why Medusa heads were refused.

use thiserror::Error;

/// Why files of Medusa heads cannot be used, or do not fit a model.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum MedusaError {
    /// No tensor belongs to a head.
    #[error(
        "it holds no Medusa head; name a folder with medusa_lm_head.safetensors, medusa_lm_head.pt or \
         model.safetensors, or such a file itself"
    )]
    NoHeads,
    /// A tensor that no layout of heads has.
    #[error("the tensor `{name}` belongs to no layout of Medusa heads; remove it from the file")]
    Surplus {
        /// Tensor name.
        name: String,
    },
    /// A tensor that the others ask for.
    #[error(
        "the tensor `{name}` is missing where others of its kind are there; the heads are incomplete, \
         download them again"
    )]
    Missing {
        /// Tensor name.
        name: String,
    },
    /// Two names for one part of a head.
    #[error("the tensors `{first}` and `{second}` are the same part of a head; remove one")]
    Twice {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A shape that contradicts the other tensors.
    #[error("the tensor `{name}` has shape {found:?} where the other heads need {wanted:?}")]
    Shape {
        /// Tensor name.
        name: String,
        /// Its shape, outermost first.
        found: Vec<usize>,
        /// The shape asked for.
        wanted: Vec<usize>,
    },
    /// A list of tokens that is none.
    #[error("the tensor `{name}` must be I64 or I32 and name {rows} different tokens: {problem}")]
    TokenMap {
        /// Tensor name.
        name: String,
        /// Rows of the output matrices.
        rows: usize,
        /// What is wrong.
        problem: String,
    },
    /// Heads of a model of another width.
    #[error(
        "the heads are for a hidden size of {found} (tensor `{tensor}`) where the model has {wanted}; use \
         heads trained for this model"
    )]
    Hidden {
        /// A tensor that says so.
        tensor: String,
        /// The heads' width.
        found: usize,
        /// The model's.
        wanted: usize,
    },
    /// Heads of a model of another vocabulary.
    #[error(
        "the heads are for a vocabulary of {found} tokens (tensor `{tensor}`) where the model has {wanted}; \
         use heads trained for this model"
    )]
    Vocabulary {
        /// A tensor that says so.
        tensor: String,
        /// Rows of the heads' output matrices, or one more than the largest token of their map.
        found: usize,
        /// The model's vocabulary.
        wanted: usize,
    },
    /// Measured rates that make no sense or are those of other heads.
    #[error("the calibration has {problem}; delete it or measure it again")]
    Calibration {
        /// What is wrong.
        problem: String,
    },
    /// A layout that cannot hold these heads.
    #[error(
        "vLLM's layout needs an output matrix in every head, and these share the model's; write them in \
         the published layout"
    )]
    NoOutput,
}
