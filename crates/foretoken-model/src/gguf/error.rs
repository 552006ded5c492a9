//! What can be wrong with a GGUF header.

use thiserror::Error;

/// Why a GGUF header could not be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GgufError {
    /// The first four bytes are not `GGUF`.
    #[error("the file does not begin with `GGUF`, so it is no GGUF file")]
    Magic,
    /// A version other than 2 and 3.
    #[error(
        "GGUF version {0} is not supported; convert the model again with a current tool (2 or 3)"
    )]
    Version(u32),
    /// The file's integers are in big-endian order.
    #[error("the file is big-endian; convert the model again for a little-endian machine")]
    BigEndian,
    /// The file ends inside its header.
    #[error(
        "the file is truncated: {what} at byte {at} needs {needed} bytes where {left} are left; \
         download it again"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where.
        at: usize,
        /// Bytes it needs at least.
        needed: u64,
        /// Bytes left.
        left: usize,
    },
    /// A string beyond the limit.
    #[error("the string at byte {at} claims {length} bytes; the limit is {limit}")]
    StringTooLong {
        /// Where the string begins.
        at: usize,
        /// Its claimed length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// A string that is not UTF-8.
    #[error("the string at byte {at} is not UTF-8")]
    Utf8 {
        /// Where the string begins.
        at: usize,
    },
    /// An undefined value type.
    #[error("metadata key `{key}` has the undefined value type {kind}")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        kind: u32,
    },
    /// An array of arrays.
    #[error("metadata key `{key}` is an array of arrays, which no reader of GGUF supports")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A truth value other than 0 and 1.
    #[error("metadata key `{key}` holds the truth value {value}; it must be 0 or 1")]
    Bool {
        /// The key.
        key: String,
        /// The byte found.
        value: u8,
    },
    /// An integer of 2^63 or more.
    #[error("metadata key `{key}` holds {value}, which is beyond the supported 2^63 - 1")]
    Integer {
        /// The key.
        key: String,
        /// The value found.
        value: u64,
    },
    /// A name that occurs twice.
    #[error("the {what} `{name}` occurs twice")]
    Duplicate {
        /// Kind of name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An impossible alignment.
    #[error("`general.alignment` is {0}; it must be a power of two of at most 1048576")]
    Alignment(u64),
    /// A tensor of more than four dimensions.
    #[error("tensor `{name}` has {dims} dimensions; at most 4 are defined")]
    Dims {
        /// Tensor name.
        name: String,
        /// Dimensions claimed.
        dims: u32,
    },
    /// A tensor whose size is beyond 64 bits.
    #[error("the shape of tensor `{name}` overflows")]
    Shape {
        /// Tensor name.
        name: String,
    },
    /// A tensor whose rows are no whole number of blocks.
    #[error(
        "tensor `{name}` has rows of {columns} values, which is no multiple of its block of {block}"
    )]
    Block {
        /// Tensor name.
        name: String,
        /// Values per row.
        columns: usize,
        /// Values per block.
        block: usize,
    },
    /// A tensor that does not begin at a multiple of the alignment.
    #[error(
        "tensor `{name}` begins at offset {offset}, which is no multiple of the alignment {alignment}"
    )]
    Misaligned {
        /// Tensor name.
        name: String,
        /// Offset within the data.
        offset: u64,
        /// Alignment of the file.
        alignment: u64,
    },
    /// A tensor beyond the end of the file.
    #[error(
        "tensor `{name}` ({bytes} bytes at data offset {offset}) lies beyond the end of the file \
         ({file} bytes); the file is truncated, download it again"
    )]
    OutOfFile {
        /// Tensor name.
        name: String,
        /// Offset within the data.
        offset: u64,
        /// Bytes of the tensor.
        bytes: u64,
        /// Bytes of the file.
        file: usize,
    },
    /// Two tensors that share bytes.
    #[error("the tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
    },
    /// A value of another type than its key asks for.
    #[error("metadata key `{key}` is {found}; it must be {wanted}")]
    WrongType {
        /// The key.
        key: String,
        /// What it is.
        found: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
}
