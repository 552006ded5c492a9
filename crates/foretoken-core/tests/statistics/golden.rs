//! Draws that must never change: a seed that a user noted down has to give the same text for ever.
//!
//! The tokens were computed by an independent program (Philox and the logarithms of another
//! language), and every draw wins by a margin far above the rounding of logarithms.

use foretoken_core::{Domain, Noise, Sampler, SamplingParams};

const VOCAB: u32 = 1000;

fn row() -> Vec<f32> {
    (0..VOCAB).map(|token| (token * 37 % 101) as f32 / 16.0).collect()
}

#[test]
fn golden_draws() {
    // (seed, choice, position), the token at temperature 0.75, and the one with top-k 20.
    let golden = [
        ((0, 0, 0), 554, 131),
        ((0, 0, 1), 191, 30),
        ((0, 0, 2), 191, 939),
        ((0, 1, 0), 210, 868),
        ((1, 0, 0), 40, 838),
        ((1, 0, 1), 529, 161),
        ((42, 0, 100), 196, 868),
        ((42, 3, 100), 944, 363),
        ((1 << 32, 0, 7), 453, 30),
        ((u64::MAX, 5, 4096), 619, 939),
        ((u64::MAX, u32::MAX, u32::MAX), 908, 565),
        ((7, 0, 131_071), 693, 434),
    ];
    for ((seed, choice, position), free, of_twenty) in golden {
        for (top_k, expected) in [(None, free), (Some(20), of_twenty)] {
            let params = SamplingParams { temperature: 0.75, top_k, ..SamplingParams::default() };
            let noise = Noise { seed, choice };
            let mut sampler = Sampler::new(params, noise, VOCAB as usize).expect("valid");
            let token = sampler.draw(&row(), &[], position).expect("a sound row");
            assert_eq!(token, expected, "{noise:?}, position {position}, top-k {top_k:?}");
        }
    }
}

#[test]
fn golden_noise() {
    let noise = Noise { seed: 42, choice: 3 };
    let near = |x: f64, y: f64| (x - y).abs() < 1e-14;
    assert!(near(noise.gumbel(Domain::Draw, 100, 17), -0.214_216_391_109_537));
    assert!(near(noise.gumbel(Domain::Residual, 100, 17), 3.495_994_203_318_348));
    assert_eq!(noise.at_step(5), Noise { seed: 8_014_996_386_048_655_787, choice: 3 });
}
