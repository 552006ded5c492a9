//! The tables of 64-bit Arm.

use super::{
    CHUNK, Dot, Fma, KernelTable, Pack, Pair, PairSum, Quantize, Range, Softmax, Tile, f16,
};
use crate::isa::{DotProd, I8mm, Isa, Neon};

level!(neon, Isa::Neon, Neon::assume(), #[target_feature(enable = "neon")]);
level!(dotprod, Isa::DotProd, DotProd::assume(), #[target_feature(enable = "neon,dotprod")]);
level!(i8mm, Isa::I8mm, I8mm::assume(), #[target_feature(enable = "neon,dotprod,i8mm")]);

/// The table of a level, or of the next lower one this machine has.
pub(super) fn table(isa: Isa) -> Option<KernelTable> {
    if isa >= Isa::I8mm && I8mm::detect().is_some() {
        Some(i8mm::TABLE)
    } else if isa >= Isa::DotProd && DotProd::detect().is_some() {
        Some(dotprod::TABLE)
    } else if isa >= Isa::Neon && Neon::detect().is_some() {
        Some(neon::TABLE)
    } else {
        None
    }
}
