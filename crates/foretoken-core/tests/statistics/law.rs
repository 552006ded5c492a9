//! The law of the draw, by chi-square over a million draws with fixed seeds: that tokens come as
//! often as the softmax says, and that draws at neighbouring positions, seeds and choices are
//! independent. Biased samplers go through the same tests and must fail them.

use foretoken_core::{Domain, Noise, Sampler, SamplingParams, TokenId};

/// Draws along each of the axes position, seed and choice.
const SIDE: usize = 100;

/// What `|z|` may reach. Twenty-one statistics are computed here from samplers that should pass; at a
/// chance of 1e-4 each (two-sided), a sound sampler fails one of them with a chance of 0.002.
const LIMIT: f64 = 3.9;

const AXES: [&str; 3] = ["position", "seed", "choice"];

/// The chi-square statistic as a standard normal deviate (Wilson and Hilferty 1931). Cells that are
/// expected fewer than five times are counted as one.
fn chi_square(counts: &[u32], probabilities: &[f64]) -> f64 {
    let draws: f64 = counts.iter().copied().map(f64::from).sum();
    let mut pooled = (0.0, 0.0);
    let mut cells = Vec::new();
    for (&count, &probability) in counts.iter().zip(probabilities) {
        let (count, expected) = (f64::from(count), probability * draws);
        if expected < 5.0 {
            pooled = (pooled.0 + count, pooled.1 + expected);
        } else {
            cells.push((count, expected));
        }
    }
    if pooled.1 > 0.0 {
        cells.push(pooled);
    }
    let statistic: f64 = cells.iter().map(|(count, mean)| (count - mean).powi(2) / mean).sum();
    let freedom = (cells.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    ((statistic / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// Deviates of a sampler: of its law, and of the independence of neighbours along each axis.
#[derive(Debug)]
struct Examined {
    law: f64,
    neighbours: [f64; 3],
}

impl Examined {
    fn passes(&self) -> bool {
        self.law.abs() < LIMIT && self.neighbours.iter().all(|z| z.abs() < LIMIT)
    }
}

/// Draws once at every point of a cube of positions, seeds and choices. `draw` gives the index of
/// a token in `probabilities`. For pairs of neighbours, indices are taken modulo `groups`.
fn examine(
    probabilities: &[f64],
    groups: usize,
    mut draw: impl FnMut(Noise, u32) -> usize,
) -> Examined {
    let mut drawn = Vec::with_capacity(SIDE.pow(3));
    for choice in 0..SIDE {
        for seed in 0..SIDE {
            let noise = Noise { seed: seed as u64, choice: choice as u32 };
            drawn.extend((0..SIDE).map(|position| draw(noise, 900 + position as u32)));
        }
    }
    let mut counts = vec![0; probabilities.len()];
    for &index in &drawn {
        counts[index] += 1;
    }
    let law = chi_square(&counts, probabilities);

    let mut of_group = vec![0.0; groups];
    for (index, probability) in probabilities.iter().enumerate() {
        of_group[index % groups] += probability;
    }
    let of_pair: Vec<f64> =
        of_group.iter().flat_map(|a| of_group.iter().map(move |b| a * b)).collect();
    let neighbours = [0, 1, 2].map(|axis| {
        let stride = SIDE.pow(axis);
        let mut counts = vec![0; groups * groups];
        // Disjoint pairs, so that they are independent of each other.
        for first in (0..drawn.len()).filter(|index| index / stride % 2 == 0) {
            let [a, b] = [first, first + stride].map(|index| drawn[index] % groups);
            counts[a * groups + b] += 1;
        }
        chi_square(&counts, &of_pair)
    });
    Examined { law, neighbours }
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights = logits.iter().map(|&logit| libm::exp(f64::from(logit) / temperature));
    let weights: Vec<f64> = weights.collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// A sampler whose parameters stay and whose noise changes from draw to draw.
fn drawing(
    params: &SamplingParams,
    row: Vec<f32>,
    prompt: &[TokenId],
) -> impl FnMut(Noise, u32) -> TokenId + use<> {
    let mut sampler = Sampler::new(params.clone(), Noise { seed: 0, choice: 0 }, row.len())
        .expect("valid parameters");
    sampler.prompt(prompt);
    move |noise, position| {
        sampler.set_noise(noise);
        sampler.draw(&row, &[], position).expect("a sound row")
    }
}

fn at_temperature(temperature: f64) -> SamplingParams {
    SamplingParams { temperature, ..SamplingParams::default() }
}

const EIGHT: [f32; 8] = [0.5, -1.0, 2.0, 0.0, 1.25, -3.0, 1.25, 0.75];

#[test]
fn eight_tokens() {
    let mut draw = drawing(&at_temperature(0.8), EIGHT.to_vec(), &[]);
    let law = softmax(&EIGHT, 0.8);
    let examined = examine(&law, 8, |noise, position| draw(noise, position) as usize);
    assert!(examined.passes(), "{AXES:?}: {examined:?}");
}

/// With every stage on, against laws worked out by hand.
#[test]
fn eight_tokens_filtered() {
    // The penalty halves the logits of 2 and 0; 4 is banned. That leaves, in order, the tokens 6, 2,
    // 7, 0, 3, 1 and 5, of which top-k drops 5.
    let adjusted = [0.25, -1.0, 1.0, 0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 1.25, 0.75];
    // Their shares add up to 0.318, 0.566, 0.758, 0.875, 0.966 and 1; relative to the largest they
    // are 1, 0.779, 0.607, 0.368, 0.287 and 0.105.
    let cases: [(f64, f64, &[usize]); 3] =
        [(0.97, 0.1, &[]), (0.96, 0.1, &[1]), (0.97, 0.3, &[1, 3])];
    for (top_p, min_p, dropped) in cases {
        let params = SamplingParams {
            top_k: Some(6),
            top_p,
            min_p,
            repetition_penalty: 2.0,
            logit_bias: vec![(4, f32::NEG_INFINITY)],
            ..at_temperature(1.0)
        };
        let mut survivors = adjusted;
        for &token in dropped {
            survivors[token] = f32::NEG_INFINITY;
        }
        let mut draw = drawing(&params, EIGHT.to_vec(), &[2, 0, 2]);
        let law = softmax(&survivors, 1.0);
        let examined = examine(&law, 8, |noise, position| draw(noise, position) as usize);
        assert!(examined.passes(), "top-p {top_p}, min-p {min_p}: {examined:?}");
    }
}

const LARGE: usize = 128_000;

/// A million draws from 128,000 tokens.
///
/// To hash every token for every draw would take minutes, so 1,024 tokens, in four places that
/// include both ends, have nearly all probability (the rest lies 60 below them or is banned), and the
/// sampler's own bounds skip the others: each draw still reads the whole row.
#[test]
fn large_vocabulary() {
    let mut row: Vec<f32> =
        (0..LARGE).map(|token| if token % 2 == 0 { -60.0 } else { f32::NEG_INFINITY }).collect();
    let places = [0, 137 * 256, 304 * 256, LARGE - 256];
    let tokens: Vec<usize> = places.iter().flat_map(|&first| first..first + 256).collect();
    for (index, &token) in tokens.iter().enumerate() {
        row[token] = (index * 37 % 64) as f32 / 32.0;
    }
    let logits: Vec<f32> = tokens.iter().map(|&token| row[token]).collect();
    let mut draw = drawing(&at_temperature(1.0), row, &[]);
    let examined = examine(&softmax(&logits, 1.0), 32, |noise, position| {
        let token = draw(noise, position) as usize;
        tokens.binary_search(&token).expect("a token that has probability")
    });
    assert!(examined.passes(), "{AXES:?}: {examined:?}");
}

/// Fewer draws from a law that all 128,000 tokens share, counted by ranges of 1,000 tokens.
#[test]
fn large_vocabulary_all_alike() {
    let row: Vec<f32> = (0..LARGE).map(|token| (token % 7) as f32 / 4.0).collect();
    let law = softmax(&row, 1.0);
    let law: Vec<f64> = law.chunks(1000).map(|range| range.iter().sum()).collect();
    let mut draw = drawing(&at_temperature(1.0), row, &[]);
    let mut counts = vec![0; law.len()];
    for position in 0..4000 {
        counts[draw(Noise { seed: 1, choice: 0 }, position) as usize / 1000] += 1;
    }
    let z = chi_square(&counts, &law);
    assert!(z.abs() < LIMIT, "z = {z}");
}

#[test]
fn biased_samplers_fail() {
    let law = softmax(&EIGHT, 0.8);
    let mut draw = drawing(&at_temperature(0.8), EIGHT.to_vec(), &[]);
    let mut examine_biased = |bias: fn(Noise, u32) -> (Noise, u32)| {
        examine(&law, 8, |noise, position| {
            let (noise, position) = bias(noise, position);
            draw(noise, position) as usize
        })
    };
    let reused = examine_biased(|noise, position| (noise, position / 2));
    assert!(reused.neighbours[0] > LIMIT, "noise used at two positions: {reused:?}");
    let seeds =
        examine_biased(|noise, position| (Noise { seed: noise.seed / 2, ..noise }, position));
    assert!(seeds.neighbours[1] > LIMIT, "one noise for two seeds: {seeds:?}");
    let choices = examine_biased(|Noise { seed, choice }, position| {
        (Noise { seed, choice: choice / 2 }, position)
    });
    assert!(choices.neighbours[2] > LIMIT, "one noise for two choices: {choices:?}");
    let added = examine_biased(|Noise { seed, choice }, position| {
        (Noise { seed: seed + u64::from(choice), choice: 0 }, position)
    });
    assert!(added.law > LIMIT, "seed and choice added: {added:?}");

    let squeezed = examine(&law, 8, |noise, position| {
        let score = |token: usize| {
            let u = 0.98 * noise.uniform(Domain::Draw, position, token as TokenId);
            f64::from(EIGHT[token]) / 0.8 - libm::log(-libm::log(u))
        };
        (0..8).max_by(|&a, &b| score(a).total_cmp(&score(b))).expect("eight tokens")
    });
    assert!(squeezed.law > LIMIT, "uniform numbers below 0.98: {squeezed:?}");
}
