//! GGUF `Q8_0`: per group of 32 an f16 scale `d`, then 32 signed bytes; `value = d * q`.

use half::f16;

use super::{Block, Encoder, Integers, QuantSpec, extreme, inverse, read_f16};
use crate::WeightFormat;

pub(super) const SPEC: QuantSpec = QuantSpec {
    format: WeightFormat::Q8_0,
    name: "q8_0",
    gguf_type: 8,
    block_values: VALUES,
    block_bytes: BYTES,
    decode: |bytes, values| super::decode(&SPEC, bytes, values),
    encoder: Some(Encoder { largest: 127.0 * f16::MAX.to_f32_const(), run: encode }),
    integers: Some(Integers { group: VALUES, unpack }),
};

const VALUES: usize = 32;
const BYTES: usize = 34;

fn unpack(bytes: &[u8], block: &mut Block) {
    block.d = read_f16(bytes);
    for (quant, byte) in block.quants.iter_mut().zip(&bytes[2..]) {
        *quant = byte.cast_signed();
    }
}

/// llama.cpp's rounding: the bytes follow the f32 scale `max |x| / 127`, rounded half away from
/// zero; the scale itself is rounded to f16 afterwards.
fn encode(values: &[f32], bytes: &mut [u8]) {
    for (values, block) in values.chunks_exact(VALUES).zip(bytes.chunks_exact_mut(BYTES)) {
        let d = extreme(values).abs() / 127.0;
        let id = inverse(d);
        block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
        for (&x, q) in values.iter().zip(&mut block[2..]) {
            *q = ((x * id).round() as i8).cast_unsigned();
        }
    }
}
