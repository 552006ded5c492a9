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
        ((0, 0, 0), 393, 636),
        ((0, 0, 1), 595, 969),
        ((0, 0, 2), 565, 565),
        ((0, 1, 0), 199, 131),
        ((1, 0, 0), 130, 767),
        ((1, 0, 1), 333, 333),
        ((42, 0, 100), 434, 434),
        ((42, 3, 100), 753, 535),
        ((1 << 32, 0, 7), 393, 30),
        ((u64::MAX, 5, 4096), 616, 535),
        ((u64::MAX, u32::MAX, u32::MAX), 531, 30),
        ((7, 0, 131_071), 522, 767),
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
    assert!(near(noise.gumbel(Domain::Draw, 100, 17), -0.751_494_697_523_139_8));
    assert!(near(noise.gumbel(Domain::Residual, 100, 17), -0.056_044_105_974_949_9));
    assert_eq!(noise.at_step(5), Noise { seed: 8_014_996_386_048_655_787, choice: 3 });
}
