//! The tile of training's products: any stride of the left factor, panels of the right one, any width.
//!
//! `out[r][c] = link(a[r][k], b[k][c], out[r][c])` for `k` in order, one chain per output as in
//! [`fma`](super::fma), so a product may be cut anywhere along `k` and no tile shape shows in the bits. Unlike
//! there the left factor is read by two strides (it is packed along whichever its memory runs), the rows are
//! the inner loop (a pair of panels stays in the first-level cache while many rows pass it), and the last
//! panel may be partial.
//!
//! Limits: one 512-bit product per cycle on Zen 4, which 8 x 2 accumulators saturate; see
//! [`gemm`](crate::gemm) for what is reached.

use super::fma::{Fused, Link, Weight};
#[cfg(target_arch = "x86_64")]
use super::pairs::Pair;
use crate::gemm::MatrixMut;
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx512Bf16;
use crate::simd::{LANES, Simd};

/// What the chains of a tile begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Zero.
    Zero,
    /// What the outputs hold.
    Out,
}

/// Operands of the tile; strides count elements.
pub(crate) struct Tile<'a, W: Weight> {
    /// Links added to each chain.
    pub(crate) steps: usize,
    /// `[rows][steps]`, rows `a_row` and steps `a_step` apart within each sixteen rows, which are `a_group`
    /// apart.
    pub(crate) a: &'a [W::Input],
    pub(crate) a_group: usize,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    /// `[panels][steps][16]`, panels `b_panel` apart; the last one's missing columns hold any number.
    pub(crate) b: &'a [W],
    pub(crate) b_panel: usize,
    pub(crate) start: Start,
    /// `[rows][columns]`.
    pub(crate) out: MatrixMut<'a>,
}

impl<W: Weight> Tile<'_, W> {
    /// Where a row of the left factor begins.
    #[inline(always)]
    fn row(&self, row: usize) -> usize {
        row / LANES * self.a_group + row % LANES * self.a_row
    }
}

/// Runs the tile.
#[inline(always)]
pub(crate) fn gemm<S: Simd, W: Weight>(s: S, a: Tile<'_, W>)
where
    Fused: Link<S, W>,
{
    gemm_by(s, Fused, a);
}

/// The tile by `vdpbf16ps`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn gemm_native(proof: Avx512Bf16, a: Tile<'_, Pair>) {
    gemm_by(proof.0, proof, a);
}

#[inline(always)]
fn gemm_by<S: Simd, W: Weight, L: Link<S, W>>(s: S, link: L, mut a: Tile<'_, W>) {
    let (rows, columns) = (a.out.rows(), a.out.columns());
    if rows == 0 || columns == 0 || a.steps == 0 {
        return;
    }
    let panels = columns.div_ceil(LANES);
    for last in [rows - 1, ((rows - 1) / LANES * LANES).saturating_sub(1)] {
        assert!(a.row(last) + (a.steps - 1) * a.a_step < a.a.len(), "a holds every row");
    }
    assert!((panels - 1) * a.b_panel + a.steps * LANES <= a.b.len(), "b holds every panel");
    let whole = columns / LANES;
    let mut panel = 0;
    while panel < panels {
        // SAFETY: the extents were checked above, and the panels are whole or the last one.
        unsafe {
            panel += if whole >= panel + 2 && S::FLOAT_TILE >= 16 {
                all_rows::<S, W, L, 8, 2>(s, link, &mut a, panel)
            } else if S::FLOAT_TILE >= 8 {
                all_rows::<S, W, L, 8, 1>(s, link, &mut a, panel)
            } else if S::FLOAT_TILE >= 4 {
                all_rows::<S, W, L, 4, 1>(s, link, &mut a, panel)
            } else {
                all_rows::<S, W, L, 1, 1>(s, link, &mut a, panel)
            };
        }
    }
}

/// All rows of `P` panels, `R` at a time; returns `P`.
///
/// # Safety
/// The extents of `a` hold; the panels exist and are whole, or one that exists.
#[inline(always)]
unsafe fn all_rows<S: Simd, W: Weight, L: Link<S, W>, const R: usize, const P: usize>(
    s: S,
    link: L,
    a: &mut Tile<'_, W>,
    panel: usize,
) -> usize {
    let rows = a.out.rows();
    let mut row = 0;
    // SAFETY: passed on; each call stays within the rows, and `R` divides sixteen.
    unsafe {
        while row + R <= rows {
            tile::<S, W, L, R, P>(s, link, a, row, panel);
            row += R;
        }
        while row < rows {
            tile::<S, W, L, 1, P>(s, link, a, row, panel);
            row += 1;
        }
    }
    P
}

/// `R` rows by `P` panels in registers.
///
/// # Safety
/// As of [`all_rows`], and the rows exist, in one sixteen of rows.
#[inline(always)]
unsafe fn tile<S: Simd, W: Weight, L: Link<S, W>, const R: usize, const P: usize>(
    s: S,
    link: L,
    t: &mut Tile<'_, W>,
    row: usize,
    panel: usize,
) {
    let first = panel * LANES;
    // Indexed by constants alone once the loops are unrolled, so that the sums live in registers.
    let mut sums = [[s.splat(0.0); P]; R];
    if t.start == Start::Out {
        for (r, sums) in sums.iter_mut().enumerate() {
            let out = &t.out.row(row + r)[first..];
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = lanes(s, out, p * LANES);
            }
        }
    }
    // SAFETY: every offset is within the extents the caller vouches for; arrays of sixteen need the
    // alignment of their element only, which slices of that element have.
    unsafe {
        let mut x = t.a.as_ptr().add(t.row(row));
        let mut w = t.b.as_ptr().add(panel * t.b_panel);
        for _ in 0..t.steps {
            let mut weights = [link.load(s, &*w.cast()); P];
            for (p, weight) in weights.iter_mut().enumerate().skip(1) {
                *weight = link.load(s, &*w.add(p * t.b_panel).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = link.splat(s, *x.add(r * t.a_row));
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = link.add(s, x, weights[p], *sum);
                }
            }
            w = w.wrapping_add(LANES);
            x = x.wrapping_add(t.a_step);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut t.out.row_mut(row + r)[first..];
        for (p, sum) in sums.iter().enumerate() {
            let out = &mut out[p * LANES..];
            match out.first_chunk_mut() {
                Some(out) => s.store(*sum, out),
                None => s.store_part(*sum, out),
            }
        }
    }
}

/// Sixteen values from `at` on, as far as there are any, then zeros.
#[inline(always)]
pub(super) fn lanes<S: Simd>(s: S, values: &[f32], at: usize) -> S::F {
    let values = values.get(at..).unwrap_or_default();
    match values.first_chunk() {
        Some(values) => s.load(values),
        None => s.load_part(values),
    }
}
