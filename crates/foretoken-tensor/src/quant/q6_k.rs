//! GGUF `Q6_K`: 256 values in sixteen groups of 16, each with a signed 8-bit scale over one f16
//! factor; `value = (d * scale) * (q - 32)`.
//!
//! Block: 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 scales, f16 `d`. Values come in
//! two halves of 128 and in each half in quarters of 32: quarters 0 and 2 share the first 32 nibble
//! bytes of the half (low, high), quarters 1 and 3 the second; quarter `k` has the bits from `2 k`
//! on of the half's 32 bytes of bit pairs.

use super::{Block, Integers, QuantSpec, read_f16};
use crate::WeightFormat;

pub(super) const SPEC: QuantSpec = QuantSpec {
    format: WeightFormat::Q6K,
    name: "q6_k",
    gguf_type: 14,
    block_values: VALUES,
    block_bytes: BYTES,
    decode: |bytes, values| super::decode(&SPEC, bytes, values),
    encoder: None,
    integers: Some(Integers { group: 16, unpack }),
};

const VALUES: usize = 256;
const BYTES: usize = 128 + 64 + 16 + 2;

fn unpack(bytes: &[u8], block: &mut Block) {
    let (nibbles, rest) = bytes.split_at(128);
    let (pairs, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    block.d = read_f16(d);
    for (scale, byte) in block.scales.iter_mut().zip(scales) {
        *scale = byte.cast_signed();
    }
    for (i, quant) in block.quants.iter_mut().enumerate() {
        let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
        let low = nibbles[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
        let high = pairs[32 * half + l] >> (2 * quarter) & 3;
        *quant = (low | high << 4).cast_signed() - 32;
    }
}
