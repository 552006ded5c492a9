//! Files of Medusa heads (Cai et al. 2024, <https://arxiv.org/abs/2401.10774>), in every layout they are
//! published in.
//!
//! Head `k` takes the hidden state behind the model's final norm, `L` times `x = x + SiLU(W x + b)`, then
//! an output matrix of its own or the model's, and predicts the token `k + 2` places behind the last one
//! the state has seen. What there is comes from the tensors: published configurations count heads wrongly,
//! so they are compared and nothing more. They are read here and evaluated by [`MedusaNetwork`]; nothing here knows trees.

mod calibration;
mod error;
mod export;
mod names;
mod network;
mod parts;
mod stage;

use std::path::{Path, PathBuf};

use foretoken_core::TokenId;
use foretoken_tensor::{MatrixView, RowOrder};
use serde_json::{Map, Value};

pub use calibration::{MedusaCalibration, MedusaMeasurement, MedusaPath};
pub use error::MedusaError;
pub use export::{HeadPrecision, MedusaExport};
pub use names::{HeadBias, HeadTensor, MedusaLayout, MedusaShape};

use crate::checkpoint::{TensorInfo, read_object};
use crate::error::ModelError;
use crate::source::{HubEnvironment, ModelSource};
use crate::spec::ModelSpec;
use crate::store::{Store, Stored, VECTOR_FORMATS};
pub use network::{Heads, MedusaNetwork};
pub(crate) use parts::{Parts, is_in_model};

/// Files that hold heads, in the order in which they are looked for.
const FILES: &[&str] =
    &["medusa_lm_head.safetensors", "medusa_lm_head.pt", "model.safetensors", "pytorch_model.bin"];
/// Where measured rates are.
const CALIBRATION: &str = "medusa_calibration.json";

/// Where heads are.
#[derive(Debug, Clone)]
pub enum MedusaSource {
    /// In a folder, alone or with the whole model.
    Folder(ModelSource),
    /// A file; configuration and calibration are looked for beside it.
    File(PathBuf),
}

impl MedusaSource {
    /// Finds the heads that `spec` names: a folder, a `.safetensors` or `.pt` file, or a hub id that is in
    /// the local cache already.
    pub fn resolve(spec: &str, hub: &HubEnvironment) -> Result<Self, ModelError> {
        let path = Path::new(spec);
        if path.is_file() {
            return Ok(Self::File(path.to_owned()));
        }
        ModelSource::resolve_folder(spec, hub).map(Self::Folder)
    }

    /// Opens them; their weights stay where they are.
    pub fn open(&self) -> Result<MedusaHeads, ModelError> {
        match self {
            Self::Folder(folder) => MedusaHeads::open(folder),
            Self::File(file) => MedusaHeads::open_file(file),
        }
    }
}

/// Opened heads whose weights have not been touched.
#[derive(Debug)]
pub struct MedusaHeads {
    place: String,
    store: Store,
    parts: Parts,
    base_model: Option<String>,
    calibration: Option<MedusaCalibration>,
    warnings: Vec<String>,
}

impl MedusaHeads {
    /// Opens the heads that `spec` names, as [`MedusaSource::resolve`] finds them.
    pub fn resolve(spec: &str, hub: &HubEnvironment) -> Result<Self, ModelError> {
        MedusaSource::resolve(spec, hub)?.open()
    }

    /// Opens heads in a folder: alone, or with the whole model.
    pub fn open(source: &ModelSource) -> Result<Self, ModelError> {
        let mut store = Store::new(source.place());
        for file in FILES {
            if let Some(bytes) = source.open(file)? {
                store.add_file(source.label(file), bytes)?;
                return Self::from_store(store, source.place(), source);
            }
        }
        if store.add_shards(source)? {
            return Self::from_store(store, source.place(), source);
        }
        Err(ModelError::Medusa { file: source.place(), cause: MedusaError::NoHeads })
    }

    /// Opens one file of heads; configuration and calibration are looked for beside it.
    pub fn open_file(path: &Path) -> Result<Self, ModelError> {
        let label = path.display().to_string();
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let bytes = crate::source::map_file(path)?
            .ok_or_else(|| ModelError::Io { file: label.clone(), cause: missing() })?;
        let mut store = Store::new(label.clone());
        store.add_file(label.clone(), bytes)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_store(store, label, &ModelSource::Folder(folder.to_owned()))
    }

    fn from_store(store: Store, place: String, source: &ModelSource) -> Result<Self, ModelError> {
        let config = read_object(source, "config.json")?.unwrap_or_default();
        let original = config.get("original_lm_head") == Some(&Value::Bool(true));
        let medusa = |cause| ModelError::Medusa { file: place.clone(), cause };
        let parts = Parts::sort(store.iter(), original).map_err(medusa)?;
        for tensor in parts.shape.tensors() {
            let stored = store.require(parts.name(tensor))?;
            stored.check(&parts.shape.dims(tensor), VECTOR_FORMATS)?;
        }
        let calibration = match source.read(CALIBRATION)? {
            Some(bytes) => {
                let file = source.label(CALIBRATION);
                Some(MedusaCalibration::parse(&bytes, parts.shape.count, &file)?)
            }
            None => None,
        };
        let warnings = compare(&config, &parts);
        let base_model = config.get("base_model_name_or_path").and_then(Value::as_str);
        let base_model = base_model.map(str::to_owned);
        Ok(Self { place, store, parts, base_model, calibration, warnings })
    }

    /// Keeps the first `count` heads: those behind them guess deeper than anybody asks.
    pub fn truncate(&mut self, count: usize) {
        self.parts.shape.count = count.clamp(1, self.parts.shape.count);
    }

    /// How the heads are called in messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// How many heads there are, and how large.
    pub fn shape(&self) -> MedusaShape {
        self.parts.shape
    }

    /// Heads.
    pub fn count(&self) -> usize {
        self.parts.shape.count
    }

    /// Residual blocks per head.
    pub fn blocks(&self) -> usize {
        self.parts.shape.blocks
    }

    /// Width of the hidden state the heads take.
    pub fn hidden(&self) -> usize {
        self.parts.shape.hidden
    }

    /// Rows of each head's output matrix; `None` where the heads share the model's.
    pub fn vocab(&self) -> Option<usize> {
        self.parts.shape.vocab
    }

    /// The token of each row of the output matrices, where they leave tokens out.
    pub fn token_map(&self) -> Option<&[TokenId]> {
        self.parts.token_map.as_deref()
    }

    /// How the files are laid out.
    pub fn layout(&self) -> MedusaLayout {
        self.parts.layout
    }

    /// The model that the configuration says the heads are for.
    pub fn base_model(&self) -> Option<&str> {
        self.base_model.as_deref()
    }

    /// Measured rates, where they are beside the heads.
    pub fn calibration(&self) -> Option<&MedusaCalibration> {
        self.calibration.as_ref()
    }

    /// Where the configuration contradicts the tensors, which count.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The tensors of the heads as stored.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo<'_>> {
        self.parts.shape.tensors().map(|tensor| self.stored(tensor).info())
    }

    /// A matrix as stored; blocks that several names share have the same data.
    ///
    /// # Panics
    /// If the tensor is no matrix of these heads.
    pub fn matrix(&self, tensor: HeadTensor) -> MatrixView<'_> {
        let stored = self.stored(tensor);
        let (&[rows, cols], Ok(format)) = (stored.shape, stored.format) else {
            panic!("{tensor:?} is a matrix")
        };
        let (name, data) = (stored.name, stored.data);
        MatrixView { name, format, rows, cols, order: RowOrder::Natural, data }
    }

    /// A bias as f32; every value is finite.
    ///
    /// # Panics
    /// If the heads have no such tensor.
    pub fn vector(&self, tensor: HeadTensor) -> Result<Vec<f32>, ModelError> {
        self.stored(tensor).vector(&self.parts.shape.dims(tensor))
    }

    /// Whether the heads are for a model of this spec.
    pub fn check(&self, spec: &ModelSpec) -> Result<(), ModelError> {
        let shape = self.parts.shape;
        let medusa = |cause| Err(ModelError::Medusa { file: self.place.clone(), cause });
        let first = shape.tensors().next().map_or("", |tensor| self.parts.name(tensor));
        if shape.hidden != spec.hidden {
            let (tensor, found) = (first.to_owned(), shape.hidden);
            return medusa(MedusaError::Hidden { tensor, found, wanted: spec.hidden });
        }
        let Some(rows) = shape.vocab else { return Ok(()) };
        let (tensor, found, fits) = match self.token_map() {
            Some(map) => {
                let tokens = map.iter().max().map_or(0, |&token| token as usize + 1);
                ("token_map", tokens, tokens <= spec.vocab)
            }
            None => (self.parts.name(HeadTensor::Output { head: 0 }), rows, rows == spec.vocab),
        };
        if fits {
            return Ok(());
        }
        medusa(MedusaError::Vocabulary { tensor: tensor.to_owned(), found, wanted: spec.vocab })
    }

    fn stored(&self, tensor: HeadTensor) -> Stored<'_> {
        let stored = self.store.get(self.parts.name(tensor));
        stored.expect("every tensor of the shape was found on opening")
    }
}

/// What a configuration says otherwise than the tensors.
fn compare(config: &Map<String, Value>, parts: &Parts) -> Vec<String> {
    let MedusaShape { count, blocks, hidden, vocab, .. } = parts.shape;
    let vocab = vocab.filter(|_| parts.token_map.is_none());
    let mut claims = vec![("medusa_num_heads", Some(count)), ("medusa_num_layers", Some(blocks))];
    if parts.layout == MedusaLayout::Vllm {
        claims.extend([("num_heads", Some(count)), ("num_hidden_layers", Some(blocks))]);
        claims.extend([("hidden_size", Some(hidden)), ("vocab_size", vocab)]);
    }
    let differs = |(key, found): (&str, Option<usize>)| {
        let (found, claimed) = (found?, config.get(key)?.as_u64()?);
        (claimed != found as u64)
            .then(|| format!("config.json says {key} = {claimed}; the tensors say {found}"))
    };
    let mut warnings: Vec<String> = claims.into_iter().filter_map(differs).collect();
    if parts.shape.bias == HeadBias::All
        && config.get("medusa_fc_bias") == Some(&Value::Bool(false))
    {
        warnings.push("config.json says medusa_fc_bias = false; using the biases".to_owned());
    }
    warnings.extend(parts.warnings.iter().cloned());
    warnings
}
