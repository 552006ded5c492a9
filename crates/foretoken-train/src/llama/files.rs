//! Hugging Face folders: reading models to train further, and writing those that were trained.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use foretoken_model::{Checkpoint, ModelError, ModelSource, OpenOptions, OutputHead};
use serde_json::{Map, Value, json};

use super::{Llama, LlamaShape};
use crate::error::TrainError;
use crate::parameters::{Parameter, Parameters};
use crate::weights::{StoredAs, write_tensors};

/// Files beside weights and configuration that a model's folder may have.
const COPIED: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];
/// Where the source names special tokens; what comes last wins.
const SETTINGS: &[&str] = &["generation_config.json", "config.json"];
/// The keys of these that are kept.
const KEPT: &[&str] = &["bos_token_id", "eos_token_id", "pad_token_id"];

/// What a folder holds beside the model's own.
#[derive(Debug, Default)]
pub(crate) struct Beside<'a> {
    /// Entries of the configuration.
    pub(crate) config: Vec<(&'static str, Value)>,
    /// Tensors by name.
    pub(crate) tensors: Vec<(String, &'a Parameter)>,
}

impl Llama {
    /// Reads a model.
    ///
    /// # Errors
    /// If the files cannot be read, a value is not finite, or the model is more than a plain Llama.
    pub fn open(source: &ModelSource) -> Result<Self, TrainError> {
        let checkpoint = Checkpoint::open(source, &OpenOptions::default())?;
        let shape = LlamaShape::of_spec(checkpoint.spec(), checkpoint.name())?;
        shape.check()?;
        let mut parameters = Parameters::default();
        for tensor in shape.tensors() {
            let sizes = tensor.shape(checkpoint.spec());
            let values = if sizes.len() > 1 {
                checkpoint.matrix(tensor)?.decode().map_err(ModelError::from)?
            } else {
                checkpoint.vector(tensor)?
            };
            parameters.push(Parameter::new(tensor.hf_name(), &sizes, values));
        }
        Ok(Self::with_parameters(shape, parameters))
    }

    /// Writes the model to a folder that `foretoken` and transformers read, which is made if need be.
    /// Tokenizer, special tokens and sampling defaults come from the files of `source`, if one is given.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn save(
        &self,
        folder: &Path,
        stored: StoredAs,
        source: Option<&ModelSource>,
    ) -> Result<(), TrainError> {
        self.save_with(folder, stored, source, &Beside::default())
    }

    /// As [`Self::save`], with more in the configuration and among the tensors.
    pub(crate) fn save_with(
        &self,
        folder: &Path,
        stored: StoredAs,
        source: Option<&ModelSource>,
        beside: &Beside<'_>,
    ) -> Result<(), TrainError> {
        fs::create_dir_all(folder).map_err(file(folder))?;
        let mut config = self.config(stored);
        if let Some(source) = source {
            for name in SETTINGS {
                let Some(text) = source.read(name)? else { continue };
                let theirs: Map<String, Value> = serde_json::from_slice(&text)
                    .map_err(|cause| file(Path::new(name))(cause.into()))?;
                let kept = KEPT.iter().filter_map(|key| Some((*key, theirs.get(*key)?)));
                config.extend(kept.map(|(key, value)| (key.to_owned(), value.clone())));
            }
            for name in COPIED {
                let Some(bytes) = source.read(name)? else { continue };
                let path = folder.join(name);
                fs::write(&path, bytes).map_err(file(&path))?;
            }
        }
        let more = beside.config.iter();
        config.extend(more.map(|(key, value)| ((*key).to_owned(), value.clone())));
        let path = folder.join("config.json");
        let text = format!("{:#}\n", Value::Object(config));
        fs::write(&path, text).map_err(file(&path))?;
        self.save_weights(&folder.join("model.safetensors"), stored, beside)
    }

    fn save_weights(
        &self,
        path: &Path,
        stored: StoredAs,
        beside: &Beside<'_>,
    ) -> Result<(), TrainError> {
        let own = self.parameters.as_slice().iter().map(|parameter| (&parameter.name, parameter));
        let beside = beside.tensors.iter().map(|(name, parameter)| (name, *parameter));
        let tensors = own.chain(beside).map(|(name, parameter)| (name, parameter.tensor(stored)));
        // transformers asks for this key.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensors(tensors, Some(metadata), path)
            .map_err(|cause| TrainError::Weights { file: path.to_owned(), cause })
    }

    fn config(&self, stored: StoredAs) -> Map<String, Value> {
        let shape = &self.shape;
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": shape.vocab,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.ffn,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_size,
            "max_position_embeddings": shape.context,
            "rms_norm_eps": shape.norm_eps,
            "rope_theta": shape.rope_theta,
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "tie_word_embeddings": shape.output == OutputHead::Tied,
            "torch_dtype": match stored {
                StoredAs::F32 => "float32",
                StoredAs::Bf16 => "bfloat16",
            },
        });
        match config {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// An error about this file.
fn file(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let file = path.to_owned();
    move |cause| TrainError::File { file, cause }
}
