//! GGUF `Q4_0`: per group of 32 an f16 scale `d`, then 16 bytes of which byte `j` holds values `j`
//! (low nibble) and `j + 16` (high); `value = d * (nibble - 8)`.

use half::f16;

use super::{Block, Encoder, Integers, QuantSpec, extreme, inverse, read_f16};
use crate::WeightFormat;

pub(super) const SPEC: QuantSpec = QuantSpec {
    format: WeightFormat::Q4_0,
    name: "q4_0",
    gguf_type: 2,
    block_values: VALUES,
    block_bytes: BYTES,
    decode: |bytes, values| super::decode(&SPEC, bytes, values),
    encoder: Some(Encoder { largest: 8.0 * f16::MAX.to_f32_const(), run: encode }),
    integers: Some(Integers { group: VALUES, unpack }),
};

const VALUES: usize = 32;
const HALF: usize = VALUES / 2;
const BYTES: usize = 2 + HALF;

fn unpack(bytes: &[u8], block: &mut Block) {
    block.d = read_f16(bytes);
    for (j, byte) in bytes[2..].iter().enumerate() {
        block.quants[j] = (byte & 15).cast_signed() - 8;
        block.quants[j + HALF] = (byte >> 4).cast_signed() - 8;
    }
}

/// llama.cpp's rounding: the value of largest magnitude becomes exactly -8 steps, so the scale has
/// the opposite sign of it; the opposite end saturates at 7 steps.
fn encode(values: &[f32], bytes: &mut [u8]) {
    for (values, block) in values.chunks_exact(VALUES).zip(bytes.chunks_exact_mut(BYTES)) {
        let d = extreme(values) / -8.0;
        let id = inverse(d);
        let nibble = |x: f32| ((x * id + 8.5) as u8).min(15);
        block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
        for (j, byte) in block[2..].iter_mut().enumerate() {
            *byte = nibble(values[j]) | nibble(values[j + HALF]) << 4;
        }
    }
}
