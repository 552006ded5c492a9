//! The primitives against f64 and against their edges.

use super::*;

/// Distance of `y` from `truth` in units of the last place of f32 at `truth`.
fn ulps(y: f32, truth: f64) -> f64 {
    let exponent = (truth.abs().log2().floor() as i32).max(-126);
    (f64::from(y) - truth).abs() / 2f64.powi(exponent - 23)
}

/// The representable numbers from `low` to `high`, every `step`-th.
fn samples(low: f32, high: f32, step: i32) -> impl Iterator<Item = f32> {
    // Ordered integers: floats of one sign are ordered as their bits.
    let order = |x: f32| {
        let bits = x.to_bits() as i32;
        if bits < 0 { i32::MIN - bits } else { bits }
    };
    let back = |i: i32| f32::from_bits(if i < 0 { i32::MIN - i } else { i } as u32);
    (order(low)..=order(high)).step_by(step as usize).map(back)
}

#[test]
fn exp_is_within_one_ulp() {
    let mut worst = (0.0, 0.0);
    for x in samples(EXP_MIN, EXP_MAX, 997) {
        let error = ulps(exp(x), f64::from(x).exp());
        if error > worst.0 {
            worst = (error, x);
        }
    }
    assert!(worst.0 <= 1.0, "exp({}) is {} ulp off", worst.1, worst.0);
}

#[test]
fn exp_has_exact_edges() {
    assert_eq!(exp(0.0).to_bits(), 1f32.to_bits());
    assert_eq!(exp(-0.0).to_bits(), 1f32.to_bits());
    for x in [EXP_MIN.next_down(), -100.0, -1e30, f32::MIN, f32::NEG_INFINITY] {
        assert_eq!(exp(x).to_bits(), 0, "exp({x})");
    }
    assert!(exp(EXP_MIN).is_normal());
    for x in [EXP_MAX.next_up(), 1e30, f32::MAX, f32::INFINITY] {
        assert_eq!(exp(x), exp(EXP_MAX), "exp({x})");
    }
    assert!(exp(EXP_MAX).is_finite());
    assert!(exp(f32::NAN).is_nan());
}

/// Attention weights must not exceed that of the largest score, and one above another may not come
/// out visibly below it: around zero, where weights matter most, `exp` never falls by more than an
/// ulp.
#[test]
fn exp_is_monotone_to_an_ulp_near_zero() {
    let mut last = exp(-1.0);
    for x in samples(-1.0, 1.0, 3001) {
        let y = exp(x);
        assert!(y >= last.next_down(), "exp falls from {last} to {y} at {x}");
        assert!(x > 0.0 || y <= 1.0, "exp({x}) = {y}");
        last = y;
    }
}

#[test]
fn reduction_constants_are_exact() {
    assert_eq!(LN2_HI.to_bits() & 0x1ff, 0, "at most 15 significant bits");
    let split = f64::from(LN2_HI) + f64::from(LN2_LO);
    assert!((split - std::f64::consts::LN_2).abs() < 1e-13);
}

#[test]
fn swiglu_follows_f64() {
    for gate in samples(-30.0, 30.0, 100_003) {
        let truth = f64::from(gate) / (1.0 + (-f64::from(gate)).exp()) * 0.75;
        assert!(ulps(swiglu(gate, 0.75), truth) <= 4.0 || truth.abs() < 1e-30, "gate {gate}");
    }
    assert_eq!(swiglu(-200.0, 1.0), -200.0 / (1.0 + exp(88.0)));
    assert!(swiglu(f32::NAN, 1.0).is_nan());
}

#[test]
fn dot_is_one_fused_chain() {
    // 1 + 2^-12 squared needs 25 bits: only a fused step sees the last one.
    let x = 1.0 + 2f32.powi(-12);
    assert_eq!(dot(&[-1.0, x], &[1.0, x]), 2f32.powi(-11) + 2f32.powi(-24));
    // The order is that of the elements.
    assert_eq!(dot(&[1e8, 1.0, -1e8], &[1.0; 3]), 0.0);
    assert_eq!(dot(&[1e8, -1e8, 1.0], &[1.0; 3]), 1.0);
}

#[test]
fn pairs_take_the_odd_index_first() {
    let big = 2f32.powi(24);
    // The second of two ones on top of 2^24 is lost in either place, the first link decides which.
    assert_eq!(add_pair(0.0, [big, 1.0], [1.0; 2]), big);
    assert_eq!(add_pair(-big, [1.0, big], [1.0; 2]), 1.0);
    assert_eq!(add_pair(big, [-big, 1.0], [1.0; 2]), 0.0);
    assert_eq!(add_pair(big, [1.0, -big], [1.0; 2]), 1.0);
    assert_eq!(dot_pairs(&[1.0, big, -big], &[1.0; 3]), 0.0);
    assert_eq!(dot_pairs(&[1.0, 1.0, big, -big, 3.0], &[1.0; 5]), 5.0);
}

#[test]
fn blocks_are_two_chains_from_zero() {
    let (big, ones) = (1e20, [1.0; PAIR_BLOCK + 3]);
    let sum = |x: &[f32]| PairSum::Blocks.dot(x, &ones[..x.len()]);
    // The even chain loses its second term, the odd one keeps what a single chain would lose.
    assert_eq!(sum(&[1.0, 1.0, big, 1.0, -big]), 2.0);
    assert_eq!(PairSum::Chain.dot(&[1.0, 1.0, big, 1.0, -big], &ones[..5]), 0.0);
    // The chains are summed before they meet the accumulator.
    assert_eq!(add_block(-big, &[big, 1.0], &ones[..2]), 0.0);
    assert_eq!(add_block(1.0, &[big, -big], &ones[..2]), 1.0);
    // The 33rd input begins a block.
    let mut x = [0.0; PAIR_BLOCK + 3];
    (x[0], x[PAIR_BLOCK], x[PAIR_BLOCK + 2]) = (1.0, big, -big);
    assert_eq!(sum(&x), 1.0);
    (x[0], x[PAIR_BLOCK - 2], x[PAIR_BLOCK]) = (big, -big, 1.0);
    assert_eq!(sum(&x[..=PAIR_BLOCK]), 1.0);
}

/// The bound that docs/kernels.md states: of 8192 products, a unit of the last place of their sum of magnitudes.
#[test]
fn both_orders_of_pairs_follow_f64() {
    let mut state = 1u64;
    let mut value = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        round_bf16((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    for _ in 0..20 {
        let [x, w] = [(); 2].map(|()| (0..8192).map(|_| value()).collect::<Vec<f32>>());
        let terms = x.iter().zip(&w).map(|(x, w)| f64::from(*x) * f64::from(*w));
        let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
        for order in [PairSum::Chain, PairSum::Blocks] {
            let error = (f64::from(order.dot(&x, &w)) - exact).abs();
            assert!(error <= f64::from(f32::EPSILON) * size, "{order:?} is off by {error}");
        }
    }
}

#[test]
fn lanes_are_halved() {
    let mut sum = LaneSum::ZERO;
    for (i, v) in [(0, 1e8), (1, 1.0), (8, -1e8), (9, 1.0), (16, 4.0), (24, 4.0)] {
        sum.add(i, v);
    }
    // Lanes 0 and 8 meet first, before lane 1 is added: (1e8 + 4) + (-1e8 + 4) has ulp 8.
    assert_eq!(sum.total(), ((1e8f32 + 4.0) + (-1e8f32 + 4.0)) + 2.0);
    let mut squares = LaneSum::ZERO;
    squares.add_square(3, 3.0);
    squares.add_square(19, 4.0);
    assert_eq!(squares.total(), 25.0);
}

#[test]
fn rms_factor_follows_f64() {
    for len in [1, 7, 16, 17, 64, 100] {
        let x: Vec<f32> = (0..len).map(|i| ((i * 37 % 19) as f32 - 9.0) / 7.0 + 0.01).collect();
        let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / len as f64;
        assert!(ulps(rms_factor(&x, 1e-5), 1.0 / (mean + 1e-5).sqrt()) <= 4.0, "width {len}");
    }
}

#[test]
fn activations_quantise_per_group() {
    let mut x = vec![0.0; 70];
    x[0] = 127.0;
    x[1] = 0.5;
    x[2] = -1.5;
    x[3] = -126.6;
    x[32] = 1e-31;
    x[64] = -0.25;
    let (mut q, mut scales) = (vec![9; 70], vec![9.0; 3]);
    quantize_row(&x, &mut q, &mut scales);
    assert_eq!(q[..4], [127, 0, -2, -127], "ties go to even");
    assert_eq!(scales, [1.0, 0.0, 0.25 / 127.0]);
    assert!(q[32..64].iter().all(|&q| q == 0));
    assert_eq!(q[64], -127);
}

#[test]
fn quantised_activations_never_leave_the_range() {
    for amax in samples(QUANT_MIN_AMAX, f32::MAX, 9973) {
        let mut q = [0; 2];
        let scale = quantize_group(&[amax, -amax], &mut q);
        assert_eq!(q, [127, -127], "amax {amax}");
        assert!(scale.is_finite());
    }
}

#[test]
fn non_finite_activations_show() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut q = [5; 3];
        assert!(quantize_group(&[1.0, bad, 2.0], &mut q).is_nan());
        assert_eq!(q, [0; 3]);
    }
}

#[test]
fn bf16_rounds_to_nearest_even() {
    for (bits, rounded) in [
        (0x3f80_8000, 0x3f80_0000), // a tie, down to even
        (0x3f81_8000, 0x3f82_0000), // a tie, up to even
        (0x3f80_8001, 0x3f81_0000),
        (0x7f7f_ffff, 0x7f80_0000),
        (0xbf80_8001, 0xbf81_0000),
        (0x2680_0000, 0x2680_0000), // 2^-50 stays
        (0xa67f_8000, 0xa680_0000), // and so does what rounds to it
        (0x267f_7fff, 0x0000_0000),
        (0xa67f_0000, 0x0000_0000), // less becomes +0, of either sign
        (0x0000_0001, 0x0000_0000),
        (0x8000_0000, 0x0000_0000),
    ] {
        assert_eq!(round_bf16(f32::from_bits(bits)).to_bits(), rounded, "{bits:#x}");
    }
    for x in samples(-1e30, 1e30, 99_991).filter(|x| x.abs() >= BF16_MIN) {
        assert_eq!(round_bf16(x), bf16::from_f32(x).to_f32(), "{x:e}");
    }
    assert!(round_bf16(f32::from_bits(0x7f80_0001)).is_nan());
}

#[test]
fn rotation_keeps_the_length() {
    let (y0, y1) = rotate_pair(3.0, 4.0, 0.6, 0.8);
    assert!(
        (y0 - (3.0 * 0.6 - 4.0 * 0.8)).abs() < 1e-6 && (y1 - (4.0 * 0.6 + 3.0 * 0.8)).abs() < 1e-6
    );
    assert_eq!(rotate_pair(3.0, 4.0, 1.0, 0.0), (3.0, 4.0));
}

#[test]
fn softmax_merges_to_the_whole() {
    let scores = [0.5f32, -2.0, 3.0, 1.0];
    let of = |scores: &[f32]| {
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Softmax { max, sum: scores.iter().map(|s| exp(s - max)).sum() }
    };
    for cut in 1..scores.len() {
        let (merged, a, b) = of(&scores[..cut]).merge(of(&scores[cut..]));
        let whole = of(&scores);
        assert_eq!(merged.max, whole.max);
        assert!((merged.sum - whole.sum).abs() < 1e-6);
        assert!(a == 1.0 || b == 1.0, "the larger maximum keeps its scale");
    }
}
