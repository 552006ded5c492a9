//! Products of one or two rows with bfloat16 weights on AMX: sums of `arithmetic::add_block`, by AVX-512.
//!
//! Bit for bit what [`amx_pairs`](super::amx_pairs) computes: even and odd products each in a chain of fused
//! multiply-adds from zero. At so few rows memory or the last-level cache is the limit. Tiles wait for either longer
//! than vectors do, and configuring them counts in small products: see "AMX" in `docs/kernels.md`.

use foretoken_tensor::arithmetic::PAIR_BLOCK;

use super::fma::Fma;
use super::pairs::Pair;
use crate::simd::{LANES, Simd};

/// The most rows.
pub(crate) const FEW_ROWS: usize = 2;
/// Pairs of a block.
const BLOCK: usize = PAIR_BLOCK / 2;
/// Pairs by which weights are prefetched: 2 KiB.
const AHEAD: usize = 32;

/// Runs the tile over all panels of at most [`FEW_ROWS`] rows. These pass over the weights once, so what is
/// prefetched is what follows in each panel.
#[inline(always)]
pub(crate) fn fma<S: Simd>(s: S, mut a: Fma<'_, Pair>) {
    if a.rows == 0 || a.panels == 0 || a.steps == 0 {
        return;
    }
    assert!(a.rows <= FEW_ROWS, "more rows are multiplied on tiles");
    a.check();
    let mut panel = 0;
    while panel < a.panels {
        // SAFETY: the extents were checked, and the rows and panels are among them.
        unsafe {
            panel += match (a.rows, a.panels - panel) {
                (1, 1) => add::<S, 1, 1>(s, &mut a, panel),
                (1, 2) => add::<S, 1, 2>(s, &mut a, panel),
                (1, 3) => add::<S, 1, 3>(s, &mut a, panel),
                (1, _) => add::<S, 1, 4>(s, &mut a, panel),
                (_, 1) => add::<S, 2, 1>(s, &mut a, panel),
                (_, 2) => add::<S, 2, 2>(s, &mut a, panel),
                (_, 3) => add::<S, 2, 3>(s, &mut a, panel),
                (_, _) => add::<S, 2, 4>(s, &mut a, panel),
            };
        }
    }
}

/// `R` rows by `P` panels; returns `P`.
///
/// # Safety
/// The extents of `a` hold, it has `R` rows, and `P` panels from `panel` are among its.
#[inline(always)]
unsafe fn add<S: Simd, const R: usize, const P: usize>(
    s: S,
    a: &mut Fma<'_, Pair>,
    panel: usize,
) -> usize {
    // SAFETY: rows are below `R`, panels below `P` and steps below `a.steps`; arrays of sixteen need the
    // alignment of their element only; a prefetch never faults.
    unsafe {
        let x = a.x.as_ptr();
        let w = a.w.as_ptr().add(panel * a.w_panel);
        let acc = a.acc.as_mut_ptr().add(panel * LANES);
        for block in (0..a.steps).step_by(BLOCK) {
            let mut chains = [[[s.splat(0.0); 2]; P]; R];
            for k in block..a.steps.min(block + BLOCK) {
                // No closure: what is not inlined here lacks the instructions.
                let mut weights = [[s.splat(0.0); 2]; P];
                for (p, weights) in weights.iter_mut().enumerate() {
                    let w = w.add(p * a.w_panel + k * a.w_step);
                    s.prefetch(w.wrapping_add(AHEAD * a.w_step).cast());
                    let pairs = s.load_pairs(&*w.cast());
                    *weights = [s.even(pairs), s.odd(pairs)];
                }
                for (r, chains) in chains.iter_mut().enumerate() {
                    let x = s.splat_i32((*x.add(r * a.x_stride + k)).cast_signed());
                    let x = [s.even(x), s.odd(x)];
                    for (chains, weights) in chains.iter_mut().zip(&weights) {
                        for half in 0..2 {
                            chains[half] = s.fma(x[half], weights[half], chains[half]);
                        }
                    }
                }
            }
            for (r, chains) in chains.iter().enumerate() {
                for (p, [even, odd]) in chains.iter().enumerate() {
                    let sum = &mut *acc.add(r * a.acc_stride + p * LANES).cast();
                    s.store(s.add(s.load(sum), s.add(*even, *odd)), sum);
                }
            }
        }
    }
    P
}
