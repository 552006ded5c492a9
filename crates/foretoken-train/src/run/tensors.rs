//! A checkpoint's tensors, read one after another into memory that is there: a checkpoint is as large as all
//! that training keeps.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use foretoken_model::MAX_SAFETENSORS_HEADER;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::error::RunError;
use crate::error::TrainError;

/// Bytes that say how long the header is.
const PREFIX: u64 = size_of::<u64>() as u64;

/// A file of f32 tensors.
pub(super) struct TensorFile {
    path: PathBuf,
    file: BufReader<File>,
    header: Metadata,
    /// Where the values begin.
    start: u64,
}

impl TensorFile {
    /// Reads the header, and checks that the file is as long as it says and holds nothing but f32.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub(super) fn open(path: &Path) -> Result<Self, RunError> {
        let read = |cause| RunError::Read { path: path.to_owned(), cause };
        let damaged = |cause: String| RunError::Damaged { file: path.to_owned(), cause };
        let file = File::open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        let mut file = BufReader::new(file);
        let mut prefix = [0; PREFIX as usize];
        if len >= PREFIX {
            file.read_exact(&mut prefix).map_err(read)?;
        }
        let of_header = u64::from_le_bytes(prefix);
        let start = of_header.saturating_add(PREFIX);
        if start > len {
            return Err(damaged(format!("its {len} bytes end before its header does")));
        }
        if of_header > MAX_SAFETENSORS_HEADER {
            return Err(damaged(format!("its header has {of_header} bytes")));
        }
        let mut header = vec![0; of_header as usize];
        file.read_exact(&mut header).map_err(read)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|cause| damaged(cause.to_string()))?;
        let wanted = start.saturating_add(header.data_len() as u64);
        if len != wanted {
            return Err(damaged(format!("it has {len} bytes, not {wanted}")));
        }
        if let Some((name, info)) =
            header.tensors().iter().find(|(_, info)| info.dtype != Dtype::F32)
        {
            return Err(damaged(format!("`{name}` holds {}, not F32", info.dtype)));
        }
        Ok(Self { path: path.to_owned(), file, header, start })
    }

    /// Reads the tensor of that name.
    ///
    /// # Errors
    /// If it is missing or has another number of values, or the file cannot be read.
    pub(super) fn read(&mut self, name: &str, values: &mut [f32]) -> Result<(), RunError> {
        let place = self.header.info(name).map(|info| info.data_offsets);
        let found = place.map(|(start, end)| (end - start) / size_of::<f32>());
        let (Some((start, _)), true) = (place, found == Some(values.len())) else {
            return Err(TrainError::State { name: name.into(), found, wanted: values.len() }.into());
        };
        let read = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(self.start + start as u64))?;
            for value in values {
                let mut word = [0; size_of::<f32>()];
                self.file.read_exact(&mut word)?;
                *value = f32::from_le_bytes(word);
            }
            Ok(())
        };
        read().map_err(|cause| RunError::Read { path: self.path.clone(), cause })
    }
}
