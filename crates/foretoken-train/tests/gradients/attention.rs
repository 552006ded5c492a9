//! Attention with grouped heads, over whole sequences and packed documents.

use foretoken_train::operators::{Attention, AttentionGradient, AttentionRows};

use crate::check::{assert_close, compute, differences, dot, random, wide};

/// More rows than a block of scores has.
const LENGTH: usize = 70;
const SEQUENCES: usize = 2;
const SHAPE: Attention = Attention { heads: 4, kv_heads: 2, head_size: 2, length: LENGTH };

fn twin(q: &[f64], k: &[f64], v: &[f64], starts: &[u32]) -> Vec<f64> {
    let Attention { heads, kv_heads, head_size, length } = SHAPE;
    let (q_width, k_width) = (heads * head_size, kv_heads * head_size);
    let mut out = vec![0.0; q.len()];
    for (row, start) in starts.iter().enumerate() {
        let keys = row / length * length + *start as usize..row + 1;
        for head in 0..heads {
            let at = row * q_width + head * head_size;
            let column = head / (heads / kv_heads) * head_size;
            let score = |key: usize| {
                let terms = (0..head_size).map(|i| q[at + i] * k[key * k_width + column + i]);
                terms.sum::<f64>() / (head_size as f64).sqrt()
            };
            let exponentials: Vec<f64> = keys.clone().map(|key| score(key).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            for (key, exponential) in keys.clone().zip(&exponentials) {
                for i in 0..head_size {
                    out[at + i] += exponential / sum * v[key * k_width + column + i];
                }
            }
        }
    }
    out
}

fn check(starts: &[u32]) {
    let Attention { heads, kv_heads, head_size, length } = SHAPE;
    let rows = SEQUENCES * length;
    let wider =
        |width, seed| random(rows * width, seed).iter().map(|x| 2.0 * x).collect::<Vec<_>>();
    let (q, k, v) = (
        wider(heads * head_size, 1),
        wider(kv_heads * head_size, 2),
        wider(kv_heads * head_size, 3),
    );
    let dy = random(q.len(), 4);
    let mut compute = compute();
    let (mut out, mut lse) = (vec![f32::NAN; q.len()], vec![f32::NAN; rows * heads]);
    let input = AttentionRows { q: &q, k: &k, v: &v, starts };
    SHAPE.forward(&mut compute, input, &mut out, &mut lse);
    assert_close("output", &out, &twin(&wide(&q), &wide(&k), &wide(&v), starts));
    let (mut dq, mut dk, mut dv) =
        (vec![f32::NAN; q.len()], vec![f32::NAN; k.len()], vec![f32::NAN; v.len()]);
    let to = AttentionGradient { q: &mut dq, k: &mut dk, v: &mut dv };
    SHAPE.backward(&mut compute, input, (&out, &lse), &dy, to);
    let of = |q: &[f64], k: &[f64], v: &[f64]| dot(&twin(q, k, v, starts), &dy);
    let (wide_q, wide_k, wide_v) = (wide(&q), wide(&k), wide(&v));
    assert_close("dq", &dq, &differences(&q, |q| of(q, &wide_k, &wide_v)));
    assert_close("dk", &dk, &differences(&k, |k| of(&wide_q, k, &wide_v)));
    assert_close("dv", &dv, &differences(&v, |v| of(&wide_q, &wide_k, v)));
}

#[test]
fn whole_sequences() {
    check(&[0; SEQUENCES * LENGTH]);
}

#[test]
fn packed_documents() {
    let documents = |row: usize| match row {
        0..5 => 0,
        5..66 => 5,
        row => row.min(68),
    };
    let starts: Vec<u32> = (0..SEQUENCES * LENGTH).map(|r| documents(r % LENGTH) as u32).collect();
    check(&starts);
}
