//! The kernels, one file each.
//!
//! `fma`, `gemm`, `pack_factors`, `pairs`, `dot` with a file per format, `quantize`, `norm`, `rotate`, `swiglu`, `softmax`
//! and `exp` are written once over [`Simd`](crate::simd::Simd) and compiled per level by [`table`](crate::table).
//! `linear`, `attention` and `rows` cut the operators of a program into work for the threads and call the table; they
//! hold no vector code. `amx_dot` and `amx_pairs` are the products on tiles; `pair_blocks` are those of few rows beside
//! them.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx_dot;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx_pairs;
pub(crate) mod attention;
pub(crate) mod dot;
pub(crate) mod exp;
pub(crate) mod fma;
pub(crate) mod gemm;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod pack_factors;
#[cfg(target_arch = "x86_64")]
pub(crate) mod pair_blocks;
pub(crate) mod pairs;
pub(crate) mod q4_0;
pub(crate) mod q4_k;
pub(crate) mod q5_k;
pub(crate) mod q6_k;
pub(crate) mod q8_0;
pub(crate) mod quantize;
pub(crate) mod rotate;
pub(crate) mod rows;
pub(crate) mod softmax;
pub(crate) mod swiglu;

#[cfg(test)]
mod tests;
