//! GGUF `Q5_K`: as `Q4_K`, with a fifth bit per value;
//! `value = (d * scale) * (nibble + 16 * bit) - dmin * minimum`.
//!
//! Block: f16 `d`, f16 `dmin`, 12 bytes of scales and minima, 32 bytes of fifth bits (bit `g` of
//! byte `l` belongs to value `l` of group `g`), 128 bytes of nibbles as in `Q4_K`.

use super::{QuantSpec, q4_k::SCALES, q4_k::scale_and_minimum, read_f16};
use crate::WeightFormat;

pub(super) const SPEC: QuantSpec = QuantSpec {
    format: WeightFormat::Q5K,
    name: "q5_k",
    gguf_type: 13,
    block_values: VALUES,
    block_bytes: BYTES,
    decode,
    encoder: None,
};

const VALUES: usize = 256;
const BITS: usize = 32;
const BYTES: usize = 4 + SCALES + BITS + VALUES / 2;

fn decode(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.chunks_exact(BYTES).zip(values.chunks_exact_mut(VALUES)) {
        let (head, quants) = block.split_at(4 + SCALES);
        let (bits, nibbles) = quants.split_at(BITS);
        let (d, dmin) = (read_f16(head), read_f16(&head[2..]));
        for (group, values) in values.chunks_exact_mut(32).enumerate() {
            let (scale, minimum) = scale_and_minimum(&head[4..], group);
            let (scale, minimum) = (d * scale, dmin * minimum);
            let nibbles = &nibbles[32 * (group / 2)..];
            for ((&byte, &bits), value) in nibbles.iter().zip(bits).zip(values) {
                let q = byte >> (4 * (group % 2)) & 15 | (bits >> group & 1) << 4;
                *value = scale * f32::from(q) - minimum;
            }
        }
    }
}
