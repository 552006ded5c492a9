//! Weight formats: their names, sizes and how matrices are read from and converted between them.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{QUANTS, QuantSpec};

/// How a matrix's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// GGUF `Q8_0`: groups of 32 signed bytes with one f16 scale.
    Q8_0,
    /// GGUF `Q4_0`: groups of 32 nibbles less 8 with one f16 scale.
    Q4_0,
    /// GGUF `Q4_K`: 256 values, eight 6-bit scales and minima.
    Q4K,
    /// GGUF `Q5_K`: as `Q4_K` with a fifth bit.
    Q5K,
    /// GGUF `Q6_K`: 256 values, sixteen 8-bit scales.
    Q6K,
}

impl WeightFormat {
    /// The format's entry in [`QUANTS`].
    pub fn spec(self) -> &'static QuantSpec {
        let spec = QUANTS.iter().find(|spec| spec.format == self);
        spec.expect("every format has an entry in the registry")
    }

    /// The format's name, such as `q8_0`; [`str::parse`] is the inverse.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The format of a GGUF tensor by its `ggml_type`, if it is known here.
    pub fn from_gguf(type_id: u32) -> Option<Self> {
        QUANTS.iter().find(|spec| spec.gguf_type == type_id).map(|spec| spec.format)
    }

    /// Bytes of a stored row of `cols` values; `None` if these are no whole blocks or too many.
    pub fn bytes_per_row(self, cols: usize) -> Option<usize> {
        let spec = self.spec();
        if !cols.is_multiple_of(spec.block_values) {
            return None;
        }
        (cols / spec.block_values).checked_mul(spec.block_bytes)
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let spec = QUANTS.iter().find(|spec| spec.name == name);
        spec.map(|spec| spec.format).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// A name that is no weight format's.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown weight format `{0}`")]
pub struct UnknownFormat(pub String);
