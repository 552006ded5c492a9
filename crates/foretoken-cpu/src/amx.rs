//! Tiles: their configuration and instructions, and in tests a machine that has them.
//!
//! Rust's intrinsics for AMX are not stable, so these are `asm!` blocks. The compiler allocates no tile
//! register, hence values stay in tiles from one block to the next.
//!
//! A kernel configures the tiles for its shapes and releases them at its end. That costs some two hundred
//! cycles per call, against thousands in the kernel, and buys that no kernel relies on another's shapes,
//! that rows beyond the last are never read, and that a thread outside a kernel has no tile state to save.
//! It knows no format and no kernel.

use std::arch::asm;
use std::marker::PhantomData;

use crate::isa::Amx;

#[cfg(all(test, target_os = "linux"))]
mod conformance;
#[cfg(all(test, target_os = "linux"))]
mod emulator;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod trap;

/// Tile registers.
const TILES: usize = 8;
/// Rows of a tile at most.
pub(crate) const TILE_ROWS: usize = 16;
/// Bytes of a tile's row at most.
pub(crate) const TILE_ROW: usize = 64;

/// The shape of a tile; the default is a tile not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    /// At most [`TILE_ROWS`].
    pub(crate) rows: usize,
    /// A multiple of 4, at most [`TILE_ROW`].
    pub(crate) bytes: usize,
}

/// The operand of `LDTILECFG` for palette 1.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// The tiles of this thread, configured and zeroed; released when dropped.
#[derive(Debug)]
pub(crate) struct Tiles {
    /// Tiles belong to a thread.
    here: PhantomData<*mut ()>,
}

#[expect(clippy::unused_self, reason = "a value shows that tiles are configured")]
impl Tiles {
    /// Configures the tiles; those of a thread that are configured already are lost.
    #[inline]
    pub(crate) fn configure(_proof: Amx, shapes: [Shape; TILES]) -> Self {
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        for (tile, Shape { rows, bytes }) in shapes.into_iter().enumerate() {
            assert!(
                rows <= TILE_ROWS && bytes <= TILE_ROW,
                "a tile has at most 16 rows of 64 bytes"
            );
            assert!((rows == 0) == (bytes == 0), "an unused tile has neither rows nor columns");
            config.rows[tile] = rows as u8;
            config.bytes[tile] = bytes as u16;
        }
        // SAFETY: the proof allows tile instructions; the configuration is one the manual accepts, as
        // checked above, and 64 bytes long.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self { here: PhantomData }
    }

    /// Zeroes tile `T`.
    ///
    /// # Safety
    /// It is configured.
    #[inline(always)]
    pub(crate) unsafe fn zero<const T: usize>(&self) {
        // SAFETY: passed on.
        unsafe { asm!("tilezero tmm{t}", t = const T, options(nostack, nomem)) };
    }

    /// Reads tile `T` in rows `stride` bytes apart.
    ///
    /// # Safety
    /// It is configured, and its rows may be read.
    #[inline(always)]
    pub(crate) unsafe fn load<const T: usize>(&self, from: *const u8, stride: usize) {
        // SAFETY: passed on.
        unsafe {
            asm!(
                "tileloadd tmm{t}, [{from} + {stride}*1]",
                t = const T,
                from = in(reg) from,
                stride = in(reg) stride,
                options(nostack, readonly),
            );
        }
    }

    /// Writes tile `T` in rows `stride` bytes apart.
    ///
    /// # Safety
    /// It is configured, and its rows may be written.
    #[inline(always)]
    pub(crate) unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize) {
        // SAFETY: passed on.
        unsafe {
            asm!(
                "tilestored [{to} + {stride}*1], tmm{t}",
                t = const T,
                to = in(reg) to,
                stride = in(reg) stride,
                options(nostack),
            );
        }
    }

    /// Adds to the i32 of tile `C` the exact products of the signed bytes of `A` and `B`.
    ///
    /// # Safety
    /// Three tiles whose configured shapes agree.
    #[inline(always)]
    pub(crate) unsafe fn multiply_bytes<const C: usize, const A: usize, const B: usize>(&self) {
        // SAFETY: passed on.
        unsafe {
            asm!(
                "tdpbssd tmm{c}, tmm{a}, tmm{b}",
                c = const C, a = const A, b = const B,
                options(nostack, nomem),
            );
        }
    }

    /// Adds to the f32 of tile `C` the products of the bfloat16 pairs of `A` and `B`, one block of
    /// `arithmetic::add_block`.
    ///
    /// # Safety
    /// As [`Self::multiply_bytes`].
    #[inline(always)]
    pub(crate) unsafe fn multiply_pairs<const C: usize, const A: usize, const B: usize>(&self) {
        // SAFETY: passed on.
        unsafe {
            asm!(
                "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C, a = const A, b = const B,
                options(nostack, nomem),
            );
        }
    }
}

impl Drop for Tiles {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a value exists only by the proof.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
