//! Settings of generation that a checkpoint brings: ends of text and default sampling parameters.

use foretoken_core::TokenId;
use serde_json::{Map, Value};

use crate::config::shorten;
use crate::error::ConfigError;
use crate::gguf::{ArrayValue, Gguf, Value as GgufValue};

/// Sampling parameters of `generation_config.json`, where it names them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Whether to sample at all; greedy otherwise.
    pub do_sample: Option<bool>,
    /// Divides the logits.
    pub temperature: Option<f64>,
    /// Tokens kept by rank.
    pub top_k: Option<usize>,
    /// Probability mass kept.
    pub top_p: Option<f64>,
    /// Least probability kept, relative to the highest.
    pub min_p: Option<f64>,
    /// Divides the logits of tokens seen.
    pub repetition_penalty: Option<f64>,
}

impl GenerationDefaults {
    /// Reads the object of a `generation_config.json`.
    pub(super) fn read(map: &Map<String, Value>) -> Result<Self, ConfigError> {
        Ok(Self {
            do_sample: typed(map, "do_sample", "true or false", Value::as_bool)?,
            temperature: number(map, "temperature")?,
            top_k: typed(map, "top_k", "a non-negative integer", Value::as_u64)?
                .map(|k| usize::try_from(k).unwrap_or(usize::MAX)),
            top_p: number(map, "top_p")?,
            min_p: number(map, "min_p")?,
            repetition_penalty: number(map, "repetition_penalty")?,
        })
    }
}

fn number(map: &Map<String, Value>, key: &str) -> Result<Option<f64>, ConfigError> {
    let positive = |value: &Value| value.as_f64().filter(|x| x.is_finite() && *x >= 0.0);
    typed(map, key, "a finite number of at least 0", positive)
}

fn typed<T>(
    map: &Map<String, Value>,
    key: &str,
    wanted: &'static str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| ConfigError::Type {
            key: key.to_owned(),
            found: shorten(value),
            wanted,
        }),
    }
}

/// Token ids of a JSON key that holds one id, a list of them, or nothing.
pub(super) fn json_ids(map: &Map<String, Value>, key: &str) -> Result<Vec<i64>, ConfigError> {
    let ids = |value: &Value| match value {
        Value::Array(list) => list.iter().map(Value::as_i64).collect(),
        value => value.as_i64().map(|id| vec![id]),
    };
    Ok(typed(map, key, "a token id or a list of them", ids)?.unwrap_or_default())
}

/// Token ids of a GGUF key that holds one id, a list of them, or nothing.
pub(super) fn gguf_ids(gguf: &Gguf, key: &str) -> Result<Vec<i64>, ConfigError> {
    match gguf.get(key) {
        None => Ok(Vec::new()),
        Some(GgufValue::Integer(id)) => Ok(vec![*id]),
        Some(GgufValue::Array(ArrayValue::Integers(ids))) => Ok(ids.clone()),
        Some(other) => Err(ConfigError::Type {
            key: key.to_owned(),
            found: other.describe(),
            wanted: "a token id or a list of them",
        }),
    }
}

/// Ids within a vocabulary; those outside it, which can never be emitted, become warnings.
pub(super) struct Ids {
    pub(super) vocab: usize,
    pub(super) warnings: Vec<String>,
}

impl Ids {
    /// The valid ones of `ids`, which the files call `what`.
    pub(super) fn keep(&mut self, what: &str, ids: impl IntoIterator<Item = i64>) -> Vec<TokenId> {
        let mut kept = Vec::new();
        for id in ids {
            match TokenId::try_from(id) {
                Ok(token) if (token as usize) < self.vocab => kept.push(token),
                _ => self.warnings.push(format!(
                    "ignoring the {what} id {id}, which is outside the vocabulary of {}",
                    self.vocab
                )),
            }
        }
        kept
    }
}
