//! Writing safetensors files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::Path;

use half::bf16;
use safetensors::tensor::{View, serialize_to_file};
use safetensors::{Dtype, SafeTensorError};

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoredAs {
    /// As they are.
    F32,
    /// Rounded to nearest even.
    Bf16,
}

/// A tensor to be written, of which no copy is made before its turn.
pub(crate) struct Tensor<'a> {
    pub(crate) shape: Cow<'a, [usize]>,
    pub(crate) values: &'a [f32],
    pub(crate) stored: StoredAs,
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.stored {
            StoredAs::F32 => Dtype::F32,
            StoredAs::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.values.iter();
        let bytes: Vec<u8> = match self.stored {
            StoredAs::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
            StoredAs::Bf16 => {
                values.flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
            }
        };
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.values.len() * self.dtype().bitsize() / 8
    }
}

/// Writes tensors to a file that whoever reads the folder's other files can read: the format's own crate lets
/// nobody but the owner.
pub(crate) fn write_tensors<'a, N: AsRef<str> + Ord + Display>(
    tensors: impl IntoIterator<Item = (N, Tensor<'a>)>,
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<(), SafeTensorError> {
    // A file that is there keeps what it holds for those who have mapped it.
    let usual = File::options().append(true).create(true).open(path)?.metadata()?.permissions();
    serialize_to_file(tensors, metadata, path)?;
    Ok(fs::set_permissions(path, usual)?)
}
