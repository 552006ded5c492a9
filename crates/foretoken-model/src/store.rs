//! Stored tensors by name, whichever container they are in.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use foretoken_tensor::WeightFormat;
use serde::Deserialize;

use crate::checkpoint::TensorInfo;
use crate::error::{ModelError, TensorError};
use crate::gguf::{Gguf, TensorType};
use crate::pytorch;
use crate::safetensors::{self, StoredTensor};
use crate::source::{Bytes, ModelSource, is_plain_name, map_file};

/// The file of an unsharded checkpoint.
const SINGLE: &str = "model.safetensors";
/// The file that lists the shards of a sharded one.
const INDEX: &str = "model.safetensors.index.json";

/// Formats a vector may be stored in.
pub(crate) const VECTOR_FORMATS: &str = "F32, F16 or BF16";

/// A tensor as it lies in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    /// Name in the file.
    pub(crate) name: &'a str,
    /// Sizes, outermost first.
    pub(crate) shape: &'a [usize],
    /// The format, or what else it is stored as.
    pub(crate) format: Result<WeightFormat, &'a str>,
    /// The bytes; empty where the format is none that is known.
    pub(crate) data: &'a [u8],
    /// The file, for messages.
    pub(crate) file: &'a str,
}

/// The opened weight files of a model.
#[derive(Debug)]
pub(crate) struct Store {
    files: Vec<File>,
    tensors: Vec<Entry>,
    names: HashMap<String, usize>,
    /// The folder or file that should hold a tensor that is missing.
    place: String,
}

#[derive(Debug)]
struct File {
    label: String,
    bytes: Bytes,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    tensor: StoredTensor,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: HashMap<String, String>,
}

impl Store {
    /// Nothing yet; `place` is the folder or file that should hold it all.
    pub(crate) fn new(place: String) -> Self {
        Self { files: vec![], tensors: vec![], names: HashMap::new(), place }
    }

    /// Opens the safetensors files of a folder.
    pub(crate) fn safetensors(source: &ModelSource, place: String) -> Result<Self, ModelError> {
        let mut store = Self::new(place);
        if let Some(bytes) = source.open(SINGLE)? {
            store.add_safetensors(source.label(SINGLE), bytes)?;
            return Ok(store);
        }
        if store.add_shards(source)? {
            return Ok(store);
        }
        Err(ModelError::Incomplete {
            folder: store.place.into(),
            missing: "model.safetensors or model.safetensors.index.json",
            advice: "download the weights, or convert other formats to safetensors",
        })
    }

    /// Adds the shards that an index of the folder lists; false where there is no index.
    pub(crate) fn add_shards(&mut self, source: &ModelSource) -> Result<bool, ModelError> {
        let Some(index) = source.read(INDEX)? else { return Ok(false) };
        let file = source.label(INDEX);
        let index: ShardIndex = serde_json::from_slice(&index)
            .map_err(|cause| ModelError::Json { file: file.clone(), cause })?;
        for shard in index.weight_map.into_values().collect::<BTreeSet<_>>() {
            let refuse = |shard, problem| ModelError::Shard { file: file.clone(), shard, problem };
            if !is_plain_name(&shard) {
                return Err(refuse(shard, "which is no plain file name in the same folder"));
            }
            match source.open(&shard)? {
                Some(bytes) => self.add_safetensors(source.label(&shard), bytes)?,
                None => return Err(refuse(shard, "which does not exist; download it")),
            }
        }
        Ok(true)
    }

    /// Opens a GGUF file.
    pub(crate) fn gguf(path: &Path) -> Result<(Self, Gguf), ModelError> {
        let label = path.display().to_string();
        let bytes = map_file(path)?.ok_or_else(|| ModelError::Io {
            file: label.clone(),
            cause: std::io::ErrorKind::NotFound.into(),
        })?;
        let gguf =
            Gguf::parse(&bytes).map_err(|cause| ModelError::Gguf { file: label.clone(), cause })?;
        let mut store = Self::new(label.clone());
        let tensors = gguf.tensors().iter().map(|tensor| StoredTensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            format: match tensor.kind {
                TensorType::Weights(format) => Ok(format),
                TensorType::Other(number) => Err(format!("ggml type {number}")),
            },
            range: tensor.range.clone(),
        });
        store.add(File { label, bytes }, tensors.collect())?;
        Ok((store, gguf))
    }

    /// Adds a safetensors file or one of `torch.save`, whichever it is by its first bytes.
    pub(crate) fn add_file(&mut self, label: String, bytes: Bytes) -> Result<(), ModelError> {
        let file = label.clone();
        let tensors = if pytorch::is_pytorch(&bytes) {
            pytorch::parse(&bytes).map_err(|cause| ModelError::Pytorch { file, cause })?
        } else {
            safetensors::parse_tied(&bytes)
                .map_err(|cause| ModelError::Safetensors { file, cause })?
        };
        self.add(File { label, bytes }, tensors)
    }

    fn add_safetensors(&mut self, label: String, bytes: Bytes) -> Result<(), ModelError> {
        let tensors = safetensors::parse(&bytes)
            .map_err(|cause| ModelError::Safetensors { file: label.clone(), cause })?;
        self.add(File { label, bytes }, tensors)
    }

    fn add(&mut self, file: File, tensors: Vec<StoredTensor>) -> Result<(), ModelError> {
        for tensor in tensors {
            if self.names.insert(tensor.name.clone(), self.tensors.len()).is_some() {
                let cause = TensorError::Duplicate { name: tensor.name };
                return Err(ModelError::Tensor { file: file.label, cause });
            }
            self.tensors.push(Entry { file: self.files.len(), tensor });
        }
        self.files.push(file);
        Ok(())
    }

    /// The tensor called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<Stored<'_>> {
        self.names.get(name).map(|&i| self.stored(&self.tensors[i]))
    }

    /// The tensor called `name`, which must be there.
    pub(crate) fn require(&self, name: &str) -> Result<Stored<'_>, ModelError> {
        self.get(name).ok_or_else(|| ModelError::Tensor {
            file: self.place.clone(),
            cause: TensorError::Missing { name: name.to_owned() },
        })
    }

    /// All tensors.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Stored<'_>> {
        self.tensors.iter().map(|entry| self.stored(entry))
    }

    fn stored<'a>(&'a self, entry: &'a Entry) -> Stored<'a> {
        let file = &self.files[entry.file];
        Stored::new(&entry.tensor, &file.bytes, &file.label)
    }
}

impl<'a> Stored<'a> {
    /// A tensor of the file `label` that holds `bytes`.
    pub(crate) fn new(tensor: &'a StoredTensor, bytes: &'a [u8], label: &'a str) -> Self {
        Self {
            name: &tensor.name,
            shape: &tensor.shape,
            format: tensor.format.as_ref().copied().map_err(String::as_str),
            data: &bytes[tensor.range.clone()],
            file: label,
        }
    }

    /// What it is, for people.
    pub(crate) fn info(&self) -> TensorInfo<'a> {
        let Self { name, shape, format, data, .. } = *self;
        TensorInfo { name, shape, format, bytes: data.len() }
    }

    /// A vector of this shape as f32; every value is finite.
    pub(crate) fn vector(&self, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let format = self.check(shape, VECTOR_FORMATS)?;
        if !matches!(format, WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16) {
            return Err(self.type_error(format.name(), VECTOR_FORMATS));
        }
        let mut values = vec![0.0; self.data.len() / format.spec().block_bytes];
        (format.spec().decode)(self.data, &mut values);
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(self.error(TensorError::NotFinite {
                name: self.name.to_owned(),
                index,
                value: values[index],
            })),
            None => Ok(values),
        }
    }

    /// The format, once the shape is as wanted and the format can be computed with.
    pub(crate) fn check(
        &self,
        wanted: &[usize],
        supported: &'static str,
    ) -> Result<WeightFormat, ModelError> {
        if self.shape != wanted {
            return Err(self.error(TensorError::Shape {
                name: self.name.to_owned(),
                found: self.shape.to_vec(),
                wanted: wanted.to_vec(),
            }));
        }
        self.format.map_err(|found| self.type_error(found, supported))
    }

    pub(crate) fn type_error(&self, found: &str, supported: &'static str) -> ModelError {
        let (name, found) = (self.name.to_owned(), found.to_owned());
        self.error(TensorError::Type { name, found, supported })
    }

    pub(crate) fn error(&self, cause: TensorError) -> ModelError {
        ModelError::Tensor { file: self.file.to_owned(), cause }
    }
}
