//! The formats that store each value on its own: f32, IEEE half precision, and bfloat16 (the upper
//! half of an f32). Encoding rounds to nearest even.

use half::{bf16, f16};

use super::{Encoder, QuantSpec};
use crate::WeightFormat;

pub(super) const F32: QuantSpec = QuantSpec {
    format: WeightFormat::F32,
    name: "f32",
    gguf_type: 0,
    block_values: 1,
    block_bytes: 4,
    decode: |bytes, values| decode(bytes, values, f32::from_le_bytes),
    encoder: Some(Encoder {
        largest: f32::MAX,
        run: |values, bytes| encode(values, bytes, f32::to_le_bytes),
    }),
    integers: None,
};

pub(super) const F16: QuantSpec = QuantSpec {
    format: WeightFormat::F16,
    name: "f16",
    gguf_type: 1,
    block_values: 1,
    block_bytes: 2,
    decode: |bytes, values| decode(bytes, values, |b| f16::from_le_bytes(b).to_f32()),
    encoder: Some(Encoder {
        largest: f16::MAX.to_f32_const(),
        run: |values, bytes| encode(values, bytes, |x| f16::from_f32(x).to_le_bytes()),
    }),
    integers: None,
};

pub(super) const BF16: QuantSpec = QuantSpec {
    format: WeightFormat::Bf16,
    name: "bf16",
    gguf_type: 30,
    block_values: 1,
    block_bytes: 2,
    decode: |bytes, values| decode(bytes, values, |b| bf16::from_le_bytes(b).to_f32()),
    encoder: Some(Encoder {
        largest: bf16::MAX.to_f32_const(),
        run: |values, bytes| encode(values, bytes, |x| bf16::from_f32(x).to_le_bytes()),
    }),
    integers: None,
};

fn decode<const N: usize>(bytes: &[u8], values: &mut [f32], one: impl Fn([u8; N]) -> f32) {
    for (bytes, value) in bytes.as_chunks().0.iter().zip(values) {
        *value = one(*bytes);
    }
}

fn encode<const N: usize>(values: &[f32], bytes: &mut [u8], one: impl Fn(f32) -> [u8; N]) {
    for (&value, bytes) in values.iter().zip(bytes.as_chunks_mut().0) {
        *bytes = one(value);
    }
}
