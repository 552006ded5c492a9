//! GGUF `Q5_K`: as `Q4_K`, with a fifth bit per value;
//! `value = (d * scale) * (nibble + 16 * bit) - dmin * minimum`.
//!
//! Block: f16 `d`, f16 `dmin`, 12 bytes of scales and minima, 32 bytes of fifth bits (bit `g` of
//! byte `l` belongs to value `l` of group `g`), 128 bytes of nibbles as in `Q4_K`.

use super::q4_k::{GROUP, HEAD, unpack_head};
use super::{Block, Integers, QuantSpec};
use crate::WeightFormat;

pub(super) const SPEC: QuantSpec = QuantSpec {
    format: WeightFormat::Q5K,
    name: "q5_k",
    gguf_type: 13,
    block_values: VALUES,
    block_bytes: BYTES,
    decode: |bytes, values| super::decode(&SPEC, bytes, values),
    encoder: None,
    integers: Some(Integers { group: GROUP, unpack }),
};

const VALUES: usize = 256;
const BITS: usize = 32;
const BYTES: usize = HEAD + BITS + VALUES / 2;

fn unpack(bytes: &[u8], block: &mut Block) {
    let (head, quants) = bytes.split_at(HEAD);
    let (bits, nibbles) = quants.split_at(BITS);
    unpack_head(head, block);
    for (g, quants) in block.quants.chunks_exact_mut(GROUP).enumerate() {
        let nibbles = &nibbles[GROUP * (g / 2)..];
        for ((quant, byte), bits) in quants.iter_mut().zip(nibbles).zip(bits) {
            *quant = (byte >> (4 * (g % 2)) & 15 | (bits >> g & 1) << 4).cast_signed();
        }
    }
}
