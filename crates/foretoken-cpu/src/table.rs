//! The kernel table: one function pointer per kernel, filled once for the level in use.
//!
//! The generic kernels are compiled here, once per level, inside a function that carries the level's
//! target features. A table is built only from the level's proof token, and its fields are private to
//! the crate, so its safe function pointers never reach a machine that lacks the instructions.

use std::ops::Range;

use foretoken_tensor::CHUNK;
use foretoken_tensor::arithmetic::{PairSum, Softmax};
use half::f16;

use crate::isa::Isa;
use crate::kernels::dot::Dot;
use crate::kernels::fma::Fma;
use crate::kernels::gemm::Tile;
use crate::kernels::pack_factors::Pack;
use crate::kernels::pairs::Pair;
use crate::kernels::quantize::Quantize;
use crate::kernels::softmax::ToWeights;

/// The kernels of one level.
pub(crate) struct KernelTable {
    /// The level.
    pub(crate) isa: Isa,
    pub(crate) fma_f32: fn(Fma<'_, f32>),
    pub(crate) fma_f16: fn(Fma<'_, f16>),
    /// Keys and values.
    pub(crate) fma_pairs: fn(Fma<'_, Pair>),
    /// Weights, in the order of `pair_sum`.
    pub(crate) weight_pairs: fn(Fma<'_, Pair>),
    pub(crate) pair_sum: PairSum,
    pub(crate) gemm_f32: fn(Tile<'_, f32>),
    /// In the order of `pair_sum`.
    pub(crate) gemm_pairs: fn(Tile<'_, Pair>),
    pub(crate) interleave: fn(Pack<'_>),
    /// Where tiles want the left factor of `gemm_pairs` in lines.
    pub(crate) interleave_lines: Option<fn(Pack<'_>)>,
    pub(crate) transpose: fn(Pack<'_>),
    pub(crate) transpose_pairs: fn(Pack<'_>),
    pub(crate) dot_q8_0: fn(Dot<'_>),
    pub(crate) dot_q4_0: fn(Dot<'_>),
    pub(crate) dot_q4_k: fn(Dot<'_>),
    pub(crate) dot_q5_k: fn(Dot<'_>),
    pub(crate) dot_q6_k: fn(Dot<'_>),
    pub(crate) quantize: fn(Quantize<'_>),
    /// (values, pairs)
    pub(crate) round: fn(&[f32], &mut [u32]),
    /// (values, weight, eps)
    pub(crate) norm: fn(&mut [f32], &[f32], f32),
    /// (head, cosines, sines)
    pub(crate) rotate: fn(&mut [f32], &[f32], &[f32]),
    /// (gate, up)
    pub(crate) swiglu: fn(&mut [f32], &[f32]),
    pub(crate) softmax: ToWeights<f32>,
    pub(crate) softmax_pairs: ToWeights<u32>,
    /// (totals, later, factors)
    pub(crate) merge_states: fn(&mut [Softmax], &[Softmax], &mut [[f32; 2]]),
    /// Fetches into the second-level cache.
    pub(crate) prefetch: fn(&[u8]),
    /// (total, later, a, b)
    pub(crate) merge: fn(&mut [f32], &[f32], f32, f32),
}

/// Compiles every kernel for one level: `$token` yields the proof, `$attribute` the features.
macro_rules! level {
    ($module:ident, $isa:expr, $token:expr, $(#[$attribute:meta])?) => {
        mod $module {
            use super::*;
            use crate::kernels::{dot, fma, gemm, norm, pack_factors, pairs, q4_0, q4_k, q5_k, q6_k, q8_0, quantize, rotate, softmax, swiglu};

            level!(@kernel $token, $(#[$attribute])? fma_f32(a: Fma<'_, f32>) = fma::fma);
            level!(@kernel $token, $(#[$attribute])? fma_f16(a: Fma<'_, f16>) = fma::fma);
            level!(@kernel $token, $(#[$attribute])? fma_pairs(a: Fma<'_, Pair>) = fma::fma);
            level!(@kernel $token, $(#[$attribute])? gemm_f32(a: Tile<'_, f32>) = gemm::gemm);
            level!(@kernel $token, $(#[$attribute])? gemm_pairs(a: Tile<'_, Pair>) = gemm::gemm);
            level!(@kernel $token, $(#[$attribute])?
                interleave(a: Pack<'_>) = pack_factors::interleave);
            level!(@kernel $token, $(#[$attribute])?
                transpose(a: Pack<'_>) = pack_factors::transpose::<_, 1>);
            level!(@kernel $token, $(#[$attribute])?
                transpose_pairs(a: Pack<'_>) = pack_factors::transpose::<_, 2>);
            level!(@kernel $token, $(#[$attribute])? dot_q8_0(a: Dot<'_>) = dot::dot::<_, q8_0::Q8_0>);
            level!(@kernel $token, $(#[$attribute])? dot_q4_0(a: Dot<'_>) = dot::dot::<_, q4_0::Q4_0>);
            level!(@kernel $token, $(#[$attribute])? dot_q4_k(a: Dot<'_>) = dot::dot::<_, q4_k::Q4K>);
            level!(@kernel $token, $(#[$attribute])? dot_q5_k(a: Dot<'_>) = dot::dot::<_, q5_k::Q5K>);
            level!(@kernel $token, $(#[$attribute])? dot_q6_k(a: Dot<'_>) = dot::dot::<_, q6_k::Q6K>);
            level!(@kernel $token, $(#[$attribute])? quantize(a: Quantize<'_>) = quantize::quantize);
            level!(@kernel $token, $(#[$attribute])?
                round(x: &[f32], pairs: &mut [u32]) = pairs::round);
            level!(@kernel $token, $(#[$attribute])?
                norm(x: &mut [f32], w: &[f32], eps: f32) = norm::norm);
            level!(@kernel $token, $(#[$attribute])?
                rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) = rotate::rotate);
            level!(@kernel $token, $(#[$attribute])?
                swiglu(gate: &mut [f32], up: &[f32]) = swiglu::gated);
            level!(@kernel $token, $(#[$attribute])?
                softmax(x: &mut [f32; CHUNK], seen: Range<usize>, w: &mut [f32]) -> Softmax
                    = softmax::softmax);
            level!(@kernel $token, $(#[$attribute])?
                softmax_pairs(x: &mut [f32; CHUNK], seen: Range<usize>, w: &mut [u32]) -> Softmax
                    = softmax::softmax_pairs);
            level!(@kernel $token, $(#[$attribute])?
                merge_states(x: &mut [Softmax], y: &[Softmax], ab: &mut [[f32; 2]])
                    = softmax::merge_states);
            level!(@kernel $token, $(#[$attribute])? prefetch(x: &[u8]) = fma::prefetch);
            level!(@kernel $token, $(#[$attribute])?
                merge(x: &mut [f32], y: &[f32], a: f32, b: f32) = softmax::merge);

            pub(super) const TABLE: KernelTable = KernelTable {
                isa: $isa,
                fma_f32,
                fma_f16,
                fma_pairs,
                weight_pairs: fma_pairs,
                pair_sum: PairSum::Chain,
                gemm_f32,
                gemm_pairs,
                interleave,
                interleave_lines: None,
                transpose,
                transpose_pairs,
                dot_q8_0,
                dot_q4_0,
                dot_q4_k,
                dot_q5_k,
                dot_q6_k,
                quantize,
                round,
                norm,
                rotate,
                swiglu,
                softmax,
                softmax_pairs,
                merge_states,
                prefetch,
                merge,
            };
        }
    };
    (@kernel $token:expr, $(#[$attribute:meta])?
        $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? = $kernel:path) => {
        fn $name($($arg: $type),*) $(-> $out)? {
            $(#[$attribute])?
            unsafe fn compiled($($arg: $type),*) $(-> $out)? {
                // SAFETY: the caller vouches for the level.
                $kernel(unsafe { $token }, $($arg),*)
            }
            // SAFETY: this function is reachable only through a table, and a table only through the
            // proof that the machine has the level.
            unsafe { compiled($($arg),*) }
        }
    };
}

level!(portable, Isa::Scalar, crate::isa::Portable::assume(),);

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

impl KernelTable {
    /// The table of a level, or of the next lower one this machine has.
    pub(crate) fn new(isa: Isa) -> Self {
        #[cfg(target_arch = "aarch64")]
        let best = arm::table(isa);
        #[cfg(target_arch = "x86_64")]
        let best = x86::table(isa);
        #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
        let best = None;
        best.unwrap_or(portable::TABLE)
    }

    /// The tables of this machine; a level may have more than one, and AMX's may be emulated.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let tables = Isa::ALL.iter().filter(|isa| isa.is_available()).map(|isa| Self::new(*isa));
        #[cfg(target_arch = "x86_64")]
        let tables = tables.chain(x86::without_bf16()).chain(x86::on_tiles());
        tables.collect()
    }
}
