//! The sum of the exponentials of a row: many tokens side by side, where libm takes one at a time.
//!
//! Sixteen running sums by specification, added pairwise at the end, and no fused multiply-add: equal
//! on every instruction set. It is not the sum in order that top-p is defined by, only within
//! [`error`] of it.

use multiversion::multiversion;

/// Running sums.
const LANES: usize = 16;

/// `exp` is not computed below this exponent; what it would give is below 1e-307.
const LOWEST: f64 = -708.0;

/// The sum of `exp((x - max) * scale)` over the logits `x` that are at least `floor`, which is
/// finite; `max` is at least the largest of them.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(super) fn exponentials(logits: &[f32], scale: f64, max: f32, floor: f32) -> f64 {
    let mut sums = [0.0; LANES];
    let (groups, rest) = logits.as_chunks::<LANES>();
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for group in groups.iter().chain([&last]) {
        for (sum, &logit) in sums.iter_mut().zip(group) {
            let term = exp((f64::from(logit) - f64::from(max)) * scale);
            *sum += if logit >= floor { term } else { 0.0 };
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// How far, relative to itself, a sum of `n` exponentials down to e^-37 can be from the sum in order
/// of `exp(x/T - max/T)` by libm, where `largest` is `max/T`.
///
/// Both sums round at most n times each. The exponents differ by the rounding of x/T and max/T, and
/// by that of a few operations on numbers up to 37.
pub(super) fn error(n: usize, largest: f64) -> f64 {
    (2.0 * n as f64 + 2.0 * largest.abs() + 256.0) * f64::EPSILON
}

/// `e^x` for x of at most 0, within 2 units in the last place: 2^n times a Taylor polynomial of the
/// remainder, which is at most ln 2 / 2.
#[inline(always)]
fn exp(x: f64) -> f64 {
    /// Added to a number of a moderate size, it leaves the nearest integer in the lowest bits.
    const ROUND: f64 = 1.5 * (1_u64 << 52) as f64;
    const LN_2_UPPER: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
    const LN_2_LOWER: f64 = 1.908_214_929_270_587_7e-10;
    let x = if x > LOWEST { x } else { LOWEST };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_UPPER) - n * LN_2_LOWER;
    let polynomial = FACTORIALS.iter().rev().fold(0.0, |sum, factorial| sum * r + 1.0 / factorial);
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    polynomial * power
}

/// 0! to 13!.
const FACTORIALS: [f64; 14] = [
    1.0,
    1.0,
    2.0,
    6.0,
    24.0,
    120.0,
    720.0,
    5_040.0,
    40_320.0,
    362_880.0,
    3_628_800.0,
    39_916_800.0,
    479_001_600.0,
    6_227_020_800.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Domain, Noise};

    #[test]
    fn exponentials_are_those_of_libm() {
        let noise = Noise { seed: 1, choice: 0 };
        let spread = (0..200_000).map(|i| -708.0 * noise.uniform(Domain::Draw, 0, i));
        let near = (0..100_000).map(|i| -3.0 * noise.uniform(Domain::Draw, 1, i));
        for x in spread.chain(near).chain([0.0, -0.0, -1e-300, LOWEST]) {
            let (ours, theirs) = (exp(x), libm::exp(x));
            assert!((ours / theirs - 1.0).abs() <= 2.0 * f64::EPSILON, "{x}: {ours}, {theirs}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f64::NEG_INFINITY) < 1e-307);
    }

    #[test]
    fn the_error_of_a_sum_is_bounded() {
        let noise = Noise { seed: 2, choice: 0 };
        let row: Vec<f32> =
            (0..5_003).map(|i| (40.0 * noise.uniform(Domain::Draw, 0, i)) as f32 + 60.0).collect();
        for (temperature, max) in [(1.0, 100.0_f32), (0.3, 101.5), (7.7, 140.0)] {
            let floor = max - (9.0 * temperature) as f32;
            let largest = f64::from(max) / temperature;
            let kept = row.iter().filter(|&&logit| logit >= floor);
            let exact: f64 =
                kept.map(|&logit| libm::exp(f64::from(logit) / temperature - largest)).sum();
            let sum = exponentials(&row, 1.0 / temperature, max, floor);
            assert!((sum - exact).abs() <= error(row.len(), largest) * exact, "{sum}, {exact}");
        }
        let banned = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        assert_eq!(exponentials(&banned, 1.0, 0.0, f32::MIN), 1.0);
    }
}
