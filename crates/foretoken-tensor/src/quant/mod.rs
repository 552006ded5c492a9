//! The registry of weight formats: one file and one line of [`QUANTS`] per format.
//!
//! Each format says how its bytes decode to f32, exactly as its definition (IEEE, bfloat16, GGUF)
//! has it, and, if matrices may be packed in it, how f32 values are encoded. It knows no matrices
//! and no kernels.

mod floats;
mod q4_0;
mod q4_k;
mod q5_k;
mod q6_k;
mod q8_0;
#[cfg(test)]
mod tests;

use half::f16;

use crate::WeightFormat;

/// Every weight format.
pub const QUANTS: &[QuantSpec] = &[
    floats::F32,
    floats::F16,
    floats::BF16,
    q8_0::SPEC,
    q4_0::SPEC,
    q4_k::SPEC,
    q5_k::SPEC,
    q6_k::SPEC,
];

/// What a weight format is.
#[derive(Debug, Clone, Copy)]
pub struct QuantSpec {
    /// The format.
    pub format: WeightFormat,
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// Its `ggml_type` in a GGUF file.
    pub gguf_type: u32,
    /// Values per block; a stored row is whole blocks.
    pub block_values: usize,
    /// Bytes per block.
    pub block_bytes: usize,
    /// Decodes whole blocks: `(bytes, values)`, `values.len()` a multiple of [`Self::block_values`]
    /// and `bytes` the same number of blocks.
    pub decode: fn(&[u8], &mut [f32]),
    /// The way back, for formats that matrices are packed in.
    pub encoder: Option<Encoder>,
}

/// How f32 values become a format.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    /// The largest magnitude that does not overflow; the caller checks.
    pub largest: f32,
    /// Encodes whole blocks: `(values, bytes)`, sizes as in [`QuantSpec::decode`].
    pub run: fn(&[f32], &mut [u8]),
}

/// The f16 at the start of `bytes`, as f32.
fn read_f16(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// The value of largest magnitude with its sign, the first one on ties; 0 of an empty slice.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |best: f32, &x| if x.abs() > best.abs() { x } else { best })
}

/// `1 / scale`, or 0 for a scale of 0.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}
