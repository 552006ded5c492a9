//! Writing safetensors files.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use safetensors::SafeTensorError;
use safetensors::tensor::{View, serialize_to_file};

/// Writes tensors to a file that whoever reads the folder's other files can read: the format's own crate lets
/// nobody but the owner.
pub(crate) fn write_tensors<N: AsRef<str> + Ord + std::fmt::Display, V: View>(
    tensors: impl IntoIterator<Item = (N, V)>,
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<(), SafeTensorError> {
    // A file that is there keeps what it holds for those who have mapped it.
    let usual = File::options().append(true).create(true).open(path)?.metadata()?.permissions();
    serialize_to_file(tensors, metadata, path)?;
    Ok(fs::set_permissions(path, usual)?)
}
