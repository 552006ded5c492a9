//! `e^x` in sixteen lanes: the steps of [`arithmetic::exp`], one vector operation each.

use foretoken_tensor::arithmetic::{EXP_COEFFICIENTS, EXP_MAX, EXP_MIN, LN2_HI, LN2_LO, LOG2E};

use crate::simd::Simd;

/// Equals `arithmetic::exp` in every lane.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // The operand order of `min` keeps a NaN.
    let clamped = s.min(s.splat(EXP_MAX), x);
    let n = s.round(s.mul(clamped, s.splat(LOG2E)));
    let r = s.fma(n, s.splat(-LN2_HI), clamped);
    let r = s.fma(n, s.splat(-LN2_LO), r);
    let mut p = s.splat(EXP_COEFFICIENTS[0]);
    for c in &EXP_COEFFICIENTS[1..] {
        p = s.fma(p, r, s.splat(*c));
    }
    s.zero_below(x, EXP_MIN, s.mul(p, s.pow2(n)))
}
