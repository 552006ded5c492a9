//! The emulator against the manual's definitions, its decoder against the assembler, and both against
//! the hardware where there is one.

use std::arch::asm;

use super::emulator::{Fault, Instruction, Machine, Product, Sign};
use super::trap;
use super::{Shape, Tiles};
use crate::isa::Amx;

const SIGNS: [Sign; 2] = [Sign::Signed, Sign::Unsigned];

/// Shapes of c, a and b for `m` rows, `n` outputs and `k` groups of four bytes.
fn shapes(m: usize, n: usize, k: usize) -> [Shape; 8] {
    let mut shapes = [Shape::default(); 8];
    shapes[0] = Shape { rows: m, bytes: 4 * n };
    shapes[1] = Shape { rows: m, bytes: 4 * k };
    shapes[2] = Shape { rows: k, bytes: 4 * n };
    shapes
}

fn config(shapes: [Shape; 8]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for (i, shape) in shapes.into_iter().enumerate() {
        bytes[16 + 2 * i] = shape.bytes as u8;
        bytes[48 + i] = shape.rows as u8;
    }
    bytes
}

fn execute(machine: &mut Machine, instruction: Instruction) -> Result<(), Fault> {
    // SAFETY: the tests of this file pass addresses of live arrays, large enough for their shapes.
    unsafe { machine.execute(instruction) }
}

fn configured(bytes: &[u8; 64]) -> Result<Machine, Fault> {
    let mut machine = Machine::INITIAL;
    execute(&mut machine, Instruction::LoadConfig { at: bytes.as_ptr() as u64 })?;
    Ok(machine)
}

/// `c += a * b` on a machine of its own; matrices lie in rows of 64 bytes.
fn multiply(
    (m, n, k): (usize, usize, usize),
    product: Product,
    c: &mut [u8; 1024],
    (a, b): (&[u8; 1024], &[u8; 1024]),
) {
    let mut machine = configured(&config(shapes(m, n, k))).expect("the shapes are legal");
    let load =
        |tile, at: &[u8; 1024]| Instruction::Load { tile, at: at.as_ptr() as u64, stride: 64 };
    for instruction in [
        load(0, c),
        load(1, a),
        load(2, b),
        Instruction::Multiply { product, c: 0, a: 1, b: 2 },
        Instruction::Store { tile: 0, at: c.as_mut_ptr() as u64, stride: 64 },
    ] {
        execute(&mut machine, instruction).expect("the instruction is legal");
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self) -> [u8; 1024] {
        [(); 1024].map(|()| self.next() as u8)
    }

    /// Pairs of bfloat16 of moderate exponents.
    fn pairs(&mut self) -> [u8; 1024] {
        let mut bytes = self.bytes();
        for half in bytes.chunks_exact_mut(2) {
            half[1] = half[1] & 0x80 | 0x3c | half[1] & 3;
        }
        bytes
    }
}

fn i32_at(tile: &[u8; 1024], row: usize, column: usize) -> i32 {
    i32::from_le_bytes([0, 1, 2, 3].map(|i| tile[row * 64 + 4 * column + i]))
}

fn f32_at(tile: &[u8; 1024], row: usize, column: usize) -> f32 {
    f32::from_bits(i32_at(tile, row, column).cast_unsigned())
}

fn put_half(tile: &mut [u8; 1024], at: usize, value: f32) {
    tile[2 * at..][..2].copy_from_slice(&value.to_le_bytes()[2..]);
}

#[test]
fn byte_products_are_those_of_the_manual() {
    let mut random = Random(1);
    let shapes = [(16, 16, 16), (1, 16, 8), (5, 3, 16), (16, 1, 1), (7, 16, 4)];
    for ((m, n, k), signs) in
        shapes.into_iter().flat_map(|s| SIGNS.map(|a| SIGNS.map(|b| (s, (a, b))))).flatten()
    {
        let (a, b, before) = (random.bytes(), random.bytes(), random.bytes());
        let mut c = before;
        multiply((m, n, k), Product::Bytes(signs.0, signs.1), &mut c, (&a, &b));
        let value = |byte: u8, sign| match sign {
            Sign::Signed => i64::from(byte as i8),
            Sign::Unsigned => i64::from(byte),
        };
        for (i, j) in (0..16).flat_map(|i| (0..16).map(move |j| (i, j))) {
            let inside = i < m && j < n;
            let products = (0..4 * k).map(|q| {
                value(a[i * 64 + q], signs.0) * value(b[q / 4 * 64 + 4 * j + q % 4], signs.1)
            });
            let sum: i64 = if inside { products.sum() } else { 0 };
            let wanted = (i64::from(i32_at(&before, i, j)) + sum) as i32;
            assert_eq!(i32_at(&c, i, j), wanted, "{m} {n} {k} {signs:?} at {i} {j}");
        }
    }
}

#[test]
fn pairs_are_summed_in_two_chains() {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    let (mut a, mut b, mut c) = ([0; 1024], [0; 1024], [0; 1024]);
    let outputs = [
        // Even 1, odd 2^-24, 2^-24: one chain over all three would lose both small products.
        ([(1.0, 0.0), (0.0, UNIT), (0.0, UNIT)], 0.0, 1.0 + 2.0 * UNIT),
        // In one chain a small product after a large one is lost.
        ([(1.0, 0.0), (UNIT, 0.0), (UNIT, 0.0)], 0.0, 1.0),
        // The chains begin at zero, not at the accumulator.
        ([(UNIT, 0.0), (UNIT, 0.0), (0.0, 0.0)], 1.0, 1.0 + 2.0 * UNIT),
        // The chains' sum is rounded before it meets the accumulator.
        ([(1.0, UNIT), (0.0, 0.0), (0.0, 0.0)], -1.0, 0.0),
    ];
    for (n, (pairs, before, _)) in outputs.iter().enumerate() {
        for (k, (even, odd)) in pairs.iter().enumerate() {
            put_half(&mut a, 2 * k, 1.0);
            put_half(&mut a, 2 * k + 1, 1.0);
            put_half(&mut b, k * 32 + 2 * n, *even);
            put_half(&mut b, k * 32 + 2 * n + 1, *odd);
        }
        c[4 * n..][..4].copy_from_slice(&f32::to_le_bytes(*before));
    }
    multiply((1, 4, 3), Product::Pairs, &mut c, (&a, &b));
    for (n, (.., wanted)) in outputs.iter().enumerate() {
        assert_eq!(f32_at(&c, 0, n), *wanted, "output {n}");
    }
}

#[test]
fn subnormals_are_zeros_in_products_of_pairs() {
    let (mut a, mut b, mut c) = ([0; 1024], [0; 1024], [0; 1024]);
    let tiny = f32::from_bits(0x0040_0000);
    let cases = [
        // A subnormal operand, a subnormal result, a subnormal accumulator, and the least result kept.
        (1e30, tiny, 0.0, 0.0),
        (2f32.powi(-100), -(2f32.powi(-30)), 0.0, 0.0),
        (0.0, 1.0, -tiny, 0.0),
        (2f32.powi(-100), 2f32.powi(-26), 0.0, f32::MIN_POSITIVE),
        // A difference of normal numbers.
        (2f32.powi(-100), -(2f32.powi(-26)), 1.5 * f32::MIN_POSITIVE, 0.0),
    ];
    for (k, (x, y, before, _)) in cases.into_iter().enumerate() {
        put_half(&mut a, 32 * k, x);
        put_half(&mut b, 2 * k, y);
        c[64 * k..][..4].copy_from_slice(&f32::to_le_bytes(before));
        let mut sum = c;
        let mut left = [0; 1024];
        left[..64].copy_from_slice(&a[64 * k..][..64]);
        let mut right = [0; 1024];
        right[..4].copy_from_slice(&b[4 * k..][..4]);
        sum.copy_within(64 * k..64 * k + 4, 0);
        multiply((1, 1, 1), Product::Pairs, &mut sum, (&left, &right));
        assert_eq!(f32_at(&sum, 0, 0), cases[k].3, "case {k}");
    }
}

#[test]
fn configurations_are_checked_and_returned() {
    let good = config(shapes(16, 16, 16));
    let mut stored = [1; 64];
    let store = Instruction::StoreConfig { at: stored.as_mut_ptr() as u64 };
    execute(&mut configured(&good).unwrap(), store).unwrap();
    assert_eq!(stored, good);
    let mut released = Machine::INITIAL;
    execute(&mut released, store).unwrap();
    assert_eq!(stored, [0; 64]);
    // Palette, reserved bytes, too many columns and rows, columns without rows.
    for (at, byte) in [(0, 2), (2, 1), (15, 1), (32, 1), (56, 1), (16, 65), (48, 17), (48, 0)] {
        let mut bad = good;
        bad[at] = byte;
        assert!(matches!(configured(&bad), Err(Fault::Protection(_))), "byte {at} = {byte}");
    }
}

#[test]
fn misuse_of_tiles_is_a_fault() {
    let product = Product::Bytes(Sign::Signed, Sign::Signed);
    let multiply = |c, a, b| Instruction::Multiply { product, c, a, b };
    let mut all = shapes(4, 16, 8);
    all[3] = Shape { rows: 8, bytes: 62 };
    let mut machine = configured(&config(all)).unwrap();
    assert_eq!(execute(&mut machine, multiply(0, 1, 2)), Ok(()));
    let unused = Instruction::Zero { tile: 7 };
    for wrong in
        [multiply(0, 1, 1), multiply(0, 2, 1), multiply(0, 1, 3), multiply(0, 1, 4), unused]
    {
        assert!(matches!(execute(&mut machine, wrong), Err(Fault::Undefined(_))), "{wrong:?}");
    }
    assert!(execute(&mut machine, Instruction::Zero { tile: 0 }).is_ok());
    execute(&mut machine, Instruction::Release).unwrap();
    assert!(execute(&mut machine, Instruction::Zero { tile: 0 }).is_err());
}

/// Loads and stores at strides, in the hardware's or the handler's hands.
#[test]
fn loads_stop_at_the_shape() {
    let Some(proof) = trap::tiles() else { return };
    let mut shapes = [Shape::default(); 8];
    shapes[5] = Shape { rows: 3, bytes: 8 };
    let from: [u8; 64] = std::array::from_fn(|i| i as u8);
    let mut to = [0xff_u8; 64];
    let tiles = Tiles::configure(proof, shapes);
    // SAFETY: three rows of eight bytes lie within the arrays at both strides, forwards and back.
    unsafe {
        asm!(
            "tileloadd tmm5, [{from} + {two}*8 + 4]",
            "tilestored [{to} + {back}*1 + 32], tmm5",
            from = in(reg) from.as_ptr(),
            two = in(reg) 2usize,
            to = in(reg) to.as_mut_ptr(),
            back = in(reg) -16isize,
            out("tmm5") _,
            options(nostack),
        );
    }
    drop(tiles);
    let mut config = [1_u8; 64];
    // SAFETY: the proof allows it; 64 bytes are written.
    unsafe { asm!("sttilecfg [{}]", in(reg) config.as_mut_ptr(), options(nostack)) };
    assert_eq!(config, [0; 64], "dropped tiles are released");
    for (i, byte) in to.iter().enumerate() {
        let row = (2 - i as isize / 16) as usize;
        let wanted = if i < 48 && i % 16 < 8 { (row * 16 + 4 + i % 16) as u8 } else { 0xff };
        assert_eq!(*byte, wanted, "byte {i}");
    }
}

macro_rules! product {
    ($name:literal, $product:expr) => {
        ($product, |c: &mut [u8; 1024], a: &[u8; 1024], b: &[u8; 1024]| {
            // SAFETY: tiles 0, 1 and 2 are configured, each of at most 1024 bytes.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{c} + {s}*1]",
                    "tileloaddt1 tmm1, [{a} + {s}*1]",
                    "tileloadd tmm2, [{b} + {s}*1]",
                    concat!($name, " tmm0, tmm1, tmm2"),
                    "tilestored [{c} + {s}*1], tmm0",
                    c = in(reg) c.as_mut_ptr(),
                    a = in(reg) a.as_ptr(),
                    b = in(reg) b.as_ptr(),
                    s = in(reg) 64usize,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _,
                    options(nostack),
                );
            }
        })
    };
}

/// On hardware this compares it with the emulator; elsewhere the handler with the emulator alone.
#[test]
fn instructions_equal_the_emulator() {
    type Executed = (Product, fn(&mut [u8; 1024], &[u8; 1024], &[u8; 1024]));
    use Sign::{Signed, Unsigned};
    let Some(proof) = trap::tiles() else { return };
    let instructions: [Executed; 5] = [
        product!("tdpbssd", Product::Bytes(Signed, Signed)),
        product!("tdpbsud", Product::Bytes(Signed, Unsigned)),
        product!("tdpbusd", Product::Bytes(Unsigned, Signed)),
        product!("tdpbuud", Product::Bytes(Unsigned, Unsigned)),
        product!("tdpbf16ps", Product::Pairs),
    ];
    let mut random = Random(3);
    for (m, n, k) in [(16, 16, 16), (16, 16, 8), (3, 16, 16), (5, 2, 7), (1, 1, 1)] {
        for (product, execute) in instructions {
            for _ in 0..8 {
                let (a, b, c) = (random.pairs(), random.pairs(), random.pairs());
                let (mut found, mut wanted) = (c, c);
                multiply((m, n, k), product, &mut wanted, (&a, &b));
                let tiles = Tiles::configure(proof, shapes(m, n, k));
                execute(&mut found, &a, &b);
                drop(tiles);
                assert_eq!(found, wanted, "{product:?} {m} {n} {k}");
            }
        }
    }
}

#[test]
fn refused_permission_is_no_proof() {
    assert_eq!(crate::isa::Isa::Amx.is_available(), Amx::detect().is_some());
    assert!(Amx::detect().is_none() || crate::os::permit_tiles());
}
