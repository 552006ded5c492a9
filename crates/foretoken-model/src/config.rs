//! Typed access to `config.json`.
//!
//! A [`Config`] hands out values only for keys that the family has declared to use, so that the lists
//! in `arch/` cannot drift from what is read, and refuses all other keys that are set to something.

mod rope;

use serde_json::{Map, Value};

use crate::error::ConfigError;
pub(crate) use rope::yarn_magnitude;

/// Most tokens of a vocabulary.
pub(crate) const MAX_VOCAB: usize = 1 << 24;
/// Largest width of the residual stream, of the feed-forward layer, and of all heads together.
pub(crate) const MAX_WIDTH: usize = 1 << 20;
/// Most layers.
pub(crate) const MAX_LAYERS: usize = 4096;
/// Longest context.
pub(crate) const MAX_CONTEXT: usize = 1 << 30;

/// What to do about keys and tensors that no list of the family names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownKeys {
    /// Refuse the model: an unknown key may change the mathematics.
    #[default]
    Refuse,
    /// Collect a warning.
    Warn,
}

/// The keys that a family reads and those that cannot change its mathematics.
#[derive(Debug, Clone, Copy)]
pub struct KeyLists {
    /// Read.
    pub uses: &'static [&'static str],
    /// Without influence on what the model computes.
    pub ignores: &'static [&'static str],
}

/// A JSON object of a configuration, with the lists of keys that may be in it.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    map: &'a Map<String, Value>,
    /// Prepended to keys in messages, such as `rope_scaling.`.
    prefix: &'static str,
    lists: &'a [KeyLists],
}

impl<'a> Config<'a> {
    /// A view of `map` whose known keys are the union of `lists`.
    pub(crate) fn new(map: &'a Map<String, Value>, lists: &'a [KeyLists]) -> Self {
        Self { map, prefix: "", lists }
    }

    /// The value of a declared key; null counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        debug_assert!(
            self.lists.iter().any(|list| list.uses.contains(&key)),
            "a family reads only the keys it lists: {key}"
        );
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether a declared key is there, be it null.
    pub fn contains(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A non-negative integer of at most `max`, if present.
    pub fn integer(&self, key: &str, max: usize) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let integer =
            value.as_u64().ok_or_else(|| self.type_error(key, "a non-negative integer"))?;
        match usize::try_from(integer) {
            Ok(integer) if integer <= max => Ok(Some(integer)),
            _ => Err(self.refuse(key, &integer, format!("at most {max}"))),
        }
    }

    /// An integer from 1 to `max`, if present.
    pub fn size(&self, key: &str, max: usize) -> Result<Option<usize>, ConfigError> {
        match self.integer(key, max)? {
            Some(0) => Err(self.refuse(key, &0, format!("from 1 to {max}"))),
            size => Ok(size),
        }
    }

    /// An integer from 1 to `max` that must be there.
    pub fn required_size(&self, key: &str, max: usize) -> Result<usize, ConfigError> {
        self.size(key, max)?.ok_or_else(|| ConfigError::Missing { key: self.full(key) })
    }

    /// A finite number above zero, if present.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().ok_or_else(|| self.type_error(key, "a number"))? {
            x if x.is_finite() && x > 0.0 => Ok(Some(x)),
            x => Err(self.refuse(key, &x, "a finite number above 0")),
        }
    }

    /// A truth value, if present.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.type_error(key, "true or false"))
    }

    /// Text, if present.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.type_error(key, "a string"))
    }

    /// A list of texts, if present.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.type_error(key, "a list of strings"))
    }

    /// An object within this one, if present; `prefix` names it in messages.
    fn object<'b>(
        &self,
        key: &str,
        prefix: &'static str,
        lists: &'b [KeyLists],
    ) -> Result<Option<Config<'b>>, ConfigError>
    where
        'a: 'b,
    {
        let Some(value) = self.get(key) else { return Ok(None) };
        let map = value.as_object().ok_or_else(|| self.type_error(key, "an object"))?;
        Ok(Some(Config { map, prefix, lists }))
    }

    /// The keys that no list names and that are set to something: `(key, shortened value)`.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = (String, String)> + 'a {
        let Self { map, prefix, lists } = *self;
        let known = move |key: &str| {
            lists.iter().any(|list| list.uses.contains(&key) || list.ignores.contains(&key))
        };
        map.iter()
            .filter(move |(key, value)| is_set(value) && !known(key))
            .map(move |(key, value)| (format!("{prefix}{key}"), shorten(value)))
    }

    /// Refuses the value of `key`.
    pub(crate) fn refuse(
        &self,
        key: &str,
        found: &dyn ToString,
        wanted: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value { key: self.full(key), found: found.to_string(), wanted: wanted.into() }
    }

    fn type_error(&self, key: &str, wanted: &'static str) -> ConfigError {
        let found = self.map.get(key).map(shorten).unwrap_or_default();
        ConfigError::Type { key: self.full(key), found, wanted }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

/// Whether a value of an unknown key asks for anything: null, false, 0 and empty values do not.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// A value as it may stand in a one-line message.
pub(crate) fn shorten(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
