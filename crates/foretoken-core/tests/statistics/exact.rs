//! Draws from large rows against their definition: the score of every token, in `f64`, and the best
//! of them. Nothing the sampler leaves out may show, to the last bit, whatever it kept from the rows
//! before.

use foretoken_core::{Domain, Noise, Ranked, Sampler, SamplingParams, TokenId};

const BANNED: f32 = f32::NEG_INFINITY;

/// Every score, best first, lower ids first among equals.
fn ranked(row: &[f32], temperature: f64, noise: Noise, position: u32) -> Vec<Ranked> {
    let score = |(token, &x): (TokenId, &f32)| Ranked {
        token,
        score: f64::from(x) / temperature + noise.gumbel(Domain::Draw, position, token) + 0.0,
    };
    let mut all: Vec<Ranked> = (0..).zip(row).filter(|(_, x)| **x > BANNED).map(score).collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.token.cmp(&b.token)));
    all
}

/// Rows that are hard on bounds, each from its number; `uniform` is a stream of random numbers.
fn row(kind: u32, vocab: usize, uniform: impl Fn(u32, u32) -> f64) -> Vec<f32> {
    let bell = |token, width: f64| {
        (width * ((0..6).map(|i| uniform(token, i)).sum::<f64>() - 3.0)) as f32 * 1.4
    };
    let logit = |token: u32| match kind {
        // Flat, where the noise alone decides and ties of logits abound.
        0 => 0.0,
        1 => (token % 7) as f32 / 4.0 - 900.0,
        // The usual shapes.
        2 => bell(token, 1.0),
        3 => bell(token, 2.5),
        4 => bell(token, 4.0) + 20.0,
        // Most tokens banned, whole chunks among them.
        5 if (200..900).contains(&(token % 1024)) || !token.is_multiple_of(3) => BANNED,
        5 => bell(token, 2.0),
        // One token far above, at the edge of what the largest noise can make up for.
        6 if token == vocab as u32 / 3 => 36.0,
        6 => bell(token, 6.0),
        // So large that the noise is rounded, or lost: ties of scores.
        7 => 1e9 + (token % 2) as f32 * 64.0,
        8 => [3e38, -3e38, 1e30][token as usize % 3],
        9 => f32::MIN,
        // Large steps from chunk to chunk.
        10 => (token / 256 % 5) as f32 * 9.0 - 18.0 + bell(token, 0.1),
        // A sawtooth in which every chunk has the same largest logit.
        _ => (token % 256) as f32 / 16.0,
    };
    (0..vocab as u32).map(logit).collect()
}

#[test]
fn nothing_left_out_could_have_won() {
    let mut ours = Vec::new();
    for temperature in [0.05, 0.7, 1.0, 3.0] {
        let params = SamplingParams { temperature, ..SamplingParams::default() };
        // One sampler for all rows, so that noise kept for another row, seed or length would show.
        let mut sampler =
            Sampler::new(params, Noise { seed: 0, choice: 0 }, 20_000).expect("in range");
        for case in 0..144 {
            let seeds = Noise { seed: 77, choice: case };
            let vocab = [20_000, 4_321, 257, 12_800][case as usize / 12 % 4];
            let row = row(case % 12, vocab, |token, i| seeds.uniform(Domain::Accept, i, token));
            let noise = Noise { seed: u64::from(case / 24), choice: case / 12 % 2 };
            sampler.set_noise(noise);
            // Two rows at one position, positions that share their place, and the last of all.
            let position = [5, 21, u32::MAX, 5, 6, 7][case as usize % 6];
            let expected = ranked(&row, temperature, noise, position);
            for k in [1, 4, 40] {
                sampler.rank(&row, &[], position, k, &mut ours).expect("a sound row");
                let expected = &expected[..k.min(expected.len())];
                assert!(ours == expected, "case {case} at {temperature}, the best {k}");
            }
            let drawn = sampler.draw(&row, &[], position);
            assert_eq!(drawn, Ok(expected[0].token), "case {case} at {temperature}");
        }
    }
}
