//! Every kernel of every level this machine has, against the scalar specification, over odd sizes.

use foretoken_tensor::CHUNK;
use foretoken_tensor::arithmetic::{self, GROUP, LaneSum, Softmax};
use half::{bf16, f16};

use super::dot::{Dot, Quants};
use super::fma::{Fma, Weight};
use super::quantize::Quantize;
use super::{q4_0, q8_0};
use crate::isa::Isa;
use crate::simd::LANES;
use crate::table::KernelTable;

fn tables() -> impl Iterator<Item = KernelTable> {
    Isa::ALL.iter().filter(|isa| isa.is_available()).map(|isa| {
        let table = KernelTable::new(*isa);
        assert_eq!(table.isa, *isa);
        table
    })
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Of either sign and several magnitudes.
    fn value(&mut self) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        unit * [0.01, 1.0, 30.0][(self.next() % 3) as usize]
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn check_fma<W: Weight>(kernel: fn(Fma<'_, W>), isa: Isa, from: fn(f32) -> W, to: fn(W) -> f32) {
    let mut random = Random(1);
    for rows in [1, 2, 3, 7, 8, 9, 15, 17] {
        for (panels, steps) in [(1, 1), (2, 5), (3, 33), (4, 16), (5, 7), (7, 64)] {
            let (x_stride, w_step, acc_stride) = (steps + 3, LANES + 16, panels * LANES + 5);
            let (w_panel, ahead) = (steps * w_step + 2, steps * w_step);
            let x = random.values(rows * x_stride);
            let w: Vec<W> = random.values(panels * w_panel).into_iter().map(from).collect();
            let before = random.values(rows * acc_stride);
            let mut wanted = before.clone();
            for r in 0..rows {
                for o in 0..panels * LANES {
                    let acc = &mut wanted[r * acc_stride + o];
                    for k in 0..steps {
                        let w = w[o / LANES * w_panel + k * w_step + o % LANES];
                        *acc = x[r * x_stride + k].mul_add(to(w), *acc);
                    }
                }
            }
            let mut acc = before;
            let (x, w, a) = (&x, &w, &mut acc);
            kernel(Fma {
                rows,
                panels,
                steps,
                x,
                x_stride,
                w,
                w_panel,
                w_step,
                ahead,
                acc: a,
                acc_stride,
            });
            assert_eq!(
                bits(&acc),
                bits(&wanted),
                "{isa} {rows} rows {panels} panels {steps} steps"
            );
        }
    }
}

#[test]
fn float_tiles_are_one_chain_per_output() {
    for table in tables() {
        check_fma(table.fma_f32, table.isa, |x| x, |w| w);
        check_fma(table.fma_f16, table.isa, f16::from_f32, f16::to_f32);
        check_fma(table.fma_bf16, table.isa, bf16::from_f32, bf16::to_f32);
    }
}

fn check_dot<Q: Quants>(
    kernel: fn(Dot<'_>),
    isa: Isa,
    put: fn(&mut [u8], usize, &[u8]),
    weight: fn(&[u8], usize) -> i32,
) {
    let mut random = Random(2);
    let block = Q::BYTES / LANES;
    for rows in [1, 2, 3, 7, 8, 9, 15, 17] {
        for groups in [1, 2, 5] {
            let mut quants = vec![0; groups * Q::BYTES];
            let mut blocks = vec![vec![0u8; block]; groups * LANES];
            for (i, block) in blocks.iter_mut().enumerate() {
                // Extremes first: the largest sums there are.
                block.fill([0x80, 0x7f, 0xff, 0][i.min(3)]);
                if i > 3 {
                    block.fill_with(|| random.next() as u8);
                }
                put(&mut quants[i / LANES * Q::BYTES..][..Q::BYTES], i % LANES, block);
            }
            let scales: Vec<f16> =
                (0..groups * LANES).map(|_| f16::from_f32(random.value())).collect();
            let extreme = |i: usize| [127, -127][i / GROUP % 2];
            let x: Vec<i8> = (0..rows * groups * GROUP)
                .map(|i| if i < 2 * GROUP { extreme(i) } else { (random.next() % 255) as i8 })
                .map(|q| q.max(-127))
                .collect();
            let x_scale = random.values(rows * groups);
            let x_sum: Vec<i32> =
                x.chunks(GROUP).map(|x| x.iter().map(|q| i32::from(*q)).sum()).collect();
            let mut wanted = vec![0.0; rows * LANES];
            for (i, acc) in wanted.iter_mut().enumerate() {
                let (r, lane) = (i / LANES, i % LANES);
                for g in 0..groups {
                    let x = &x[(r * groups + g) * GROUP..][..GROUP];
                    let w = &blocks[g * LANES + lane];
                    let sum = x.iter().enumerate().map(|(k, x)| i32::from(*x) * weight(w, k)).sum();
                    let scale = scales[g * LANES + lane].to_f32();
                    *acc = arithmetic::add_group(*acc, sum, scale, x_scale[r * groups + g]);
                }
            }
            let mut acc = vec![0.0; rows * LANES];
            kernel(Dot {
                rows,
                groups,
                x: &x,
                x_stride: groups * GROUP,
                x_scale: &x_scale,
                x_sum: &x_sum,
                scales: &scales,
                quants: &quants,
                acc: &mut acc,
                acc_stride: LANES,
            });
            assert_eq!(bits(&acc), bits(&wanted), "{isa} {rows} rows {groups} groups");
        }
    }
}

#[test]
fn integer_tiles_are_exact_at_the_extremes() {
    for table in tables() {
        check_dot::<q8_0::Q8_0>(table.dot_q8_0, table.isa, q8_0::put, |block, k| {
            i32::from(block[k].cast_signed())
        });
        check_dot::<q4_0::Q4_0>(table.dot_q4_0, table.isa, q4_0::put, |block, k| {
            i32::from(block[k % 16] >> (k / 16 * 4) & 15) - 8
        });
    }
}

#[test]
fn quantised_layouts_return_what_was_put() {
    let mut group = vec![0; q8_0::Q8_0::BYTES];
    let block: Vec<u8> = (0..32).map(|i| 120 + i * 7 % 31).collect();
    q8_0::put(&mut group, 5, &block);
    assert!((0..32).all(|k| q8_0::get(&group, 5, k) == i32::from(block[k].cast_signed())));
    let mut group = vec![0; q4_0::Q4_0::BYTES];
    q4_0::put(&mut group, 9, &block[..16]);
    let weight = |k: usize| i32::from(block[k % 16] >> (k / 16 * 4) & 15) - 8;
    assert!((0..32).all(|k| q4_0::get(&group, 9, k) == weight(k)));
}

#[test]
fn quantisation_equals_the_specification() {
    let mut random = Random(3);
    for table in tables() {
        for len in [1, 31, 32, 33, 64, 100, 1000] {
            let mut x = random.values(len);
            x[len / 2] = [0.0, 1e-31, f32::INFINITY, f32::NAN, -254.0][len % 5];
            if len == 64 {
                x[..32].fill(1e-31);
            }
            let groups = len.div_ceil(GROUP);
            let mut quants = vec![1; groups * GROUP];
            let (mut scales, mut sums) = (vec![0.0; groups], vec![0; groups]);
            let (q, s, n) = (&mut quants[..], &mut scales[..], &mut sums[..]);
            (table.quantize)(Quantize { x: &x, quants: q, scales: s, sums: n });
            let (mut q, mut s) = (vec![0; len], vec![0.0; groups]);
            arithmetic::quantize_row(&x, &mut q, &mut s);
            assert_eq!(quants[..len], q, "{} {len}", table.isa);
            assert!(quants[len..].iter().all(|q| *q == 0));
            assert_eq!(bits(&scales), bits(&s));
            for (sum, q) in sums.iter().zip(quants.chunks(GROUP)) {
                assert_eq!(*sum, q.iter().map(|q| i32::from(*q)).sum::<i32>());
            }
        }
    }
}

#[test]
fn norms_equal_the_specification() {
    let mut random = Random(4);
    for table in tables() {
        for width in [1, 8, 15, 16, 17, 64, 80, 577] {
            let (x, w) = (random.values(width), random.values(width));
            let inv = arithmetic::rms_factor(&x, 1e-5);
            let wanted: Vec<f32> = x.iter().zip(&w).map(|(x, w)| (x * inv) * w).collect();
            let mut out = x;
            (table.norm)(&mut out, &w, 1e-5);
            assert_eq!(bits(&out), bits(&wanted), "{} {width}", table.isa);
        }
    }
}

#[test]
fn rotations_equal_the_specification() {
    let mut random = Random(5);
    for table in tables() {
        for (head, half) in [(2, 1), (8, 4), (64, 32), (80, 20), (128, 64), (50, 25)] {
            let x = random.values(head);
            let (cos, sin) = (random.values(half), random.values(half));
            let mut wanted = x.clone();
            for i in 0..half {
                let pair = arithmetic::rotate_pair(x[i], x[i + half], cos[i], sin[i]);
                (wanted[i], wanted[i + half]) = pair;
            }
            let mut out = x;
            (table.rotate)(&mut out, &cos, &sin);
            assert_eq!(bits(&out), bits(&wanted), "{} {head}", table.isa);
        }
    }
}

/// A million inputs over every exponent, both signs, and the neighbourhood of every threshold.
#[test]
fn exponentials_equal_the_specification() {
    let mut x: Vec<f32> = (0..u32::MAX).step_by(4099).map(f32::from_bits).collect();
    for edge in [arithmetic::EXP_MIN, arithmetic::EXP_MAX, 0.0, 1.0] {
        x.extend((-3..=3).map(|d: i32| f32::from_bits(edge.to_bits().wrapping_add_signed(d))));
        x.extend((-3..=3).map(|d: i32| -f32::from_bits(edge.to_bits().wrapping_add_signed(d))));
    }
    let wanted: Vec<f32> = x.iter().map(|x| arithmetic::swiglu(*x, 1.0)).collect();
    for table in tables() {
        let mut out = x.clone();
        (table.swiglu)(&mut out, &vec![1.0; x.len()]);
        for ((x, out), wanted) in x.iter().zip(&out).zip(&wanted) {
            let same = out.to_bits() == wanted.to_bits() || out.is_nan() && wanted.is_nan();
            assert!(same, "{}: silu({x:e}) = {out:e}, not {wanted:e}", table.isa);
        }
    }
}

#[test]
fn softmax_and_merge_equal_the_specification() {
    let mut random = Random(6);
    for table in tables() {
        for seen in [0..1, 0..64, 3..17, 63..64, 16..48, 5..6, 31..33] {
            let mut scores = [0.0; CHUNK];
            scores.fill_with(|| random.value() * 4.0);
            let max = scores[seen.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut wanted = [0.0; CHUNK];
            let mut sum = LaneSum::ZERO;
            for j in seen.clone() {
                wanted[j] = arithmetic::exp(scores[j] - max);
                sum.add(j, wanted[j]);
            }
            let state = (table.softmax)(&mut scores, seen.clone());
            assert_eq!(state, Softmax { max, sum: sum.total() }, "{} {seen:?}", table.isa);
            assert_eq!(bits(&scores), bits(&wanted), "{} {seen:?}", table.isa);
        }
        let (x, y) = (random.values(80), random.values(80));
        let (a, b) = (0.75, 1.0);
        let wanted: Vec<f32> = x.iter().zip(&y).map(|(x, y)| y.mul_add(b, x * a)).collect();
        let mut out = x;
        (table.merge)(&mut out, &y, a, b);
        assert_eq!(bits(&out), bits(&wanted), "{}", table.isa);
    }
}
