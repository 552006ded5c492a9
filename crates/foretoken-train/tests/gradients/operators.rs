//! Linear layers, norms, rotations, gates, embeddings.

use foretoken_cpu::Write;
use foretoken_model::{Rope as RopeSpec, RopeScaling};
use foretoken_train::operators::{
    Direction, Linear, LinearGradient, NormGradient, RmsNorm, Rope, SiluBlock, SiluBlockGradient,
    gather, gather_backward, swiglu, swiglu_backward,
};

use crate::check::{assert_close, compute, differences, dot, random, wide};

/// More rows than one item of work has.
const ROWS: usize = 37;

fn linear(x: &[f64], w: &[f64], bias: Option<&[f64]>, inputs: usize) -> Vec<f64> {
    let rows = x.chunks(inputs).flat_map(|x| {
        let outputs = w.chunks(inputs).enumerate();
        outputs.map(move |(o, w)| {
            let sum: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            sum + bias.map_or(0.0, |bias| bias[o])
        })
    });
    rows.collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

#[test]
fn linear_layers() {
    let (inputs, outputs) = (5, 7);
    let (x, w, b) = (random(ROWS * inputs, 1), random(outputs * inputs, 2), random(outputs, 3));
    let dy = random(ROWS * outputs, 4);
    let mut compute = compute();
    for bias in [None, Some(&b[..])] {
        let layer = Linear { weight: &w, bias, inputs };
        let twin = |x: &[f64], w: &[f64], b: &[f64]| linear(x, w, bias.map(|_| b), inputs);
        let mut y = vec![f32::NAN; ROWS * outputs];
        layer.forward(&mut compute, &x, &mut y, Write::Store);
        assert_close("output", &y, &twin(&wide(&x), &wide(&w), &wide(&b)));
        layer.forward(&mut compute, &x, &mut y, Write::Add);
        let twice: Vec<f64> =
            twin(&wide(&x), &wide(&w), &wide(&b)).iter().map(|y| 2.0 * y).collect();
        assert_close("added output", &y, &twice);
        let (mut dx, mut dw, mut db) =
            (vec![f32::NAN; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        let to = LinearGradient {
            x: Some((&mut dx, Write::Store)),
            weight: &mut dw,
            bias: bias.map(|_| &mut db[..]),
        };
        layer.backward(&mut compute, &x, &dy, to);
        let of = |x: &[f64], w: &[f64], b: &[f64]| dot(&twin(x, w, b), &dy);
        assert_close("dx", &dx, &differences(&x, |x| of(x, &wide(&w), &wide(&b))));
        assert_close("dw", &dw, &differences(&w, |w| of(&wide(&x), w, &wide(&b))));
        if bias.is_some() {
            assert_close("db", &db, &differences(&b, |b| of(&wide(&x), &wide(&w), b)));
        }
    }
}

#[test]
fn norms() {
    let (width, eps) = (19, 1e-2f32);
    let (x, gain, dy) = (random(ROWS * width, 1), random(width, 2), random(ROWS * width, 3));
    let twin = |x: &[f64], gain: &[f64]| -> Vec<f64> {
        let rows = x.chunks(width).flat_map(|x| {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
            let factor = 1.0 / (mean + f64::from(eps)).sqrt();
            x.iter().zip(gain).map(move |(x, gain)| x * factor * gain)
        });
        rows.collect()
    };
    let (mut compute, norm) = (compute(), RmsNorm { gain: &gain, eps });
    let mut y = vec![0.0; x.len()];
    norm.forward(&mut compute, &x, &mut y);
    assert_close("output", &y, &twin(&wide(&x), &wide(&gain)));
    let (mut dx, mut dgain) = (vec![0.0; x.len()], vec![0.0; width]);
    norm.backward(&mut compute, &x, &dy, NormGradient { x: &mut dx, gain: &mut dgain });
    let of = |x: &[f64], gain: &[f64]| dot(&twin(x, gain), &dy);
    assert_close("dx", &dx, &differences(&x, |x| of(x, &wide(&gain))));
    assert_close("dgain", &dgain, &differences(&gain, |gain| of(&wide(&x), gain)));
}

#[test]
fn rotations() {
    let (length, heads, size, theta) = (37, 3, 8, 100.0);
    let (x, dy) = (random(2 * length * heads * size, 1), random(2 * length * heads * size, 2));
    let twin = |x: &[f64]| -> Vec<f64> {
        let mut y = x.to_vec();
        for (row, y) in y.chunks_mut(heads * size).enumerate() {
            for head in y.chunks_mut(size) {
                for i in 0..size / 2 {
                    let frequency = f64::powf(theta, -((2 * i) as f64) / size as f64);
                    let (sin, cos) = ((row % length) as f64 * frequency).sin_cos();
                    let (a, b) = (head[i], head[i + size / 2]);
                    (head[i], head[i + size / 2]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
        y
    };
    let rope = Rope::new(&RopeSpec { theta, dims: size, scaling: RopeScaling::None }, length);
    let (mut compute, mut y, mut dx) = (compute(), x.clone(), dy.clone());
    rope.apply(&mut compute, &mut y, heads * size, Direction::Forward);
    assert_close("output", &y, &twin(&wide(&x)));
    rope.apply(&mut compute, &mut dx, heads * size, Direction::Backward);
    assert_close("dx", &dx, &differences(&x, |x| dot(&twin(x), &dy)));
}

#[test]
fn gates() {
    let len = 133;
    let wider = |seed| random(len, seed).iter().map(|x| 6.0 * x).collect::<Vec<_>>();
    let (gate, up, dy) = (wider(1), wider(2), random(len, 3));
    let twin = |gate: &[f64], up: &[f64]| -> Vec<f64> {
        gate.iter().zip(up).map(|(gate, up)| silu(*gate) * up).collect()
    };
    let (mut compute, mut out) = (compute(), vec![0.0; len]);
    swiglu(&mut compute, &gate, &up, &mut out);
    assert_close("output", &out, &twin(&wide(&gate), &wide(&up)));
    let (mut dgate, mut dup, mut dh) = (gate.clone(), up.clone(), dy.clone());
    swiglu_backward(&mut compute, &mut dgate, &mut dup, &mut dh);
    assert_close("output again", &dh, &twin(&wide(&gate), &wide(&up)));
    let of = |gate: &[f64], up: &[f64]| dot(&twin(gate, up), &dy);
    assert_close("dgate", &dgate, &differences(&gate, |gate| of(gate, &wide(&up))));
    assert_close("dup", &dup, &differences(&up, |up| of(&wide(&gate), up)));
}

#[test]
fn residual_blocks_of_heads() {
    let width = 6;
    let (x, w, b) = (random(ROWS * width, 1), random(width * width, 2), random(width, 3));
    let dy = random(ROWS * width, 4);
    let twin = |x: &[f64], w: &[f64], b: &[f64]| -> Vec<f64> {
        let inner = linear(x, w, Some(b), width);
        x.iter().zip(inner).map(|(x, inner)| x + silu(inner)).collect()
    };
    let block = SiluBlock(Linear { weight: &w, bias: Some(&b), inputs: width });
    let (mut compute, mut inner, mut y) = (compute(), vec![0.0; x.len()], vec![0.0; x.len()]);
    block.forward(&mut compute, &x, &mut inner, &mut y);
    assert_close("output", &y, &twin(&wide(&x), &wide(&w), &wide(&b)));
    let (mut dx, mut dw, mut db) = (vec![f32::NAN; x.len()], vec![0.0; w.len()], vec![0.0; width]);
    let to = SiluBlockGradient { x: &mut dx, weight: &mut dw, bias: Some(&mut db) };
    block.backward(&mut compute, (&x, &mut inner), &dy, to);
    let of = |x: &[f64], w: &[f64], b: &[f64]| dot(&twin(x, w, b), &dy);
    assert_close("dx", &dx, &differences(&x, |x| of(x, &wide(&w), &wide(&b))));
    assert_close("dw", &dw, &differences(&w, |w| of(&wide(&x), w, &wide(&b))));
    assert_close("db", &db, &differences(&b, |b| of(&wide(&x), &wide(&w), b)));
}

#[test]
fn embeddings() {
    let (vocab, width) = (11, 70);
    let tokens: Vec<u32> = (0..ROWS as u32).map(|i| i * i % vocab as u32).collect();
    let (table, dy) = (random(vocab * width, 1), random(ROWS * width, 2));
    let twin = |table: &[f64]| -> Vec<f64> {
        tokens.iter().flat_map(|t| table[*t as usize * width..][..width].to_vec()).collect()
    };
    let (mut compute, mut out) = (compute(), vec![0.0; ROWS * width]);
    gather(&mut compute, &table, width, &tokens, &mut out);
    assert_close("output", &out, &twin(&wide(&table)));
    let mut gradient = vec![0.0; table.len()];
    gather_backward(&mut compute, &mut gradient, width, &tokens, &dy);
    assert_close("gradient", &gradient, &differences(&table, |table| dot(&twin(table), &dy)));
}
