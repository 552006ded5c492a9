//! GGUF `Q4_K`: 256 values in eight groups of 32, each with a 6-bit scale and minimum over two f16
//! factors; `value = (d * scale) * nibble - dmin * minimum`.
//!
//! Block: f16 `d`, f16 `dmin`, 12 bytes of scales and minima, 128 bytes of nibbles. Each 32 bytes
//! of these hold two groups, one in the low nibbles and the next in the high ones.

use super::{QuantSpec, read_f16};
use crate::WeightFormat;

pub(super) const SPEC: QuantSpec = QuantSpec {
    format: WeightFormat::Q4K,
    name: "q4_k",
    gguf_type: 12,
    block_values: VALUES,
    block_bytes: BYTES,
    decode,
    encoder: None,
};

const VALUES: usize = 256;
const BYTES: usize = 4 + SCALES + VALUES / 2;
/// Bytes of eight packed 6-bit scales and minima.
pub(super) const SCALES: usize = 12;

fn decode(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.chunks_exact(BYTES).zip(values.chunks_exact_mut(VALUES)) {
        let (head, nibbles) = block.split_at(4 + SCALES);
        let (d, dmin) = (read_f16(head), read_f16(&head[2..]));
        for (group, values) in values.chunks_exact_mut(32).enumerate() {
            let (scale, minimum) = scale_and_minimum(&head[4..], group);
            let (scale, minimum) = (d * scale, dmin * minimum);
            for (&byte, value) in nibbles[32 * (group / 2)..].iter().zip(values) {
                let q = byte >> (4 * (group % 2)) & 15;
                *value = scale * f32::from(q) - minimum;
            }
        }
    }
}

/// The 6-bit scale and minimum of one of the eight groups of a `Q4_K` or `Q5_K` block.
///
/// Bytes 0 to 3 and 4 to 7 hold those of groups 0 to 3 in their low six bits; bytes 8 to 11 hold
/// the low four bits of groups 4 to 7 (scale low, minimum high), whose upper two are the top bits
/// of bytes 0 to 7.
pub(super) fn scale_and_minimum(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let low = packed[group + 4];
        (low & 15 | packed[group - 4] >> 6 << 4, low >> 4 | packed[group] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}
