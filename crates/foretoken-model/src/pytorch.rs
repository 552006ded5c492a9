//! Checkpoints saved by `torch.save`, read without running anything.
//!
//! Such a file is a zip archive whose entries are stored as they are: `data.pkl` says, as a pickle, which
//! tensors there are, and `data/<key>` holds the numbers of one storage, so tensors are read from the
//! mapped file like those of any other format. A pickle is a program for a stack machine that may call
//! anything Python can import. Ours knows the few calls that put tensors together, refuses every
//! other by name, and calls nothing.
//!
//! Not read: the format before `PyTorch` 1.6, compressed or encrypted archives, and the archive's
//! checksums.

mod archive;
mod error;
mod machine;
mod value;

use std::ops::Range;

use foretoken_tensor::WeightFormat;

pub use error::PytorchError;

use crate::safetensors::StoredTensor;
use archive::Archive;
use machine::Machine;
use value::{PickledTensor, Root};

/// First bytes of a zip archive that holds something.
const ZIP: &[u8] = b"PK\x03\x04";
/// First byte of a pickle of protocol 2 or later, with which the format before 1.6 begins.
const PICKLE: u8 = 0x80;
/// Longest pickle, in bytes: room for tens of thousands of tensors.
const MAX_PICKLE: usize = 4 << 20;

/// Whether a file that begins with these bytes was written by `torch.save`.
pub(crate) fn is_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || matches!(bytes, [PICKLE, 2..=5, ..])
}

/// Reads the table of tensors of `bytes`, which are a whole file; tensors in order of their names.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<StoredTensor>, PytorchError> {
    if bytes.first() == Some(&PICKLE) {
        return Err(PytorchError::Legacy);
    }
    let archive = Archive::parse(bytes)?;
    let root = archive.root()?;
    if let Some(range) = archive.get(&format!("{root}/byteorder"))
        && &bytes[range.clone()] != b"little"
    {
        let found = String::from_utf8_lossy(&bytes[range]).chars().take(16).collect();
        return Err(PytorchError::ByteOrder { found });
    }
    let name = format!("{root}/data.pkl");
    let range = archive.get(&name).ok_or(PytorchError::NoPickle)?;
    if range.len() > MAX_PICKLE {
        return Err(PytorchError::PickleTooLarge { bytes: range.len(), limit: MAX_PICKLE });
    }
    let Root { tensors } = Machine::new(&bytes[range]).run()?;
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        stored.push(locate(&archive, root, name, tensor)?);
    }
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stored)
}

/// Finds a tensor's numbers in the archive.
fn locate(
    archive: &Archive<'_>,
    root: &str,
    name: &str,
    tensor: PickledTensor<'_>,
) -> Result<StoredTensor, PytorchError> {
    let PickledTensor { storage, offset, shape, strides } = tensor;
    let entry = format!("{root}/data/{}", storage.key);
    let file = archive
        .get(&entry)
        .ok_or_else(|| PytorchError::NoStorage { name: name.to_owned(), entry: entry.clone() })?;
    let size = storage.kind.bytes();
    if storage.values.checked_mul(size) != Some(file.len()) {
        return Err(PytorchError::StorageLength {
            entry,
            values: storage.values,
            size,
            found: file.len(),
        });
    }
    if !is_contiguous(&shape, &strides) {
        return Err(PytorchError::Strided { name: name.to_owned(), shape, strides });
    }
    let range = within(&file, size, offset, &shape).ok_or_else(|| PytorchError::Outside {
        name: name.to_owned(),
        shape: shape.clone(),
        offset,
        values: storage.values,
    })?;
    Ok(StoredTensor { name: name.to_owned(), shape, format: storage.kind.format(), range })
}

/// Whether the values of a tensor lie one after another, the last dimension innermost.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut step = 1usize;
    let innermost_first = shape.iter().zip(strides).rev();
    shape.contains(&0)
        || innermost_first.filter(|&(&size, _)| size > 1).all(|(&size, &stride)| {
            let fits = stride == step;
            step = step.saturating_mul(size);
            fits
        })
}

/// The bytes of a tensor that starts `offset` values into the storage at `file`.
fn within(
    file: &Range<usize>,
    size: usize,
    offset: usize,
    shape: &[usize],
) -> Option<Range<usize>> {
    let values = shape.iter().try_fold(1usize, |values, &n| values.checked_mul(n))?;
    let start = file.start.checked_add(offset.checked_mul(size)?)?;
    let end = start.checked_add(values.checked_mul(size)?)?;
    (end <= file.end).then_some(start..end)
}

/// The element types of storages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StorageKind {
    F32,
    F16,
    Bf16,
    /// Of values that cannot be computed with: their name and bytes.
    Other(&'static str, usize),
}

impl StorageKind {
    fn from_class(class: &str) -> Option<Self> {
        Some(match class {
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "DoubleStorage" => Self::Other("F64", 8),
            "LongStorage" => Self::Other("I64", 8),
            "IntStorage" => Self::Other("I32", 4),
            "ShortStorage" => Self::Other("I16", 2),
            "CharStorage" => Self::Other("I8", 1),
            "ByteStorage" => Self::Other("U8", 1),
            "BoolStorage" => Self::Other("BOOL", 1),
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(_, bytes) => bytes,
        }
    }

    fn format(self) -> Result<WeightFormat, String> {
        match self {
            Self::F32 => Ok(WeightFormat::F32),
            Self::F16 => Ok(WeightFormat::F16),
            Self::Bf16 => Ok(WeightFormat::Bf16),
            Self::Other(name, _) => Err(name.to_owned()),
        }
    }
}
