//! Weight formats and views of stored matrices.

use thiserror::Error;

/// How a matrix's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// GGUF `Q8_0`: groups of 32 signed bytes with one f16 scale.
    Q8_0,
    /// GGUF `Q4_0`: groups of 32 nibbles less 8 with one f16 scale.
    Q4_0,
    /// GGUF `Q4_K`: 256 values, eight 6-bit scales and minima.
    Q4K,
    /// GGUF `Q5_K`: as `Q4_K` with a fifth bit.
    Q5K,
    /// GGUF `Q6_K`: 256 values, sixteen 8-bit scales.
    Q6K,
}

/// In which order a stored matrix holds its output rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As the program counts them.
    Natural,
    /// GGUF's Llama layout of query and key projections: within each head of `head_size` rows, row
    /// `2 i + h` holds what the halves layout of [`Op::Rotate`](crate::Op) calls row `i + h * head_size / 2`.
    InterleavedHeads {
        /// Rows per head.
        head_size: usize,
    },
}

impl RowOrder {
    /// The stored row that holds output `row`.
    pub fn stored(self, row: usize) -> usize {
        match self {
            Self::Natural => row,
            Self::InterleavedHeads { head_size } => {
                let (head, i, half) = (row / head_size, row % head_size, head_size / 2);
                head * head_size + 2 * (i % half) + i / half
            }
        }
    }
}

/// A stored matrix, borrowed: `rows` outputs of `cols` inputs each, row-major.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'a> {
    /// Tensor name, for errors.
    pub name: &'a str,
    /// Storage format.
    pub format: WeightFormat,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Order of the output rows.
    pub order: RowOrder,
    /// `rows` times the format's bytes per row; no alignment is assumed.
    pub data: &'a [u8],
}

/// Why a matrix could not be packed.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PackError {
    /// A weight is infinite or not a number.
    #[error("tensor `{name}` holds {value} at [{row}, {col}]; weights must be finite")]
    NotFinite {
        /// Tensor name.
        name: String,
        /// Output row.
        row: usize,
        /// Input column.
        col: usize,
        /// The value found.
        value: f32,
    },
    /// The data do not have the length the shape asks for.
    #[error("tensor `{name}` has {found} bytes where its shape [{rows}, {cols}] needs {needed}")]
    Length {
        /// Tensor name.
        name: String,
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
    /// A block format's block does not divide the row.
    #[error(
        "tensor `{name}` has rows of {cols} values, which is no multiple of its block of {block}"
    )]
    Block {
        /// Tensor name.
        name: String,
        /// Inputs.
        cols: usize,
        /// Values per block.
        block: usize,
    },
    /// No encoder to the wanted format exists.
    #[error("tensor `{name}` cannot be converted to {wanted}; choose f32, bf16, q8_0 or q4_0")]
    Target {
        /// Tensor name.
        name: String,
        /// Name of the wanted format.
        wanted: &'static str,
    },
}
