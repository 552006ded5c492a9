//! GGUF `Q4_K`: 256 values in eight groups of 32, each with a 6-bit scale and minimum over two f16
//! factors; `value = (d * scale) * nibble - dmin * minimum`.
//!
//! Block: f16 `d`, f16 `dmin`, 12 bytes of scales and minima, 128 bytes of nibbles. Each 32 bytes
//! of these hold two groups, one in the low nibbles and the next in the high ones.

use super::{Block, Integers, QuantSpec, read_f16};
use crate::WeightFormat;

pub(super) const SPEC: QuantSpec = QuantSpec {
    format: WeightFormat::Q4K,
    name: "q4_k",
    gguf_type: 12,
    block_values: VALUES,
    block_bytes: BYTES,
    decode: |bytes, values| super::decode(&SPEC, bytes, values),
    encoder: None,
    integers: Some(Integers { group: GROUP, unpack }),
};

const VALUES: usize = 256;
const BYTES: usize = HEAD + VALUES / 2;
/// Values per group.
pub(super) const GROUP: usize = 32;
/// Bytes of both factors and of eight packed 6-bit scales and minima.
pub(super) const HEAD: usize = 4 + 12;

fn unpack(bytes: &[u8], block: &mut Block) {
    let (head, nibbles) = bytes.split_at(HEAD);
    unpack_head(head, block);
    for (g, quants) in block.quants.chunks_exact_mut(GROUP).enumerate() {
        for (quant, byte) in quants.iter_mut().zip(&nibbles[GROUP * (g / 2)..]) {
            *quant = (byte >> (4 * (g % 2)) & 15).cast_signed();
        }
    }
}

/// Factors, scales and minima of a `Q4_K` or `Q5_K` block.
///
/// Of the twelve bytes, 0 to 3 and 4 to 7 hold the scales and minima of groups 0 to 3 in their low six
/// bits; 8 to 11 hold the low four bits of groups 4 to 7 (scale low, minimum high), whose upper two are the
/// top bits of bytes 0 to 7.
pub(super) fn unpack_head(head: &[u8], block: &mut Block) {
    (block.d, block.dmin) = (read_f16(head), read_f16(&head[2..]));
    let packed = &head[4..];
    for g in 0..4 {
        let (scale, minimum, low) = (packed[g], packed[g + 4], packed[g + 8]);
        block.scales[g] = (scale & 63).cast_signed();
        block.minima[g] = minimum & 63;
        block.scales[g + 4] = (low & 15 | scale >> 6 << 4).cast_signed();
        block.minima[g + 4] = low >> 4 | minimum >> 6 << 4;
    }
}
