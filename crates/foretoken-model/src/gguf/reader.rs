//! Little-endian reading of a GGUF header with every length checked against what is left.

use foretoken_tensor::WeightFormat;

use super::{ArrayValue, GgufError, Info, MAX_DIMS, TensorType, Value};

/// Longest string, in bytes: far above any chat template or embedded tokenizer file.
const MAX_STRING: u64 = 16 << 20;
/// Least bytes of a metadata entry: a key's length, a type and a value of one byte.
const MIN_ENTRY: u64 = 8 + 4 + 1;
/// Least bytes of a tensor's entry: a name's length, the dimension count, a type and an offset.
const MIN_INFO: u64 = 8 + 4 + 4 + 8;

/// A cursor over the file.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Checks the magic and returns the version.
    pub(super) fn preamble(&mut self) -> Result<u32, GgufError> {
        if !self.bytes.starts_with(b"GGUF") {
            return Err(GgufError::Magic);
        }
        self.at = 4;
        match self.u32("the version")? {
            version @ 2..=3 => Ok(version),
            version if matches!(version.swap_bytes(), 1..=3) => Err(GgufError::BigEndian),
            version => Err(GgufError::Version(version)),
        }
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads `count` metadata entries.
    pub(super) fn metadata(&mut self, count: u64) -> Result<Vec<(String, Value)>, GgufError> {
        let count = self.fits("the metadata", count, MIN_ENTRY)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self.string("a metadata key")?;
            let kind = self.u32("a value type")?;
            let value = self.value(&key, kind)?;
            entries.push((key, value));
        }
        Ok(entries)
    }

    /// Reads `count` entries of the tensor table.
    pub(super) fn tensor_infos(&mut self, count: u64) -> Result<Vec<Info>, GgufError> {
        let count = self.fits("the tensor table", count, MIN_INFO)?;
        let mut infos = Vec::with_capacity(count);
        for _ in 0..count {
            infos.push(self.tensor_info()?);
        }
        Ok(infos)
    }

    fn tensor_info(&mut self) -> Result<Info, GgufError> {
        let name = self.string("a tensor name")?;
        let dims = self.u32("a dimension count")?;
        if dims > MAX_DIMS {
            return Err(GgufError::Dims { name, dims });
        }
        let mut shape = Vec::with_capacity(dims as usize);
        for _ in 0..dims {
            let size = self.u64("a tensor's shape")?;
            shape.push(usize::try_from(size).map_err(|_| GgufError::Shape { name: name.clone() })?);
        }
        shape.reverse();
        let number = self.u32("a tensor type")?;
        let offset = self.u64("a tensor offset")?;
        let (kind, bytes) = match WeightFormat::from_gguf(number) {
            Some(format) => (TensorType::Weights(format), size(&name, &shape, format)?),
            None => (TensorType::Other(number), 0),
        };
        Ok(Info { name, shape, kind, offset, bytes })
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, GgufError> {
        const WHAT: &str = "a metadata value";
        Ok(match kind {
            6 => Value::Float(f32::from_le_bytes(self.array(WHAT)?).into()),
            7 => Value::Bool(self.bool(key)?),
            8 => Value::String(self.string(WHAT)?),
            9 => Value::Array(self.list(key)?),
            12 => Value::Float(f64::from_le_bytes(self.array(WHAT)?)),
            _ => Value::Integer(self.integer(key, kind)?),
        })
    }

    fn list(&mut self, key: &str) -> Result<ArrayValue, GgufError> {
        const WHAT: &str = "a metadata array";
        let kind = self.u32("an element type")?;
        let count = self.u64("an array's length")?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(GgufError::NestedArray { key: key.to_owned() }),
            kind => return Err(GgufError::ValueType { key: key.to_owned(), kind }),
        };
        let n = self.fits(WHAT, count, width)?;
        Ok(match kind {
            6 => ArrayValue::Floats(
                self.many(n, |r| r.array(WHAT).map(|b| f32::from_le_bytes(b).into()))?,
            ),
            12 => ArrayValue::Floats(self.many(n, |r| r.array(WHAT).map(f64::from_le_bytes))?),
            7 => ArrayValue::Bools(self.many(n, |r| r.bool(key))?),
            8 => ArrayValue::Strings(self.many(n, |r| r.string(WHAT))?),
            _ => ArrayValue::Integers(self.many(n, |r| r.integer(key, kind))?),
        })
    }

    /// `count` elements, a number that [`Self::fits`] has bounded by the file.
    fn many<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, GgufError>,
    ) -> Result<Vec<T>, GgufError> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }

    fn integer(&mut self, key: &str, kind: u32) -> Result<i64, GgufError> {
        const WHAT: &str = "a metadata value";
        Ok(match kind {
            0 => u8::from_le_bytes(self.array(WHAT)?).into(),
            1 => i8::from_le_bytes(self.array(WHAT)?).into(),
            2 => u16::from_le_bytes(self.array(WHAT)?).into(),
            3 => i16::from_le_bytes(self.array(WHAT)?).into(),
            4 => u32::from_le_bytes(self.array(WHAT)?).into(),
            5 => i32::from_le_bytes(self.array(WHAT)?).into(),
            10 => {
                let value = u64::from_le_bytes(self.array(WHAT)?);
                i64::try_from(value)
                    .map_err(|_| GgufError::Integer { key: key.to_owned(), value })?
            }
            11 => i64::from_le_bytes(self.array(WHAT)?),
            kind => return Err(GgufError::ValueType { key: key.to_owned(), kind }),
        })
    }

    fn bool(&mut self, key: &str) -> Result<bool, GgufError> {
        match self.array("a truth value")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [value] => Err(GgufError::Bool { key: key.to_owned(), value }),
        }
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn string(&mut self, what: &'static str) -> Result<String, GgufError> {
        let at = self.at;
        let length = self.u64(what)?;
        if length > MAX_STRING {
            return Err(GgufError::StringTooLong { at, length, limit: MAX_STRING });
        }
        let bytes = self.take(what, length as usize)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| GgufError::Utf8 { at })
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let rest = &self.bytes[self.at..];
        let Some(array) = rest.first_chunk() else {
            return Err(self.truncated(what, N as u64));
        };
        self.at += N;
        Ok(*array)
    }

    fn take(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], GgufError> {
        let Some(taken) = self.bytes[self.at..].get(..length) else {
            return Err(self.truncated(what, length as u64));
        };
        self.at += length;
        Ok(taken)
    }

    /// `count` as a length, once `count` elements of at least `width` bytes can still follow.
    fn fits(&self, what: &'static str, count: u64, width: u64) -> Result<usize, GgufError> {
        let needed = count.saturating_mul(width);
        if needed <= (self.bytes.len() - self.at) as u64 {
            Ok(count as usize)
        } else {
            Err(self.truncated(what, needed))
        }
    }

    fn truncated(&self, what: &'static str, needed: u64) -> GgufError {
        GgufError::Truncated { what, at: self.at, needed, left: self.bytes.len() - self.at }
    }
}

/// Bytes of a tensor.
fn size(name: &str, shape: &[usize], format: WeightFormat) -> Result<u64, GgufError> {
    let spec = format.spec();
    let columns = shape.last().copied().unwrap_or(1);
    if !columns.is_multiple_of(spec.block_values) {
        let (name, block) = (name.to_owned(), spec.block_values);
        return Err(GgufError::Block { name, columns, block });
    }
    shape
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size))
        .and_then(|values| (values / spec.block_values).checked_mul(spec.block_bytes))
        .map(|bytes| bytes as u64)
        .ok_or_else(|| GgufError::Shape { name: name.to_owned() })
}
