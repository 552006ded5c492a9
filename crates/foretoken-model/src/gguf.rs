//! The GGUF container, versions 2 and 3: metadata and a table of tensors.
//!
//! [`Gguf::parse`] reads a header from bytes it neither trusts nor keeps. Every count is compared with
//! the bytes that are left before anything is allocated, all arithmetic is checked, and tensor ranges
//! may neither leave the file nor overlap. It knows the layout of the format and nothing of models.
//!
//! Source: the GGUF specification of the ggml project.

mod error;
mod reader;

use std::collections::HashMap;
use std::ops::Range;

use foretoken_tensor::WeightFormat;

pub use error::GgufError;
use reader::Reader;

/// The key of the alignment of tensor data.
const ALIGNMENT: &str = "general.alignment";
/// Alignment where the file names none.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Most dimensions of a tensor.
const MAX_DIMS: u32 = 4;

/// A metadata value. Integers and floats of every width are widened.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Signed or unsigned, 8 to 64 bits; values from 2^63 on are refused.
    Integer(i64),
    /// 32 or 64 bits.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// UTF-8 text.
    String(String),
    /// A list of values of one type.
    Array(ArrayValue),
}

/// A metadata array.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrayValue {
    /// Integers of any width.
    Integers(Vec<i64>),
    /// Floats of either width.
    Floats(Vec<f64>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Texts.
    Strings(Vec<String>),
}

impl Value {
    /// What the value is, for error messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a truth value",
            Self::String(_) => "a string",
            Self::Array(ArrayValue::Integers(_)) => "an array of integers",
            Self::Array(ArrayValue::Floats(_)) => "an array of floats",
            Self::Array(ArrayValue::Bools(_)) => "an array of truth values",
            Self::Array(ArrayValue::Strings(_)) => "an array of strings",
        }
    }

    /// The value on one short line: arrays by their length, texts by their beginning.
    pub fn describe(&self) -> String {
        const LONGEST: usize = 60;
        match self {
            Self::Integer(i) => i.to_string(),
            Self::Float(x) => x.to_string(),
            Self::Bool(b) => b.to_string(),
            Self::String(s) => match s.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{:?}...", &s[..end]),
                None => format!("{s:?}"),
            },
            Self::Array(ArrayValue::Integers(list)) => format!("[{} integers]", list.len()),
            Self::Array(ArrayValue::Floats(list)) => format!("[{} floats]", list.len()),
            Self::Array(ArrayValue::Bools(list)) => format!("[{} truth values]", list.len()),
            Self::Array(ArrayValue::Strings(list)) => format!("[{} strings]", list.len()),
        }
    }

    /// Whether the value asks for anything: false, 0 and empty values do not.
    pub(crate) fn is_set(&self) -> bool {
        match self {
            Self::Integer(i) => *i != 0,
            Self::Float(x) => *x != 0.0,
            Self::Bool(b) => *b,
            Self::String(s) => !s.is_empty(),
            Self::Array(ArrayValue::Integers(list)) => !list.is_empty(),
            Self::Array(ArrayValue::Floats(list)) => !list.is_empty(),
            Self::Array(ArrayValue::Bools(list)) => !list.is_empty(),
            Self::Array(ArrayValue::Strings(list)) => !list.is_empty(),
        }
    }
}

/// Element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// One that can be computed with.
    Weights(WeightFormat),
    /// Any other, by its ggml number; an error only once the tensor is used.
    Other(u32),
}

/// An entry of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes, outermost first (GGUF itself stores them innermost first).
    pub shape: Vec<usize>,
    /// Element type.
    pub kind: TensorType,
    /// Where the data lie in the file; empty where the type is [`TensorType::Other`].
    pub range: Range<usize>,
}

/// The header of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    version: u32,
    metadata: Vec<(String, Value)>,
    keys: HashMap<String, usize>,
    tensors: Vec<GgufTensor>,
    names: HashMap<String, usize>,
}

impl Gguf {
    /// Reads the header of `bytes`, which are a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, GgufError> {
        let mut reader = Reader::new(bytes);
        let version = reader.preamble()?;
        let tensor_count = reader.u64("the tensor count")?;
        let key_count = reader.u64("the metadata count")?;
        let metadata = reader.metadata(key_count)?;
        let keys = index("metadata key", metadata.iter().map(|(key, _)| key))?;
        let mut gguf = Self { version, metadata, keys, tensors: Vec::new(), names: HashMap::new() };
        let alignment = gguf.alignment()?;
        let infos = reader.tensor_infos(tensor_count)?;
        gguf.tensors = place(infos, reader.position(), alignment, bytes.len())?;
        gguf.names = index("tensor", gguf.tensors.iter().map(|tensor| &tensor.name))?;
        Ok(gguf)
    }

    /// Version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All metadata in file order.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.metadata
    }

    /// All tensors in file order.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.names.get(name).map(|&i| &self.tensors[i])
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).map(|&i| &self.metadata[i].1)
    }

    /// The value of `key` as a non-negative integer.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "a non-negative integer", |value| match value {
            Value::Integer(i) => u64::try_from(*i).ok(),
            _ => None,
        })
    }

    /// The value of `key` as a number; integers are converted.
    pub fn f64(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.typed(key, "a number", |value| match value {
            Value::Float(x) => Some(*x),
            Value::Integer(i) => Some(*i as f64),
            _ => None,
        })
    }

    /// The value of `key` as a truth value.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "a truth value", |value| match value {
            Value::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// The value of `key` as text.
    pub fn str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a string", |value| match value {
            Value::String(s) => Some(s.as_str()),
            _ => None,
        })
    }

    /// The value of `key` as a list of texts.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(ArrayValue::Strings(s)) => Some(s.as_slice()),
            _ => None,
        })
    }

    /// The value of `key` as a list of floats.
    pub fn floats(&self, key: &str) -> Result<Option<&[f64]>, GgufError> {
        self.typed(key, "an array of floats", |value| match value {
            Value::Array(ArrayValue::Floats(x)) => Some(x.as_slice()),
            _ => None,
        })
    }

    /// The value of `key` as a list of integers.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, GgufError> {
        self.typed(key, "an array of integers", |value| match value {
            Value::Array(ArrayValue::Integers(i)) => Some(i.as_slice()),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| GgufError::WrongType {
            key: key.to_owned(),
            found: value.kind(),
            wanted,
        })
    }

    fn alignment(&self) -> Result<u64, GgufError> {
        let alignment = self.u64(ALIGNMENT)?.unwrap_or(DEFAULT_ALIGNMENT);
        if alignment.is_power_of_two() && alignment <= 1 << 20 {
            Ok(alignment)
        } else {
            Err(GgufError::Alignment(alignment))
        }
    }
}

/// A tensor table entry as stored: the offset counts from the start of the data.
struct Info {
    name: String,
    shape: Vec<usize>,
    kind: TensorType,
    offset: u64,
    bytes: u64,
}

/// Index by name; a name may occur once.
fn index<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<HashMap<String, usize>, GgufError> {
    let mut index = HashMap::new();
    for (i, name) in names.enumerate() {
        if index.insert(name.clone(), i).is_some() {
            return Err(GgufError::Duplicate { what, name: name.clone() });
        }
    }
    Ok(index)
}

/// Turns offsets into ranges of the file and checks that they lie within it, apart from each other.
fn place(
    infos: Vec<Info>,
    header: usize,
    alignment: u64,
    file: usize,
) -> Result<Vec<GgufTensor>, GgufError> {
    let start = (header as u64).next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(infos.len());
    for info in infos {
        if !info.offset.is_multiple_of(alignment) {
            let Info { name, offset, .. } = info;
            return Err(GgufError::Misaligned { name, offset, alignment });
        }
        let begin = start.checked_add(info.offset);
        let end = begin.and_then(|begin| begin.checked_add(info.bytes));
        match (begin, end) {
            (Some(begin), Some(end)) if end <= file as u64 => tensors.push(GgufTensor {
                name: info.name,
                shape: info.shape,
                kind: info.kind,
                range: begin as usize..end as usize,
            }),
            _ => {
                let Info { name, offset, bytes, .. } = info;
                return Err(GgufError::OutOfFile { name, offset, bytes, file });
            }
        }
    }
    let mut order: Vec<&GgufTensor> = tensors.iter().filter(|t| !t.range.is_empty()).collect();
    order.sort_by_key(|tensor| tensor.range.start);
    if let Some(pair) = order.windows(2).find(|pair| pair[0].range.end > pair[1].range.start) {
        let (first, second) = (pair[0].name.clone(), pair[1].name.clone());
        return Err(GgufError::Overlap { first, second });
    }
    Ok(tensors)
}
