//! The tile state of one thread and what each AMX instruction does to it, after the definitions of
//! Intel's Software Developer's Manual (volume 2, palette 1).
//!
//! It exists so that kernels for tiles are tested on machines without them. It knows memory by
//! address, as the instructions do, and neither their encoding nor signals: see `trap`.

/// Tiles of palette 1.
const TILES: usize = 8;
/// Rows of a tile.
const ROWS: usize = 16;
/// Bytes of a row.
const ROW: usize = 64;
/// The smallest normal f32; results below it are flushed to zero.
const NORMAL: f32 = f32::MIN_POSITIVE;

/// What the processor refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `#UD`, with the rule.
    Undefined(&'static str),
    /// `#GP(0)`, with the rule.
    Protection(&'static str),
}

/// How the bytes of an operand are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Signed,
    Unsigned,
}

/// A product of two tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    /// `TDPB..D` with the signs of the first and the second source.
    Bytes(Sign, Sign),
    /// `TDPBF16PS`.
    Pairs,
}

/// One instruction, its operands resolved. Tiles by number; `at` and `stride` are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instruction {
    LoadConfig { at: u64 },
    StoreConfig { at: u64 },
    Release,
    Zero { tile: usize },
    Load { tile: usize, at: u64, stride: u64 },
    Store { tile: usize, at: u64, stride: u64 },
    Multiply { product: Product, c: usize, a: usize, b: usize },
}

/// A tile and its configured shape.
#[derive(Debug, Clone, Copy)]
struct Tile {
    rows: usize,
    colsb: usize,
    data: [[u8; ROW]; ROWS],
}

/// The tile state of a thread. Unconfigured, `palette` is 0.
#[derive(Debug)]
pub(crate) struct Machine {
    palette: u8,
    start_row: u8,
    tiles: [Tile; TILES],
}

impl Machine {
    /// As a thread starts, and after `TILERELEASE`.
    pub(crate) const INITIAL: Self = Self {
        palette: 0,
        start_row: 0,
        tiles: [Tile { rows: 0, colsb: 0, data: [[0; ROW]; ROWS] }; TILES],
    };

    /// Executes one instruction.
    ///
    /// # Safety
    /// The memory its operands name may be read, or written for the stores.
    pub(crate) unsafe fn execute(&mut self, instruction: Instruction) -> Result<(), Fault> {
        match instruction {
            Instruction::LoadConfig { at } => {
                // SAFETY: passed on; 64 bytes of any alignment.
                let bytes = unsafe { (at as *const [u8; ROW]).read_unaligned() };
                *self = Self::configured(&bytes)?;
            }
            Instruction::StoreConfig { at } => {
                // SAFETY: passed on; 64 bytes of any alignment.
                unsafe { (at as *mut [u8; ROW]).write_unaligned(self.config()) };
            }
            Instruction::Release => *self = Self::INITIAL,
            Instruction::Zero { tile } => {
                self.tile(tile)?.data = [[0; ROW]; ROWS];
                self.start_row = 0;
            }
            Instruction::Load { tile, at, stride } => {
                let start = usize::from(self.start_row);
                let tile = self.tile(tile)?;
                tile.data[start..].fill([0; ROW]);
                for row in start..tile.rows {
                    let from = at.wrapping_add(stride.wrapping_mul(row as u64)) as *const u8;
                    let to = tile.data[row].as_mut_ptr();
                    // SAFETY: passed on; `colsb` is at most a row.
                    unsafe { to.copy_from_nonoverlapping(from, tile.colsb) };
                }
                self.start_row = 0;
            }
            Instruction::Store { tile, at, stride } => {
                let start = usize::from(self.start_row);
                let tile = self.tile(tile)?;
                for row in start..tile.rows {
                    let to = at.wrapping_add(stride.wrapping_mul(row as u64)) as *mut u8;
                    // SAFETY: passed on; `colsb` is at most a row.
                    unsafe { to.copy_from_nonoverlapping(tile.data[row].as_ptr(), tile.colsb) };
                }
                self.start_row = 0;
            }
            Instruction::Multiply { product, c, a, b } => self.multiply(product, c, a, b)?,
        }
        Ok(())
    }

    /// `LDTILECFG`.
    fn configured(bytes: &[u8; ROW]) -> Result<Self, Fault> {
        let mut machine = Self::INITIAL;
        match bytes[0] {
            0 => return Ok(machine),
            1 => {}
            _ => return Err(Fault::Protection("the palette is known")),
        }
        let reserved = bytes[2..16].iter().chain(&bytes[32..48]).chain(&bytes[56..]);
        if reserved.copied().any(|byte| byte != 0) {
            return Err(Fault::Protection("reserved bytes are zero"));
        }
        machine.palette = 1;
        machine.start_row = bytes[1];
        for (i, tile) in machine.tiles.iter_mut().enumerate() {
            tile.colsb = usize::from(u16::from_le_bytes([bytes[16 + 2 * i], bytes[17 + 2 * i]]));
            tile.rows = usize::from(bytes[48 + i]);
            if tile.colsb > ROW || tile.rows > ROWS {
                return Err(Fault::Protection("a tile has at most 16 rows of 64 bytes"));
            }
            if (tile.colsb == 0) != (tile.rows == 0) {
                return Err(Fault::Protection("an unused tile has neither rows nor columns"));
            }
        }
        Ok(machine)
    }

    /// What `STTILECFG` stores.
    fn config(&self) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        (bytes[0], bytes[1]) = (self.palette, self.start_row);
        for (i, tile) in self.tiles.iter().enumerate() {
            bytes[16 + 2 * i..][..2].copy_from_slice(&(tile.colsb as u16).to_le_bytes());
            bytes[48 + i] = tile.rows as u8;
        }
        bytes
    }

    fn tile(&mut self, index: usize) -> Result<&mut Tile, Fault> {
        let start = usize::from(self.start_row);
        let tile = self.tiles.get_mut(index).ok_or(Fault::Undefined("a tile is below 8"))?;
        if tile.rows == 0 {
            return Err(Fault::Undefined("a tile is configured before use"));
        }
        if !tile.colsb.is_multiple_of(4) {
            return Err(Fault::Undefined("a row is a multiple of four bytes"));
        }
        if start >= tile.rows {
            return Err(Fault::Undefined("the start row lies within the tile"));
        }
        Ok(tile)
    }

    fn multiply(&mut self, product: Product, c: usize, a: usize, b: usize) -> Result<(), Fault> {
        if c == a || a == b || b == c {
            return Err(Fault::Undefined("the tiles of a product differ"));
        }
        let (left, right) = (*self.tile(a)?, *self.tile(b)?);
        let sum = self.tile(c)?;
        if sum.rows != left.rows || sum.colsb != right.colsb || left.colsb / 4 != right.rows {
            return Err(Fault::Undefined("the shapes of a product agree"));
        }
        let columns = sum.colsb / 4;
        for (row, left) in sum.data[..sum.rows].iter_mut().zip(&left.data) {
            let left = &left[..4 * right.rows];
            let right = &right.data[..right.rows];
            match product {
                Product::Bytes(x, y) => bytes_row(row, left, right, (x, y)),
                Product::Pairs => pairs_row(row, left, right),
            }
            row[4 * columns..].fill(0);
        }
        sum.data[sum.rows..].fill([0; ROW]);
        self.start_row = 0;
        Ok(())
    }
}

fn dword(bytes: &[u8], i: usize) -> [u8; 4] {
    [bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]
}

/// One row of a product of bytes; i32 sums wrap.
fn bytes_row(sum: &mut [u8; ROW], left: &[u8], right: &[[u8; ROW]], signs: (Sign, Sign)) {
    let value = |byte: u8, sign| match sign {
        Sign::Signed => i32::from(byte.cast_signed()),
        Sign::Unsigned => i32::from(byte),
    };
    for n in 0..ROW / 4 {
        let mut total = i32::from_le_bytes(dword(sum, n));
        for (k, right) in right.iter().enumerate() {
            for (x, y) in dword(left, k).into_iter().zip(dword(right, n)) {
                total = total.wrapping_add(value(x, signs.0) * value(y, signs.1));
            }
        }
        sum[4 * n..][..4].copy_from_slice(&total.to_le_bytes());
    }
}

/// One row of `TDPBF16PS`: the even and the odd products of an output in two chains from zero, their
/// sum, then the sum with the accumulator. So the manual's operation; the intrinsics guide has one chain from
/// the accumulator, and no machine was asked yet.
fn pairs_row(sum: &mut [u8; ROW], left: &[u8], right: &[[u8; ROW]]) {
    let halves = |pair: [u8; 4]| [widen([pair[0], pair[1]]), widen([pair[2], pair[3]])];
    for n in 0..ROW / 4 {
        let mut chains = [0.0; 2];
        for (k, right) in right.iter().enumerate() {
            let (x, y) = (halves(dword(left, k)), halves(dword(right, n)));
            for (chain, (x, y)) in chains.iter_mut().zip(x.into_iter().zip(y)) {
                *chain = fma(x, y, *chain);
            }
        }
        let before = f32::from_le_bytes(dword(sum, n));
        let after = fma(1.0, before, fma(1.0, chains[0], chains[1]));
        sum[4 * n..][..4].copy_from_slice(&after.to_le_bytes());
    }
}

/// bfloat16 as f32.
fn widen(half: [u8; 2]) -> f32 {
    f32::from_le_bytes([0, 0, half[0], half[1]])
}

/// `x * y + z` rounded once to nearest even, subnormal operands and results taken as zeros.
fn fma(x: f32, y: f32, z: f32) -> f32 {
    /// Keeps the exponents of small results within range.
    const SCALE: f32 = (1u128 << 64) as f32;
    let daz = |v: f32| if v.abs() < NORMAL { 0f32.copysign(v) } else { v };
    let (x, y, z) = (daz(x), daz(y), daz(z));
    let result = x.mul_add(y, z);
    // Whether a result is too small is decided after rounding with an unbounded exponent.
    if result.abs() <= NORMAL && (x * SCALE).mul_add(y, z * SCALE).abs() < NORMAL * SCALE {
        return 0f32.copysign(result);
    }
    result
}
