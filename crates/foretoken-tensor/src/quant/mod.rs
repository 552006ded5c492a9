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
    /// The way back, for formats that values are converted to.
    pub encoder: Option<Encoder>,
    /// For formats whose products are sums of integers.
    pub integers: Option<Integers>,
}

/// How a format's blocks come apart into integers.
#[derive(Debug, Clone, Copy)]
pub struct Integers {
    /// Values that share a scale: 16 or 32.
    pub group: usize,
    /// Takes one block apart.
    pub unpack: fn(&[u8], &mut Block),
}

/// A block taken apart: `value[i] = (d * scales[g]) * quants[i] - dmin * minima[g]` where `g` is the
/// value's group. Both products with `d` and `dmin` are exact in f32.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// The integers, in the order of the values; a block of fewer leaves the rest alone.
    pub quants: [i8; 256],
    /// Factor of the scales.
    pub d: f16,
    /// Factor of the minima, 0 of a format without.
    pub dmin: f16,
    /// Per group; 1 of a format whose blocks are groups.
    pub scales: [i8; 16],
    /// Per group.
    pub minima: [u8; 8],
}

impl Block {
    /// A block of zeros in one group.
    pub const EMPTY: Self =
        Self { quants: [0; 256], d: f16::ZERO, dmin: f16::ZERO, scales: [1; 16], minima: [0; 8] };

    /// The scale of a group, exactly.
    pub fn scale(&self, group: usize) -> f32 {
        self.d.to_f32() * f32::from(self.scales[group])
    }

    /// What is taken off each value of a group, exactly; 0 of a format without.
    pub fn minimum(&self, group: usize) -> f32 {
        self.dmin.to_f32() * f32::from(self.minima.get(group).copied().unwrap_or(0))
    }
}

/// Decodes blocks of integers.
fn decode(spec: &QuantSpec, bytes: &[u8], values: &mut [f32]) {
    let Integers { group, unpack } = spec.integers.expect("the format is one of integers");
    let mut block = Block::EMPTY;
    let blocks = bytes.chunks_exact(spec.block_bytes);
    for (bytes, values) in blocks.zip(values.chunks_exact_mut(spec.block_values)) {
        unpack(bytes, &mut block);
        let groups = values.chunks_exact_mut(group).zip(block.quants.chunks_exact(group));
        for (g, (values, quants)) in groups.enumerate() {
            let (scale, minimum) = (block.scale(g), block.minimum(g));
            for (value, quant) in values.iter_mut().zip(quants) {
                *value = scale * f32::from(*quant) - minimum;
            }
        }
    }
}

/// How f32 values become a format.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    /// The largest magnitude that does not overflow; the caller checks.
    pub largest: f32,
    /// Encodes whole blocks: `(values, bytes)`, sizes as in [`QuantSpec::decode`].
    pub run: fn(&[f32], &mut [u8]),
}

/// The f16 at the start of `bytes`.
fn read_f16(bytes: &[u8]) -> f16 {
    f16::from_le_bytes([bytes[0], bytes[1]])
}

/// The value of largest magnitude with its sign, the first one on ties; 0 of an empty slice.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |best: f32, &x| if x.abs() > best.abs() { x } else { best })
}

/// `1 / scale`, or 0 for a scale of 0.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}
