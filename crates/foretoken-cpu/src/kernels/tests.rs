//! Every kernel of every level this machine has, against the scalar specification, over odd sizes.

use foretoken_tensor::arithmetic::{self, GROUP, LaneSum, PAIR_BLOCK, PairSum, Softmax};
use foretoken_tensor::{Block, CHUNK, WeightFormat};
use half::{bf16, f16};

use super::dot::{Dot, Group, LINE, Next, Quants};
use super::fma::{Fma, Weight};
use super::pairs::Pair;
use super::quantize::Quantize;
use super::{q4_0::Q4_0, q4_k::Q4K, q5_k::Q5K, q6_k::Q6K, q8_0::Q8_0};
use crate::isa::Isa;
use crate::memory::Memory;
use crate::simd::LANES;
use crate::table::KernelTable;

fn tables() -> Vec<KernelTable> {
    KernelTable::all()
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

    /// A bfloat16 of any magnitude that rounding leaves, most often about the least of them.
    fn small(&mut self) -> bf16 {
        let scale = [1.0, arithmetic::BF16_MIN, arithmetic::BF16_MIN * 300.0, 1e8];
        arithmetic::to_bf16(self.value() * scale[(self.next() % 4) as usize])
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// A weight type beside the sum of inputs times weights that is specified for it. Rows of one number that
/// equal it equal those of any other.
fn check_fma<W: Weight>(
    kernel: fn(Fma<'_, W>),
    isa: Isa,
    input: fn(&mut Random) -> W::Input,
    weight: fn(&mut Random) -> W,
    sum: impl Fn(f32, &[(W::Input, W)]) -> f32,
) {
    let mut random = Random(1);
    for rows in [1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 34, 64, 65] {
        // The last has more steps than two cuts.
        for (panels, steps) in [(1, 1), (2, 5), (3, 33), (4, 16), (5, 7), (7, 64), (2, 300)] {
            let (x_stride, w_step, acc_stride) = (steps + 3, LANES + 16, panels * LANES + 5);
            let w_panel = steps * w_step + 2;
            let x: Vec<_> = (0..rows * x_stride).map(|_| input(&mut random)).collect();
            let w: Vec<W> = (0..panels * w_panel).map(|_| weight(&mut random)).collect();
            let before = random.values(rows * acc_stride);
            let mut wanted = before.clone();
            for r in 0..rows {
                for o in 0..panels * LANES {
                    let acc = &mut wanted[r * acc_stride + o];
                    let w = |k| w[o / LANES * w_panel + k * w_step + o % LANES];
                    let terms: Vec<_> = (0..steps).map(|k| (x[r * x_stride + k], w(k))).collect();
                    *acc = sum(*acc, &terms);
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
                next: w,
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

/// The halves of pairs of inputs and weights, as f32.
fn halves(terms: &[(u32, Pair)]) -> [Vec<f32>; 2] {
    let input = |x: u32| [x as u16, (x >> 16) as u16].map(|half| bf16::from_bits(half).to_f32());
    [
        terms.iter().flat_map(|(x, _)| input(*x)).collect(),
        terms.iter().flat_map(|(_, w)| w.map(bf16::to_f32)).collect(),
    ]
}

fn chain_of_pairs(acc: f32, terms: &[(u32, Pair)]) -> f32 {
    let [x, w] = halves(terms);
    let (x, w) = (x.as_chunks().0, w.as_chunks().0);
    x.iter().zip(w).fold(acc, |acc, (x, w)| arithmetic::add_pair(acc, *x, *w))
}

fn blocks_of_pairs(acc: f32, terms: &[(u32, Pair)]) -> f32 {
    let [x, w] = halves(terms);
    let blocks = x.chunks(PAIR_BLOCK).zip(w.chunks(PAIR_BLOCK));
    blocks.fold(acc, |acc, (x, w)| arithmetic::add_block(acc, x, w))
}

#[test]
fn float_tiles_sum_as_specified() {
    for table in tables() {
        let f32 = |random: &mut Random| random.value();
        let f16 = |random: &mut Random| f16::from_f32(random.value());
        check_fma(table.fma_f32, table.isa, f32, f32, |acc, terms| {
            terms.iter().fold(acc, |acc, (x, w)| x.mul_add(*w, acc))
        });
        check_fma(table.fma_f16, table.isa, f32, f16, |acc, terms| {
            terms.iter().fold(acc, |acc, (x, w)| x.mul_add(w.to_f32(), acc))
        });
        let pair = |random: &mut Random| [random.small(), random.small()];
        let bits = |random: &mut Random| {
            let [even, odd] = [random.small(), random.small()].map(|x| u32::from(x.to_bits()));
            even | odd << 16
        };
        check_fma(table.fma_pairs, table.isa, bits, pair, chain_of_pairs);
        let order = match table.pair_sum {
            PairSum::Chain => chain_of_pairs,
            PairSum::Blocks => blocks_of_pairs,
        };
        check_fma(table.weight_pairs, table.isa, bits, pair, order);
    }
}

/// The instruction rounds as its definition here only where no sum is subnormal, and only a machine
/// that has it can show that; a table that does without it would pass every comparison.
#[cfg(target_arch = "x86_64")]
#[test]
fn pairs_use_the_instruction_where_there_is_one() {
    let native = is_x86_feature_detected!("avx512bf16") && Isa::Avx512.is_available();
    let table = KernelTable::new(Isa::best(None));
    let mut acc = [f32::from_bits(1); LANES];
    let zeros = [[bf16::ZERO; 2]; LANES];
    (table.fma_pairs)(Fma {
        rows: 1,
        panels: 1,
        steps: 1,
        x: &[0],
        x_stride: 1,
        w: &zeros,
        w_panel: LANES,
        w_step: LANES,
        next: &[],
        acc: &mut acc,
        acc_stride: LANES,
    });
    // It takes subnormal sums for zeros, which the specification never makes.
    assert_eq!(acc == [0.0; LANES], native, "a subnormal sum becomes {}", acc[0]);
}

#[test]
fn rounding_equals_the_specification() {
    let mut x: Vec<f32> = (0..u32::MAX).step_by(4099).map(f32::from_bits).collect();
    for edge in [arithmetic::BF16_MIN, 1.0, f32::MAX] {
        x.extend((-3..=3).map(|d: i32| f32::from_bits(edge.to_bits().wrapping_add_signed(d))));
        x.extend(
            (-3..=3).map(|d: i32| -f32::from_bits(edge.to_bits().wrapping_add_signed(d << 15))),
        );
    }
    for table in tables() {
        for x in [&x[..], &x[..1], &x[..x.len() - 1]] {
            let mut pairs = vec![1; x.len().div_ceil(2)];
            (table.round)(x, &mut pairs);
            let half = |i: usize| (pairs[i / 2] >> (i % 2 * 16)) as u16;
            for (i, x) in x.iter().enumerate() {
                assert_eq!(half(i), arithmetic::to_bf16(*x).to_bits(), "{} {x:e}", table.isa);
            }
            assert!(x.len() % 2 == 0 || half(x.len()) == 0);
        }
    }
}

/// A block with the extremes of a format in its first lanes.
fn random_block(random: &mut Random, format: WeightFormat, lane: usize) -> Block {
    let mut bytes = vec![[0x80, 0x7f, 0xff, 0][lane.min(3)]; format.spec().block_bytes];
    if lane > 3 {
        bytes.fill_with(|| random.next() as u8);
    }
    let mut block = Block::EMPTY;
    (format.spec().integers.unwrap().unpack)(&bytes, &mut block);
    block.d = f16::from_f32(random.value());
    if block.dmin != f16::ZERO {
        block.dmin = f16::from_f32(random.value());
    }
    block
}

/// What the specification makes of one row and output.
fn specified(format: WeightFormat, blocks: &[Block], x: &[i8], groups: &[Group]) -> f32 {
    let size = format.spec().integers.unwrap().group;
    let values = format.spec().block_values;
    let mut acc = 0.0;
    for (g, x) in x.chunks(size).enumerate() {
        let (block, first) = (&blocks[g * size / values], g * size % values);
        let w = &block.quants[first..first + size];
        let sum = x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum();
        let Group { scale, scaled_sum, .. } = groups[g * size / GROUP];
        acc = arithmetic::add_group(acc, sum, block.scale(first / size), scale);
        acc = arithmetic::add_minimum(acc, block.minimum(first / size), scaled_sum);
    }
    acc
}

fn check_dot<Q: Quants>(kernel: fn(Dot<'_>), isa: Isa, format: WeightFormat) {
    let mut random = Random(2);
    let values = format.spec().block_values;
    // Both sides of what vectors and tiles take at once, up to the most rows of a call.
    let sizes =
        [(1, 1), (1, 5), (2, 3), (3, 2), (7, 1), (9, 2), (15, 1), (17, 3), (33, 2), (64, 4)];
    let heights = (2..9).chain([16]).map(|rows| (rows, 4));
    for (rows, panels) in sizes.into_iter().chain(heights) {
        for blocks in [1, 2, 3] {
            let (inputs, panel) = (blocks * Q::INPUTS, blocks * Q::BYTES + LINE);
            let mut weights = Memory::<u8>::zeroed(panels * panel);
            let outputs: Vec<Vec<Block>> = (0..panels * LANES)
                .map(|o| {
                    (0..inputs / values).map(|_| random_block(&mut random, format, o)).collect()
                })
                .collect();
            for (o, output) in outputs.iter().enumerate() {
                for (b, block) in output.iter().enumerate() {
                    let at = o / LANES * panel + b * values / Q::INPUTS * Q::BYTES;
                    let first = b * values % Q::INPUTS;
                    Q::put(&mut weights[at..at + Q::BYTES], o % LANES, first, block);
                }
            }
            // Extremes first: the largest sums there are.
            let stride = inputs + LINE;
            let x: Vec<i8> = (0..rows * stride)
                .map(|i| if i < 2 * GROUP { [127, -127][i / GROUP] } else { random.next() as i8 })
                .map(|q| q.max(-127))
                .collect();
            let total = |q: &[i8]| q.iter().map(|q| i32::from(*q)).sum::<i32>();
            let groups: Vec<Group> = x
                .chunks(GROUP)
                .map(|q| {
                    let scale = random.value();
                    let scaled_sum = arithmetic::activation_sum(scale, q);
                    Group { scale, scaled_sum, sum: total(q), high_sum: total(&q[16..]) }
                })
                .collect();
            let width = panels * LANES;
            let mut acc = vec![0.0; rows * width];
            kernel(Dot {
                rows,
                panels,
                blocks,
                x: &x,
                x_stride: stride,
                groups: &groups,
                weights: &weights,
                panel,
                next: Next::default(),
                acc: &mut acc,
                acc_stride: width,
            });
            for (i, found) in acc.iter().enumerate() {
                let (r, o) = (i / width, i % width);
                let (x, groups) = (&x[r * stride..][..inputs], &groups[r * stride / GROUP..]);
                let wanted = specified(format, &outputs[o], x, groups);
                let what =
                    format!("{isa} {format}, row {r} of {rows}, output {o}, {blocks} blocks");
                assert_eq!(found.to_bits(), wanted.to_bits(), "{what}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn integer_tiles_are_exact_at_the_extremes() {
    for table in tables() {
        check_dot::<Q8_0>(table.dot_q8_0, table.isa, WeightFormat::Q8_0);
        check_dot::<Q4_0>(table.dot_q4_0, table.isa, WeightFormat::Q4_0);
        check_dot::<Q4K>(table.dot_q4_k, table.isa, WeightFormat::Q4K);
        check_dot::<Q5K>(table.dot_q5_k, table.isa, WeightFormat::Q5K);
        check_dot::<Q6K>(table.dot_q6_k, table.isa, WeightFormat::Q6K);
    }
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
            // One more group than there are values for.
            let mut quants = vec![1; (groups + 1) * GROUP];
            let mut found = vec![Group { scale: 1.0, ..Group::default() }; groups + 1];
            (table.quantize)(Quantize { x: &x, quants: &mut quants, groups: &mut found });
            assert_eq!(found.pop(), Some(Group::default()));
            let (mut q, mut s) = (vec![0; len], vec![0.0; groups]);
            arithmetic::quantize_row(&x, &mut q, &mut s);
            assert_eq!(quants[..len], q, "{} {len}", table.isa);
            assert!(quants[len..].iter().all(|q| *q == 0));
            for ((found, q), scale) in found.iter().zip(quants.chunks(GROUP)).zip(s) {
                let total = |q: &[i8]| q.iter().map(|q| i32::from(*q)).sum::<i32>();
                assert_eq!(found.scale.to_bits(), scale.to_bits());
                assert_eq!((found.sum, found.high_sum), (total(q), total(&q[16..])));
                let scaled_sum = arithmetic::activation_sum(scale, q);
                assert_eq!(found.scaled_sum.to_bits(), scaled_sum.to_bits());
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
            let mut weights = [1.0; CHUNK];
            let state = (table.softmax)(&mut scores.clone(), seen.clone(), &mut weights);
            assert_eq!(state, Softmax { max, sum: sum.total() }, "{} {seen:?}", table.isa);
            assert_eq!(bits(&weights), bits(&wanted), "{} {seen:?}", table.isa);
            let mut sum = LaneSum::ZERO;
            for j in seen.clone() {
                sum.add(j, arithmetic::round_bf16(wanted[j]));
            }
            let mut weights = [1; CHUNK / 2];
            let state = (table.softmax_pairs)(&mut scores, seen.clone(), &mut weights);
            assert_eq!(state, Softmax { max, sum: sum.total() }, "{} {seen:?}", table.isa);
            for (j, wanted) in wanted.iter().enumerate() {
                let weight = (weights[j / 2] >> (j % 2 * 16)) as u16;
                assert_eq!(
                    weight,
                    arithmetic::to_bf16(*wanted).to_bits(),
                    "{} {seen:?}",
                    table.isa
                );
            }
        }
        for states in [1, 4, 16, 19] {
            let mut state = || Softmax { max: random.value() * 4.0, sum: random.value().abs() };
            let mut totals: Vec<Softmax> = (0..states).map(|_| state()).collect();
            let later: Vec<Softmax> = (0..states).map(|_| state()).collect();
            let merged: Vec<_> = totals.iter().zip(&later).map(|(x, y)| x.merge(*y)).collect();
            let mut factors = vec![[0.0; 2]; states];
            (table.merge_states)(&mut totals, &later, &mut factors);
            for ((total, [a, b]), wanted) in totals.into_iter().zip(factors).zip(merged) {
                assert_eq!((total, a, b), wanted, "{}", table.isa);
            }
        }
        let (x, y) = (random.values(80), random.values(80));
        let (a, b) = (0.75, 1.0);
        let wanted: Vec<f32> = x.iter().zip(&y).map(|(x, y)| y.mul_add(b, x * a)).collect();
        let mut out = x;
        (table.merge)(&mut out, &y, a, b);
        assert_eq!(bits(&out), bits(&wanted), "{}", table.isa);
    }
}
