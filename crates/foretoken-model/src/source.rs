//! Where a model's files come from: a folder, a GGUF file, the local hub cache, or the binary itself.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::error::ModelError;
use crate::mmap::Mapping;

/// Largest file that is read into memory (weights are mapped instead).
const MAX_FILE: u64 = 128 << 20;

/// A model's files.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// A Hugging Face folder: `config.json`, safetensors, tokenizer files.
    Folder(PathBuf),
    /// A GGUF file, which holds everything.
    Gguf(PathBuf),
    /// A folder's files compiled into the program.
    Embedded {
        /// The model's name.
        name: &'static str,
        /// File names with their contents.
        files: &'static [(&'static str, &'static [u8])],
    },
}

/// The environment that says where the Hugging Face hub keeps its downloads. The library reads no
/// environment; its caller fills this in.
#[derive(Debug, Clone, Default)]
pub struct HubEnvironment {
    /// `HF_HUB_CACHE`, the cache itself.
    pub hub_cache: Option<PathBuf>,
    /// `HF_HOME`, which holds the cache as `hub`.
    pub hf_home: Option<PathBuf>,
    /// The user's home, which holds it as `.cache/huggingface/hub`.
    pub home: Option<PathBuf>,
}

impl HubEnvironment {
    /// The cache folder, by the hub client's precedence.
    pub fn cache(&self) -> Option<PathBuf> {
        let hf_home = || self.hf_home.as_ref().map(|path| path.join("hub"));
        let home = || self.home.as_ref().map(|path| path.join(".cache/huggingface/hub"));
        self.hub_cache.clone().or_else(hf_home).or_else(home)
    }
}

impl ModelSource {
    /// Finds the model that `spec` names: a folder with `config.json`, a GGUF file, or a hub id such
    /// as `org/name` that is in the local cache already. Nothing is downloaded.
    pub fn resolve(spec: &str, hub: &HubEnvironment) -> Result<Self, ModelError> {
        let path = Path::new(spec);
        if path.is_dir() {
            return Self::folder(path.to_owned());
        }
        if path.exists() {
            return Ok(Self::Gguf(path.to_owned()));
        }
        let cache = hub.cache();
        if let Some(folder) = cache.as_deref().and_then(|cache| snapshot(cache, spec)) {
            return Self::folder(folder);
        }
        Err(not_found(spec, cache.as_deref()))
    }

    /// The folder that `spec` names: itself, or a hub id that is in the local cache already.
    pub(crate) fn resolve_folder(spec: &str, hub: &HubEnvironment) -> Result<Self, ModelError> {
        let path = Path::new(spec);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let cache = hub.cache();
        let found = cache.as_deref().and_then(|cache| snapshot(cache, spec));
        found.map(Self::Folder).ok_or_else(|| not_found(spec, cache.as_deref()))
    }

    fn folder(folder: PathBuf) -> Result<Self, ModelError> {
        if folder.join("config.json").is_file() {
            return Ok(Self::Folder(folder));
        }
        Err(ModelError::Incomplete {
            folder,
            missing: "config.json",
            advice: "name a Hugging Face model folder, or a .gguf file itself",
        })
    }

    /// The model's name: of its folder, its file, or its hub id.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Folder(folder) => hub_id(folder).map_or_else(|| stem(folder), Cow::Owned),
            Self::Gguf(file) => stem(file),
            Self::Embedded { name, .. } => Cow::Borrowed(name),
        }
    }

    /// The contents of a file beside the weights, such as `tokenizer.json`; `None` where there is no
    /// such file, as always in a GGUF file. At most 128 MiB are read.
    pub fn read(&self, file: &str) -> Result<Option<Cow<'_, [u8]>>, ModelError> {
        match self {
            Self::Folder(folder) => Ok(read_file(&folder.join(file))?.map(Cow::Owned)),
            Self::Gguf(_) => Ok(None),
            Self::Embedded { files, .. } => Ok(embedded(files, file).map(Cow::Borrowed)),
        }
    }

    /// The contents of a weight file, mapped where it is a file; `None` where there is none.
    pub(crate) fn open(&self, file: &str) -> Result<Option<Bytes>, ModelError> {
        match self {
            Self::Folder(folder) => map_file(&folder.join(file)),
            Self::Gguf(_) => Ok(None),
            Self::Embedded { files, .. } => Ok(embedded(files, file).map(Bytes::Static)),
        }
    }

    /// How the source as a whole is called in messages.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path.display().to_string(),
            Self::Embedded { name, .. } => format!("{name} (built in)"),
        }
    }

    /// How `file` of this source is called in messages.
    pub(crate) fn label(&self, file: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(file).display().to_string(),
            Self::Gguf(_) => self.place(),
            Self::Embedded { name, .. } => format!("{name}/{file} (built in)"),
        }
    }
}

/// The contents of a weight file.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A mapped file.
    Mapped(Mapping),
    /// Part of the program.
    Static(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping,
            Self::Static(bytes) => bytes,
        }
    }
}

/// Maps a file; `None` where it does not exist.
pub(crate) fn map_file(path: &Path) -> Result<Option<Bytes>, ModelError> {
    match Mapping::open(path) {
        Ok(mapping) => Ok(Some(Bytes::Mapped(mapping))),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(ModelError::Io { file: path.display().to_string(), cause }),
    }
}

/// Whether `name` is a plain file name, which cannot lead out of its folder.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | ':');
    !name.is_empty() && name != "." && name != ".." && name.chars().all(allowed)
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, ModelError> {
    let io = |cause| ModelError::Io { file: path.display().to_string(), cause };
    let size = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(io(std::io::Error::other("not a regular file"))),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(io(cause)),
    };
    let too_large =
        |bytes| ModelError::TooLarge { file: path.display().to_string(), bytes, limit: MAX_FILE };
    if size > MAX_FILE {
        return Err(too_large(size));
    }
    let mut contents = Vec::with_capacity(size as usize);
    let file = fs::File::open(path).map_err(io)?;
    // The file may grow while it is read.
    file.take(MAX_FILE + 1).read_to_end(&mut contents).map_err(io)?;
    if contents.len() as u64 > MAX_FILE {
        return Err(too_large(contents.len() as u64));
    }
    Ok(Some(contents))
}

fn embedded(files: &'static [(&'static str, &'static [u8])], file: &str) -> Option<&'static [u8]> {
    files.iter().find(|(name, _)| *name == file).map(|&(_, contents)| contents)
}

fn not_found(spec: &str, cache: Option<&Path>) -> ModelError {
    let looked =
        cache.map_or("no cache folder is known".into(), |cache| cache.display().to_string());
    ModelError::NotFound { spec: spec.to_owned(), looked }
}

/// The snapshot of a hub id: that of `refs/main`, or the only one there is.
fn snapshot(cache: &Path, id: &str) -> Option<PathBuf> {
    if id.matches('/').count() > 1 || !id.split('/').all(is_plain_name) {
        return None;
    }
    let model = cache.join(format!("models--{}", id.replace('/', "--")));
    let snapshots = model.join("snapshots");
    if let Ok(revision) = fs::read_to_string(model.join("refs/main")) {
        let revision = revision.trim();
        let folder = snapshots.join(revision);
        return (is_plain_name(revision) && folder.is_dir()).then_some(folder);
    }
    let mut entries = fs::read_dir(snapshots).ok()?.filter_map(Result::ok);
    let only = entries.next()?.path();
    entries.next().is_none().then_some(only)
}

/// The hub id of a snapshot folder, `models--org--name/snapshots/<revision>`.
fn hub_id(folder: &Path) -> Option<String> {
    let snapshots = folder.parent()?;
    let model = snapshots.parent()?.file_name()?.to_str()?;
    let id = model.strip_prefix("models--")?;
    (snapshots.file_name()? == "snapshots").then(|| id.replacen("--", "/", 1))
}

fn stem(path: &Path) -> Cow<'_, str> {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.unwrap_or(path.as_os_str()).to_string_lossy()
}
