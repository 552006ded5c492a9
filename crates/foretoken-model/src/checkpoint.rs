//! A model's opened files: what it is, and its weights as they are stored.
//!
//! Opening reads headers and configurations (and compares a tied head with its embedding where both
//! are stored). Weights stay in their mapped files until [`Checkpoint::matrix`] or
//! [`Checkpoint::vector`] asks for one; then its shape is checked against the spec. Nothing here packs, converts or computes.

mod generation;

mod tensor;

use std::collections::{HashMap, HashSet};

use foretoken_core::TokenId;
use foretoken_tensor::{MatrixView, RowOrder, WeightFormat};
use serde_json::{Map, Value};

pub use generation::GenerationDefaults;
pub use tensor::Tensor;

use crate::arch::{self, QkRows, ROPE_FREQS, Understood};
use crate::config::{UnknownKeys, shorten};
use crate::error::{ConfigError, ModelError};
use crate::gguf::Gguf;
use crate::medusa;
use crate::source::ModelSource;
use crate::spec::{ModelSpec, OutputHead, RopeScaling};
use crate::store::{Store, Stored};
use generation::{Ids, gguf_ids, json_ids};

/// Formats a matrix may be stored in.
const MATRIX_FORMATS: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q5_K or Q6_K";
/// Buffers of older checkpoints that hold nothing learned, by the end of their names.
const DERIVED: &[&str] = &["rotary_emb.inv_freq", "self_attn.bias", "self_attn.masked_bias"];

/// How a checkpoint is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// What to do about configuration keys and tensors the family does not know.
    pub unknown_keys: UnknownKeys,
}

/// An opened model whose weights have not been touched.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    source: ModelSource,
    spec: ModelSpec,
    store: Store,
    gguf: Option<Gguf>,
    qk_rows: QkRows,
    metadata: Vec<(String, String)>,
    eos: Vec<TokenId>,
    bos: Option<TokenId>,
    generation: GenerationDefaults,
    warnings: Vec<String>,
}

/// A stored tensor, described for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// The format, or what else it is stored as.
    pub format: Result<WeightFormat, &'a str>,
    /// Bytes; 0 where the format is unknown.
    pub bytes: usize,
}

impl Checkpoint {
    /// Opens a model and understands its configuration.
    pub fn open(source: &ModelSource, options: &OpenOptions) -> Result<Self, ModelError> {
        let OpenOptions { unknown_keys } = *options;
        let checkpoint = match source {
            ModelSource::Gguf(path) => {
                let (store, gguf) = Store::gguf(path)?;
                Self::from_gguf(source, store, gguf, unknown_keys)
            }
            ModelSource::Folder(_) | ModelSource::Embedded { .. } => {
                Self::from_folder(source, unknown_keys)
            }
        }?;
        checkpoint.check_names(unknown_keys)
    }

    fn from_gguf(
        source: &ModelSource,
        store: Store,
        gguf: Gguf,
        unknown_keys: UnknownKeys,
    ) -> Result<Self, ModelError> {
        let config = |cause| ModelError::Config { file: source.place(), cause };
        let Understood { mut spec, qk_rows, warnings } =
            arch::from_gguf(&gguf, unknown_keys).map_err(config)?;
        if let Some(divisors) = store.get(ROPE_FREQS) {
            spec.rope.scaling = per_frequency(&spec, &divisors)?;
        }
        let mut ids = Ids { vocab: spec.vocab, warnings };
        let mut eos = Vec::new();
        for key in ["eos", "eot", "eom"] {
            let key = format!("tokenizer.ggml.{key}_token_id");
            let found = gguf_ids(&gguf, &key).map_err(config)?;
            eos.extend(ids.keep(&key, found));
        }
        let key = "tokenizer.ggml.bos_token_id";
        let bos = ids.keep(key, gguf_ids(&gguf, key).map_err(config)?).first().copied();
        Ok(Self {
            name: source.name().into_owned(),
            source: source.clone(),
            spec,
            store,
            qk_rows,
            metadata: gguf.metadata().iter().map(|(k, v)| (k.clone(), v.describe())).collect(),
            gguf: Some(gguf),
            eos: unique(eos),
            bos,
            generation: GenerationDefaults::default(),
            warnings: ids.warnings,
        })
    }

    fn from_folder(source: &ModelSource, unknown_keys: UnknownKeys) -> Result<Self, ModelError> {
        let place = source.place();
        let map = read_object(source, "config.json")?.ok_or_else(|| ModelError::Incomplete {
            folder: place.clone().into(),
            missing: "config.json",
            advice: "name a Hugging Face model folder",
        })?;
        let config = |cause| ModelError::Config { file: source.label("config.json"), cause };
        let Understood { mut spec, qk_rows, warnings } =
            arch::from_config(&map, unknown_keys).map_err(config)?;
        let store = Store::safetensors(source, place)?;
        let mut ids = Ids { vocab: spec.vocab, warnings };
        settle_head(&mut spec, &store, &mut ids.warnings);
        let mut eos = ids.keep("eos", json_ids(&map, "eos_token_id").map_err(config)?);
        let mut bos = ids.keep("bos", json_ids(&map, "bos_token_id").map_err(config)?);
        let mut generation = GenerationDefaults::default();
        let file = "generation_config.json";
        if let Some(map) = read_object(source, file)? {
            let config = |cause| ModelError::Config { file: source.label(file), cause };
            generation = GenerationDefaults::read(&map).map_err(config)?;
            eos.extend(ids.keep("eos", json_ids(&map, "eos_token_id").map_err(config)?));
            bos.extend(ids.keep("bos", json_ids(&map, "bos_token_id").map_err(config)?));
        }
        Ok(Self {
            name: source.name().into_owned(),
            source: source.clone(),
            spec,
            store,
            gguf: None,
            qk_rows,
            metadata: map.iter().map(|(k, v)| (k.clone(), shorten(v))).collect(),
            eos: unique(eos),
            bos: bos.first().copied(),
            generation,
            warnings: ids.warnings,
        })
    }

    /// Settles tensors that the spec has no use for, as unknown keys are settled.
    fn check_names(mut self, unknown_keys: UnknownKeys) -> Result<Self, ModelError> {
        let known: HashSet<String> =
            Tensor::all(&self.spec).into_iter().map(|tensor| self.stored_name(tensor)).collect();
        let tied_copy = self.stored_name(Tensor::Head);
        let expected = |name: &str| {
            known.contains(name)
                || name == tied_copy
                || name == ROPE_FREQS
                || medusa::is_in_model(name)
                || DERIVED.iter().any(|end| name.ends_with(end))
        };
        for stored in self.store.iter().filter(|stored| !expected(stored.name)) {
            match unknown_keys {
                UnknownKeys::Refuse => {
                    let (name, family) = (stored.name.to_owned(), self.spec.family);
                    let cause = ConfigError::UnknownTensor { name, family };
                    return Err(ModelError::Config { file: stored.file.to_owned(), cause });
                }
                UnknownKeys::Warn => {
                    self.warnings.push(format!("ignoring the unknown tensor `{}`", stored.name));
                }
            }
        }
        Ok(self)
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The model's name: of its folder, its file or its hub id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its files are.
    pub fn source(&self) -> &ModelSource {
        &self.source
    }

    /// The header of a GGUF file.
    pub fn gguf(&self) -> Option<&Gguf> {
        self.gguf.as_ref()
    }

    /// Tokens that end a text: the union of all the lists in its files, ascending.
    pub fn eos(&self) -> &[TokenId] {
        &self.eos
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// Default sampling parameters.
    pub fn generation_defaults(&self) -> &GenerationDefaults {
        &self.generation
    }

    /// What was ignored on opening.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The configuration's keys with their values, shortened to one line each.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// All stored tensors, used or not.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo<'_>> {
        self.store.iter().map(|stored| stored.info())
    }

    /// Bytes of the tensors that the model uses, as stored.
    pub fn weight_bytes(&self) -> usize {
        self.used().map(|stored| stored.data.len()).sum()
    }

    /// Weights of the model; a tied output matrix counts once.
    pub fn parameters(&self) -> usize {
        let tensors = Tensor::all(&self.spec).into_iter();
        tensors.map(|tensor| tensor.shape(&self.spec).into_iter().product::<usize>()).sum()
    }

    /// The format of most of the weights' bytes.
    pub fn stored_format(&self) -> WeightFormat {
        let mut bytes: HashMap<WeightFormat, usize> = HashMap::new();
        for stored in self.used() {
            if let Ok(format) = stored.format {
                *bytes.entry(format).or_default() += stored.data.len();
            }
        }
        let most = bytes.into_iter().max_by_key(|&(format, bytes)| (bytes, format as u8));
        most.map_or(WeightFormat::F32, |(format, _)| format)
    }

    /// A weight matrix as stored.
    ///
    /// # Panics
    /// If the tensor is no matrix.
    pub fn matrix(&self, tensor: Tensor) -> Result<MatrixView<'_>, ModelError> {
        let stored = self.store.require(&self.stored_name(tensor))?;
        let shape = tensor.shape(&self.spec);
        let format = stored.check(&shape, MATRIX_FORMATS)?;
        assert!(shape.len() == 2, "{tensor:?} is a matrix");
        let order = self.row_order(tensor);
        let (rows, cols) = (shape[0], shape[1]);
        Ok(MatrixView { name: stored.name, format, rows, cols, order, data: stored.data })
    }

    /// A norm's gain or a bias, in the order the program counts it; every value is finite.
    pub fn vector(&self, tensor: Tensor) -> Result<Vec<f32>, ModelError> {
        let stored = self.store.require(&self.stored_name(tensor))?;
        let values = stored.vector(&tensor.shape(&self.spec))?;
        Ok(match self.row_order(tensor) {
            RowOrder::Natural => values,
            order @ RowOrder::InterleavedHeads { .. } => {
                (0..values.len()).map(|row| values[order.stored(row)]).collect()
            }
        })
    }

    fn used(&self) -> impl Iterator<Item = Stored<'_>> {
        let tensors = Tensor::all(&self.spec).into_iter();
        tensors.filter_map(|tensor| self.store.get(&self.stored_name(tensor)))
    }

    fn stored_name(&self, tensor: Tensor) -> String {
        if self.gguf.is_some() { tensor.gguf_name() } else { tensor.hf_name() }
    }

    fn row_order(&self, tensor: Tensor) -> RowOrder {
        match tensor {
            Tensor::Query(_) | Tensor::QueryBias(_) | Tensor::Key(_) | Tensor::KeyBias(_) => {
                self.qk_rows.order(self.spec.head_size)
            }
            _ => RowOrder::Natural,
        }
    }
}

/// Reads a file that holds one JSON object.
pub(crate) fn read_object(
    source: &ModelSource,
    file: &str,
) -> Result<Option<Map<String, Value>>, ModelError> {
    let Some(bytes) = source.read(file)? else { return Ok(None) };
    parse_object(&bytes)
        .map(Some)
        .map_err(|cause| ModelError::Json { file: source.label(file), cause })
}

/// Parses a JSON object.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// A tied head that is stored all the same: a copy of the embedding, or (as transformers decides) the
/// sign that the configuration is wrong and the head is the model's own.
fn settle_head(spec: &mut ModelSpec, store: &Store, warnings: &mut Vec<String>) {
    if spec.output == OutputHead::Own {
        return;
    }
    let stored = |tensor: Tensor| store.get(&tensor.hf_name());
    if let (Some(head), Some(embedding)) = (stored(Tensor::Head), stored(Tensor::Embedding))
        && head.data != embedding.data
    {
        spec.output = OutputHead::Own;
        warnings.push(format!(
            "tie_word_embeddings is set, but `{}` differs from `{}`; using it",
            head.name, embedding.name
        ));
    }
}

/// GGUF's divisors of the rotary frequencies.
fn per_frequency(spec: &ModelSpec, stored: &Stored<'_>) -> Result<RopeScaling, ModelError> {
    let config = |found: String, wanted: &str| ModelError::Config {
        file: stored.file.to_owned(),
        cause: ConfigError::Value { key: stored.name.to_owned(), found, wanted: wanted.to_owned() },
    };
    if spec.rope.scaling != RopeScaling::None {
        return Err(config("present".to_owned(), "absent beside another rope scaling"));
    }
    let divisors = stored.vector(&[spec.rope.dims / 2])?;
    match divisors.iter().find(|&&divisor| divisor <= 0.0) {
        Some(divisor) => Err(config(divisor.to_string(), "above 0 throughout")),
        None => Ok(RopeScaling::PerFrequency { divisors }),
    }
}

fn unique(mut ids: Vec<TokenId>) -> Vec<TokenId> {
    ids.sort_unstable();
    ids.dedup();
    ids
}
