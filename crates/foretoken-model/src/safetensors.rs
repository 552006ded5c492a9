//! Headers of safetensors files.
//!
//! The `safetensors` crate parses the header's JSON and checks that the tensors follow one another
//! without holes or overlaps; the arithmetic that relates them to the file is done here, checked.

use std::ops::Range;

use foretoken_tensor::WeightFormat;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use thiserror::Error;

/// Longest header, in bytes, as in the reference implementation.
pub const MAX_SAFETENSORS_HEADER: u64 = 100_000_000;
/// Bytes of the header's length.
const PREFIX: usize = 8;

/// Why a safetensors header could not be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// Fewer bytes than the smallest file has.
    #[error(
        "the file has {found} bytes and is too short for a safetensors file; download it again"
    )]
    TooShort {
        /// Bytes of the file.
        found: usize,
    },
    /// A header beyond the limit.
    #[error(
        "the file begins as no safetensors file does, or its header is damaged: it claims {length} bytes, \
         at most {limit} are read"
    )]
    HeaderTooLarge {
        /// The claimed length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The file ends inside its header.
    #[error(
        "the header claims {length} bytes where {left} are left; the file is truncated, download it again"
    )]
    HeaderTruncated {
        /// The claimed length.
        length: u64,
        /// Bytes left.
        left: usize,
    },
    /// A header that is not the expected JSON, or whose offsets contradict the shapes.
    #[error("the header is invalid: {0}")]
    Header(String),
    /// The tensors do not fill the rest of the file exactly.
    #[error(
        "the tensors need {needed} bytes where {found} follow the header; the file is truncated or \
         damaged, download it again"
    )]
    Length {
        /// Bytes the header describes.
        needed: usize,
        /// Bytes that follow it.
        found: usize,
    },
}

/// A tensor of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTensor {
    /// Name, such as `model.norm.weight`.
    pub(crate) name: String,
    /// Sizes, outermost first.
    pub(crate) shape: Vec<usize>,
    /// The format, or the name of the type where it cannot be computed with.
    pub(crate) format: Result<WeightFormat, String>,
    /// Where the data lie in the file.
    pub(crate) range: Range<usize>,
}

/// Most dimensions of a tensor that stands under several names.
const MAX_TIED_DIMS: usize = 8;

/// Reads the header of `bytes`, which are a whole file; tensors in order of their names.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<StoredTensor>, SafetensorsError> {
    let (metadata, start) = header(bytes)?;
    let mut tensors: Vec<StoredTensor> = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| StoredTensor {
            name,
            shape: info.shape.clone(),
            format: format(info.dtype),
            range: start + info.data_offsets.0..start + info.data_offsets.1,
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// As [`parse`], with the further names that `safetensors.torch.save_model` gives tensors in the file's
/// metadata, where a module has them in several places.
pub(crate) fn parse_tied(bytes: &[u8]) -> Result<Vec<StoredTensor>, SafetensorsError> {
    let mut tensors = parse(bytes)?;
    let (metadata, _) = header(bytes)?;
    for (name, kept) in metadata.metadata().iter().flatten() {
        let find = |name: &String| tensors.binary_search_by(|tensor| tensor.name.cmp(name));
        if let (Ok(kept), Err(at)) = (find(kept), find(name))
            && tensors[kept].shape.len() <= MAX_TIED_DIMS
        {
            let tied = StoredTensor { name: name.clone(), ..tensors[kept].clone() };
            tensors.insert(at, tied);
        }
    }
    Ok(tensors)
}

/// The parsed header, and where the data start.
fn header(bytes: &[u8]) -> Result<(Metadata, usize), SafetensorsError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(SafetensorsError::TooShort { found: bytes.len() });
    };
    let length = u64::from_le_bytes(*prefix);
    if length > MAX_SAFETENSORS_HEADER {
        return Err(SafetensorsError::HeaderTooLarge { length, limit: MAX_SAFETENSORS_HEADER });
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        return Err(SafetensorsError::HeaderTruncated { length, left: rest.len() });
    };
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|error| SafetensorsError::Header(error.to_string()))?;
    // Not the crate's own check, whose sum can overflow on hostile offsets.
    if metadata.data_len() != data.len() {
        return Err(SafetensorsError::Length { needed: metadata.data_len(), found: data.len() });
    }
    Ok((metadata, PREFIX + header.len()))
}

fn format(dtype: Dtype) -> Result<WeightFormat, String> {
    match dtype {
        Dtype::F32 => Ok(WeightFormat::F32),
        Dtype::F16 => Ok(WeightFormat::F16),
        Dtype::BF16 => Ok(WeightFormat::Bf16),
        other => Err(other.to_string()),
    }
}
