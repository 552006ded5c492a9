//! Paths of the test data and builders of small files.

use std::fs;
use std::path::{Path, PathBuf};

use foretoken_model::{
    Checkpoint, HubEnvironment, ModelError, ModelSource, OpenOptions, UnknownKeys,
};
use tempfile::TempDir;

/// A file or folder of `testdata`.
pub(crate) fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// A file or folder beside the project, if it is there.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// Opens a folder or GGUF file, refusing unknown keys.
pub(crate) fn open(path: &Path) -> Result<Checkpoint, ModelError> {
    let spec = path.to_str().unwrap();
    let source = ModelSource::resolve(spec, &HubEnvironment::default())?;
    Checkpoint::open(&source, &OpenOptions { unknown_keys: UnknownKeys::Refuse })
}

/// The message of a model that must not open.
pub(crate) fn refusal(path: &Path) -> String {
    one_line(&open(path).expect_err("the model is refused"))
}

/// An error's message, which is one line that names a file.
pub(crate) fn one_line(error: &ModelError) -> String {
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    assert!(message.contains('`'), "{message}");
    message
}

/// A copy of a checkpoint of `testdata` to spoil.
pub(crate) fn copy(case: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(testdata("checkpoints").join(case)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// A safetensors file of a JSON header and data.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// A GGUF file under construction; everything is written as given, right or wrong.
#[derive(Default)]
pub(crate) struct GgufBuilder {
    metadata: Vec<u8>,
    keys: u64,
    infos: Vec<u8>,
    tensors: u64,
    data: Vec<u8>,
}

impl GgufBuilder {
    /// Adds a key whose value has the number `kind` and these bytes.
    pub(crate) fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.metadata.extend(text(key));
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self.keys += 1;
        self
    }

    /// Adds a string.
    pub(crate) fn string(self, key: &str, value: &str) -> Self {
        self.key(key, 8, &text(value))
    }

    /// Adds an unsigned 32-bit integer.
    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.key(key, 4, &value.to_le_bytes())
    }

    /// Adds a 32-bit float.
    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.key(key, 6, &value.to_le_bytes())
    }

    /// Adds a tensor table entry; `shape` is innermost first, as in the file.
    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Self {
        self.infos.extend(text(name));
        self.infos.extend((shape.len() as u32).to_le_bytes());
        for size in shape {
            self.infos.extend(size.to_le_bytes());
        }
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self.tensors += 1;
        self
    }

    /// Sets the tensors' data.
    pub(crate) fn data(mut self, bytes: usize) -> Self {
        self.data = vec![0; bytes];
        self
    }

    /// The file, its data aligned to 32 bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.build_as(3, self.tensors, self.keys)
    }

    /// The file with a version and counts of choice.
    pub(crate) fn build_as(&self, version: u32, tensors: u64, keys: u64) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(version.to_le_bytes());
        file.extend(tensors.to_le_bytes());
        file.extend(keys.to_le_bytes());
        file.extend(&self.metadata);
        file.extend(&self.infos);
        if !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(32), 0);
        }
        file.extend(&self.data);
        file
    }
}

/// A GGUF string: length and bytes.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// The metadata of the smallest llama.
pub(crate) fn tiny_llama() -> GgufBuilder {
    GgufBuilder::default()
        .string("general.architecture", "llama")
        .u32("llama.context_length", 16)
        .u32("llama.embedding_length", 4)
        .u32("llama.block_count", 1)
        .u32("llama.feed_forward_length", 4)
        .u32("llama.attention.head_count", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
}
