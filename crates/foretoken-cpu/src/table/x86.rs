//! The tables of x86-64.

use super::{
    CHUNK, Dot, Fma, KernelTable, Pack, Pair, PairSum, Quantize, Range, Softmax, Tile, f16,
};
use crate::isa::{Amx, Avx2, Avx512, Avx512Bf16, AvxVnni, Isa};

level!(avx2, Isa::Avx2, Avx2::assume(), #[target_feature(enable = "avx2,fma,f16c")]);

level!(
    avxvnni,
    Isa::AvxVnni,
    AvxVnni::assume(),
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
);

level!(
    avx512,
    Isa::Avx512,
    Avx512::assume(),
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
);

mod avx512_bf16 {
    use super::{Avx512Bf16, Fma, KernelTable, Pair, Tile, avx512};
    use crate::kernels::{gemm, pairs};

    level!(
        @kernel Avx512Bf16::assume(),
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
        fma_pairs(a: Fma<'_, Pair>) = pairs::fma_native
    );
    level!(
        @kernel Avx512Bf16::assume(),
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
        gemm_pairs(a: Tile<'_, Pair>) = gemm::gemm_native
    );

    pub(super) const TABLE: KernelTable =
        KernelTable { fma_pairs, weight_pairs: fma_pairs, gemm_pairs, ..avx512::TABLE };
}

/// The products on tiles, beside AVX-512.
mod amx {
    use super::{Amx, Avx512, Dot, Fma, Isa, KernelTable, Pack, Pair, PairSum, Tile};
    use crate::kernels::{amx_dot, amx_pairs, pack_factors, q4_0, q4_k, q5_k, q6_k, q8_0};

    level!(
        @kernel Avx512::assume(),
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        interleave_lines(a: Pack<'_>) = pack_factors::interleave_lines
    );

    macro_rules! on_tiles {
        ($($name:ident: $operands:ty = $kernel:path;)+) => {
            $(level!(
                @kernel Amx::assume(),
                #[target_feature(
                    enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
                )]
                $name(a: $operands) = $kernel
            );)+

            /// These in place of a table of AVX-512's own.
            pub(super) fn beside(vectors: KernelTable) -> KernelTable {
                KernelTable {
                    isa: Isa::Amx,
                    pair_sum: PairSum::Blocks,
                    interleave_lines: Some(interleave_lines),
                    $($name,)+
                    ..vectors
                }
            }
        };
    }

    on_tiles! {
        weight_pairs: Fma<'_, Pair> = amx_pairs::fma;
        gemm_pairs: Tile<'_, Pair> = amx_pairs::gemm;
        dot_q8_0: Dot<'_> = amx_dot::dot::<q8_0::Q8_0>;
        dot_q4_0: Dot<'_> = amx_dot::dot::<q4_0::Q4_0>;
        dot_q4_k: Dot<'_> = amx_dot::dot::<q4_k::Q4K>;
        dot_q5_k: Dot<'_> = amx_dot::dot::<q5_k::Q5K>;
        dot_q6_k: Dot<'_> = amx_dot::dot::<q6_k::Q6K>;
    }
}

/// The table of a level, or of the next lower one this machine has.
pub(super) fn table(isa: Isa) -> Option<KernelTable> {
    if isa >= Isa::Amx && Amx::detect().is_some() {
        table(Isa::Avx512).map(amx::beside)
    } else if isa >= Isa::Avx512 && Avx512Bf16::detect().is_some() {
        Some(avx512_bf16::TABLE)
    } else if isa >= Isa::Avx512 && Avx512::detect().is_some() {
        Some(avx512::TABLE)
    } else if isa >= Isa::AvxVnni && AvxVnni::detect().is_some() {
        Some(avxvnni::TABLE)
    } else if isa >= Isa::Avx2 && Avx2::detect().is_some() {
        Some(avx2::TABLE)
    } else {
        None
    }
}

/// AVX-512 as on machines that lack its products of bfloat16.
#[cfg(test)]
pub(super) fn without_bf16() -> Option<KernelTable> {
    Avx512::detect().map(|_| avx512::TABLE)
}

/// AMX's table, if need be on emulated tiles.
#[cfg(test)]
pub(crate) fn on_tiles() -> Option<KernelTable> {
    #[cfg(target_os = "linux")]
    return crate::amx::trap::tiles().and_then(|_| table(Isa::Avx512)).map(amx::beside);
    #[cfg(not(target_os = "linux"))]
    return None;
}
