//! The oracle against naive f64 formulas written from the definitions.

use super::super::attention;
use super::super::model::{Model, Stored, packed_formats, whole};
use super::super::rng::Rng;
use super::super::runner::{Blocks, Inputs, Runner, Trace};
use super::super::tree::{Form, Tree};
use crate::{
    Affine, KvShape, KvType, Op, Projection, Reach, Reference, RowSet, WeightFormat, Write,
};

const KV: KvShape = KvShape { layers: 2, kv_heads: 2, head_size: 16, kv_type: KvType::F32 };

/// Runs a chain of random tokens and returns its rows.
fn run_chain(rng: &mut Rng, model: &Model, rows: usize) -> Vec<Trace> {
    let mut runner = Runner::new(&Reference, model, 2);
    let mut inputs = Inputs::new(model);
    let sequence = Blocks::shuffled(rng, 2).sequence(rows);
    inputs.push(&sequence, &Tree::chain(rows), &rng.tokens(rows, model.vocabulary));
    inputs.want(0..rows);
    runner.run(&inputs);
    (0..rows).map(|row| runner.trace(&inputs, row)).collect()
}

fn assert_near(what: &str, found: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (&found, &wanted)) in found.iter().zip(wanted).enumerate() {
        let near = (f64::from(found) - wanted).abs() <= tolerance * wanted.abs().max(1.0);
        assert!(near, "{what}: value {i} is {found}, not {wanted}");
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// `x / sqrt(mean(x^2) + eps) * weight`.
fn norm(x: &[f64], weight: &[f32], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, &w)| x / (mean + eps).sqrt() * f64::from(w)).collect()
}

#[test]
fn norms_follow_f64() {
    let rng = &mut Rng::new(1);
    let mut model = Model::new(KV, 0, 50);
    let input = model.source(rng, 60, 3.0);
    let gain = rng.floats(60, 2.0);
    let weight = model.vector(gain.clone());
    let out = model.buffer(60);
    model.push(Op::RmsNorm { input, weight, eps: 1e-2, out });
    let head_gain = rng.floats(12, 2.0);
    let weight = model.vector(head_gain.clone());
    model.push(Op::HeadNorm { buffer: out, weight, eps: 1e-2 });
    for row in run_chain(rng, &model, 9) {
        let normed = norm(&wide(&row[0].1), &gain, 1e-2);
        let wanted: Vec<f64> =
            normed.chunks(12).flat_map(|head| norm(head, &head_gain, 1e-2)).collect();
        assert_near("norms", &row[1].1, &wanted, 1e-5);
    }
}

#[test]
fn rotation_follows_f64() {
    let rng = &mut Rng::new(2);
    let (heads, head_size, dims) = (3, 10, 8);
    let mut model = Model::new(KV, dims, 50);
    let input = model.source(rng, heads * head_size, 3.0);
    let buffer = model.buffer(heads * head_size);
    model.push(Op::Copy { input, out: buffer });
    model.push(Op::Rotate { buffer, head_size });
    for (position, row) in run_chain(rng, &model, 40).iter().enumerate() {
        let mut wanted = wide(&row[0].1);
        for head in wanted.chunks_mut(head_size) {
            for i in 0..dims / 2 {
                let angle = position as f64 * 10_000f64.powf(-2.0 * i as f64 / dims as f64);
                let (x0, x1) = (head[i], head[i + dims / 2]);
                head[i] = x0 * angle.cos() - x1 * angle.sin();
                head[i + dims / 2] = x0 * angle.sin() + x1 * angle.cos();
            }
        }
        assert_near("rotation", &row[1].1, &wanted, 1e-6);
    }
}

#[test]
fn swiglu_and_select_follow_f64() {
    let rng = &mut Rng::new(3);
    let mut model = Model::new(KV, 0, 50);
    let input = model.source(rng, 37, 6.0);
    let parts = [(); 2].map(|()| {
        let stored = Stored::packable(rng, WeightFormat::F32, [37, 37], 0.3);
        let weight = model.matrix(stored, WeightFormat::F32);
        let map = Affine { weight, bias: Some(model.vector(rng.floats(37, 1.0))) };
        Projection { map, out: model.buffer(37), write: Write::Store }
    });
    let [gate, up] = [parts[0].map, parts[1].map];
    model.push(Op::Linear { input, parts: parts.to_vec() });
    let out = model.buffer(37);
    model.push(Op::SwiGlu { input, gate, up, out });
    let selected = model.program.buffer(37, RowSet::Wanted);
    model.push(Op::Select { input: out, out: selected });
    let block = model.buffer(37);
    model.push(Op::Copy { input, out: block });
    let residual = Projection { map: gate, out: block, write: Write::AddSilu };
    model.push(Op::Linear { input, parts: vec![residual] });
    for row in run_chain(rng, &model, 9) {
        let (x, gates) = (wide(&row[0].1), wide(&row[1].1));
        let block: Vec<f64> =
            x.iter().zip(&gates).map(|(x, g)| x + g / (1.0 + (-g).exp())).collect();
        assert_near("silu", &row[5].1, &block, 1e-5);
        let pairs = wide(&row[1].1).into_iter().zip(wide(&row[2].1));
        let wanted: Vec<f64> = pairs.map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        assert_near("swiglu", &row[3].1, &wanted, 1e-5);
        assert_eq!(row[3].1, row[4].1);
    }
}

/// Products against f64 products of the packed weights, within what rounding activations to the
/// half step of their group can do.
#[test]
fn products_follow_f64() {
    for (seed, format) in packed_formats().into_iter().enumerate() {
        let rng = &mut Rng::new(10 + seed as u64);
        let [outputs, inputs] = [19, whole(format, 70)];
        let mut model = Model::new(KV, 0, 50);
        let input = model.source(rng, inputs, 4.0);
        let old = model.source(rng, outputs, 1.0);
        let out = model.buffer(outputs);
        model.push(Op::Copy { input: old, out });
        let stored = Stored::packable(rng, format, [outputs, inputs], 0.5);
        let rows = packed_rows(&stored, format);
        let bias = rng.floats(outputs, 1.0);
        let part = Projection {
            map: Affine {
                weight: model.matrix(stored, format),
                bias: Some(model.vector(bias.clone())),
            },
            out,
            write: Write::Add,
        };
        model.push(Op::Linear { input, parts: vec![part] });
        for row in run_chain(rng, &model, 9) {
            let (x, old) = (wide(&row[0].1), wide(&row[1].1));
            for (output, weights) in rows.iter().enumerate() {
                let product: f64 = x.iter().zip(weights).map(|(x, w)| x * w).sum();
                let wanted = product + f64::from(bias[output]) + old[output];
                let error = (f64::from(row[2].1[output]) - wanted).abs();
                let rounding = match format {
                    WeightFormat::F32 | WeightFormat::F16 => 0.0,
                    // Half a unit in the last of eight bits.
                    WeightFormat::Bf16 => 2f64.powi(-9) * magnitude(&x, weights),
                    _ => half_steps(&x, weights),
                };
                let bound = 1e-5 + rounding;
                assert!(error <= bound, "{format}, output {output}: {error} > {bound}");
            }
        }
    }
}

/// Sum of the magnitudes of the products.
fn magnitude(x: &[f64], weights: &[f64]) -> f64 {
    x.iter().zip(weights).map(|(x, w)| (x * w).abs()).sum()
}

/// The weights as packed, decoded.
fn packed_rows(stored: &Stored, format: WeightFormat) -> Vec<Vec<f64>> {
    let view = stored.view();
    let mut converter = view.convert(format).unwrap();
    let mut bytes = vec![0; converter.row_bytes()];
    let mut values = vec![0.0; converter.padded_cols()];
    (0..stored.rows)
        .map(|row| {
            converter.row(row, &mut bytes).unwrap();
            (format.spec().decode)(&bytes, &mut values);
            wide(&values[..stored.cols])
        })
        .collect()
}

/// The largest error of a product from rounding each activation to a multiple of its group's
/// `max |x| / 127`.
fn half_steps(x: &[f64], weights: &[f64]) -> f64 {
    let groups = x.chunks(32).zip(weights.chunks(32));
    groups
        .map(|(x, w)| {
            let step = x.iter().fold(0.0, |max: f64, x| max.max(x.abs())) / 127.0;
            0.5 * step * w.iter().map(|w| w.abs()).sum::<f64>()
        })
        .sum()
}

/// Attention over a tree on stored positions against softmax over the whole path in f64.
#[test]
fn attention_follows_f64() {
    for (seed, reach) in [Reach::Full, Reach::Window(1), Reach::Window(70)].into_iter().enumerate()
    {
        for sharpness in [0.2, 1.0, 40.0] {
            let rng = &mut Rng::new(20 + seed as u64);
            let model = attention::model(rng, KV, 4, reach, sharpness);
            check_attention(rng, &model, reach, sharpness / 4.0, 3e-5);
            if sharpness <= 1.0 {
                let kv = KvShape { kv_type: KvType::Bf16, ..KV };
                let model = attention::model(rng, kv, 4, reach, sharpness);
                check_attention(rng, &model, reach, sharpness / 4.0, 3e-2);
            }
        }
    }
}

fn check_attention(rng: &mut Rng, model: &Model, reach: Reach, scale: f32, tolerance: f64) {
    let (base, tree) = (100, Tree::random(rng, 60, Form::Bush));
    let mut runner = Runner::new(&Reference, model, 3);
    let mut sequence = Blocks::shuffled(rng, 3).sequence(base + tree.len());
    let mut rows = Vec::new();
    for tree in [&Tree::chain(base), &tree] {
        let mut inputs = Inputs::new(model);
        inputs.push(&sequence, tree, &rng.tokens(tree.len(), model.vocabulary));
        runner.run(&inputs);
        rows.extend((0..tree.len()).map(|row| runner.trace(&inputs, row)));
        sequence.len = base;
    }
    for node in 0..tree.len() {
        let mut path: Vec<usize> = (0..base).collect();
        path.extend(tree.path(node).iter().map(|node| base + node));
        if let Reach::Window(n) = reach {
            path.drain(..path.len().saturating_sub(n as usize));
        }
        let [queries, keys, values, out] = [0, 1, 2, 3];
        let size = KV.head_size;
        for head in 0..4 {
            let query = &rows[base + node][queries].1[head * size..][..size];
            let kv_head =
                |row: usize, part: usize| wide(&rows[row][part].1[head / 2 * size..][..size]);
            let score = |row: usize| -> f64 {
                let key = kv_head(row, keys);
                query.iter().zip(key).map(|(&q, k)| f64::from(q) * k).sum::<f64>()
                    * f64::from(scale)
            };
            let max = path.iter().map(|&row| score(row)).fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = path.iter().map(|&row| (score(row) - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut wanted = vec![0.0; size];
            for (&row, weight) in path.iter().zip(&weights) {
                for (wanted, v) in wanted.iter_mut().zip(kv_head(row, values)) {
                    *wanted += weight / total * v;
                }
            }
            let found = &rows[base + node][out].1[head * size..][..size];
            let what = format!("{reach:?}, scale {scale}, node {node}");
            assert_near(&what, found, &wanted, tolerance);
        }
    }
}
