//! Packed weights: the one copy that is kept, in panels of sixteen outputs.
//!
//! | format | a panel |
//! |---|---|
//! | f32, f16 | `[inputs][16]` values |
//! | bf16 | `[inputs / 2][16][2]` values |
//! | formats of integers | one stream of blocks of whole cache lines, each scales and then weights, see [`Quants`] |
//!
//! Outputs are padded to 16 and inputs to pairs (bf16) or whole blocks (64 of `q8_0` and `q4_0`), both with zeros;
//! the size is otherwise that of the source format, or within 3 % of it where 6-bit scales become bytes.
//! All levels share one layout: the order suits `vpdpbusd` and costs AVX2 nothing.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use foretoken_tensor::arithmetic::to_bf16;
use foretoken_tensor::{Block, MatrixView, PackError, RowConverter, WeightFormat};
use half::{bf16, f16};

use crate::kernels::dot::Quants;
use crate::kernels::fma::Weight;
use crate::kernels::pairs::Pair;
use crate::kernels::q4_0::Q4_0;
use crate::kernels::q4_k::Q4K;
use crate::kernels::q5_k::Q5K;
use crate::kernels::q6_k::Q6K;
use crate::kernels::q8_0::Q8_0;
use crate::memory::Memory;
use crate::pool::Pool;
use crate::simd::LANES;

/// A packed weight matrix of a [`CpuBackend`](crate::CpuBackend).
#[derive(Debug)]
pub struct CpuMatrix {
    format: WeightFormat,
    rows: usize,
    cols: usize,
    data: Memory<u8>,
}

fn panel_bytes(format: WeightFormat, cols: usize) -> usize {
    match format {
        WeightFormat::F32 => cols * LANES * 4,
        WeightFormat::F16 => cols * LANES * 2,
        WeightFormat::Bf16 => cols.div_ceil(2) * LANES * 4,
        _ => cols.div_ceil(Integers::of(format).inputs) * Integers::of(format).bytes,
    }
}

/// A format's [`Quants`] as values.
#[derive(Clone, Copy)]
struct Integers {
    inputs: usize,
    bytes: usize,
    put: fn(&mut [u8], usize, usize, &Block),
    get: fn(&[u8], usize, usize) -> f32,
}

impl Integers {
    fn of(format: WeightFormat) -> Self {
        match format {
            WeightFormat::Q8_0 => Self::new::<Q8_0>(),
            WeightFormat::Q4_0 => Self::new::<Q4_0>(),
            WeightFormat::Q4K => Self::new::<Q4K>(),
            WeightFormat::Q5K => Self::new::<Q5K>(),
            WeightFormat::Q6K => Self::new::<Q6K>(),
            other => unreachable!("{other} is no format of integers"),
        }
    }

    fn new<Q: Quants>() -> Self {
        Self { inputs: Q::INPUTS, bytes: Q::BYTES, put: Q::put, get: Q::get }
    }
}

impl CpuMatrix {
    /// Packs a matrix on every thread of the pool.
    pub(crate) fn pack(
        pool: &Pool,
        view: &MatrixView<'_>,
        format: WeightFormat,
    ) -> Result<Self, PackError> {
        let converter = view.convert(format)?;
        let (rows, cols) = (view.rows, view.cols);
        let bytes = panel_bytes(format, cols);
        let mut data = Memory::zeroed(rows.div_ceil(LANES) * bytes);
        if bytes > 0 {
            let panels = Mutex::new(data.chunks_exact_mut(bytes).enumerate());
            let failure = Mutex::new(None::<(usize, PackError)>);
            pool.run(pool.workers(), &|_| {
                let mut packer = Packer { converter: converter.clone(), format, rows };
                let mut row = vec![0; packer.converter.row_bytes()];
                loop {
                    let next = panels.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((panel, to)) = next else { return };
                    if let Err(error) = packer.panel(panel, to, &mut row) {
                        // Panels are handed out in order and finished, so the least is the first.
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        if failure.as_ref().is_none_or(|(first, _)| panel < *first) {
                            *failure = Some((panel, error));
                        }
                        return;
                    }
                }
            });
            if let Some((_, error)) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
                return Err(error);
            }
        }
        Ok(Self { format, rows, cols, data })
    }

    /// Outputs.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn format(&self) -> WeightFormat {
        self.format
    }

    pub(crate) fn is_quantized(&self) -> bool {
        self.format.spec().integers.is_some()
    }

    /// Panels of sixteen outputs.
    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Bytes of a panel.
    pub(crate) fn panel_bytes(&self) -> usize {
        panel_bytes(self.format, self.cols)
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Weights of one output in a panel of a float format: single values, or pairs.
    pub(crate) fn steps(&self) -> usize {
        if self.format == WeightFormat::Bf16 { self.cols.div_ceil(2) } else { self.cols }
    }

    /// Some panels of a float format, `[panels][steps][16]`.
    ///
    /// # Panics
    /// If `W` has another size than the format's values.
    pub(crate) fn floats<W: Weight>(&self, panels: Range<usize>) -> &[W] {
        let bytes = panel_bytes(self.format, self.cols);
        assert_eq!(
            bytes,
            self.steps() * LANES * size_of::<W>(),
            "weights are read as their format"
        );
        bytemuck::cast_slice(&self.data[panels.start * bytes..panels.end * bytes])
    }

    /// Some panels of a format of integers.
    pub(crate) fn integers(&self, panels: Range<usize>) -> &[u8] {
        let bytes = panel_bytes(self.format, self.cols);
        &self.data[panels.start * bytes..panels.end * bytes]
    }

    /// Decodes a row to f32.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of a matrix of {} rows", self.rows);
        assert_eq!(out.len(), self.cols, "one value per input");
        match self.format {
            WeightFormat::F32 => self.read_floats(row, out, |w: f32| [w]),
            WeightFormat::F16 => self.read_floats(row, out, |w: f16| [w.to_f32()]),
            WeightFormat::Bf16 => self.read_floats(row, out, |w: Pair| w.map(bf16::to_f32)),
            format => {
                let Integers { inputs, bytes, get, .. } = Integers::of(format);
                let panel = self.integers(row / LANES..row / LANES + 1);
                for (block, out) in panel.chunks_exact(bytes).zip(out.chunks_mut(inputs)) {
                    for (k, out) in out.iter_mut().enumerate() {
                        *out = get(block, row % LANES, k);
                    }
                }
            }
        }
    }

    fn read_floats<W: Weight, const N: usize>(
        &self,
        row: usize,
        out: &mut [f32],
        decode: fn(W) -> [f32; N],
    ) {
        let (panel, lane) = (row / LANES, row % LANES);
        let weights = self.floats::<W>(panel..panel + 1);
        for (out, weights) in out.chunks_mut(N).zip(weights.chunks_exact(LANES)) {
            out.copy_from_slice(&decode(weights[lane])[..out.len()]);
        }
    }
}

/// One thread's part in packing a matrix.
struct Packer<'a> {
    converter: RowConverter<'a>,
    format: WeightFormat,
    rows: usize,
}

impl Packer<'_> {
    /// Fills a zeroed panel; `row` has the bytes of a converted row.
    fn panel(&mut self, panel: usize, to: &mut [u8], row: &mut [u8]) -> Result<(), PackError> {
        for lane in 0..LANES.min(self.rows - panel * LANES) {
            self.converter.row(panel * LANES + lane, row)?;
            match self.format {
                WeightFormat::F32 => put_values::<4>(to, lane, row),
                WeightFormat::F16 => put_values::<2>(to, lane, row),
                WeightFormat::Bf16 => put_pairs(to, lane, row),
                format => put_integers(format, to, lane, row),
            }
        }
        Ok(())
    }
}

/// Spreads a row of GGUF blocks.
fn put_integers(format: WeightFormat, panel: &mut [u8], lane: usize, row: &[u8]) {
    let Integers { inputs, bytes, put, .. } = Integers::of(format);
    let spec = format.spec();
    let unpack = spec.integers.expect("the format is one of integers").unpack;
    let mut block = Block::EMPTY;
    for (i, source) in row.chunks_exact(spec.block_bytes).enumerate() {
        unpack(source, &mut block);
        let first = i * spec.block_values;
        put(&mut panel[first / inputs * bytes..][..bytes], lane, first % inputs, &block);
    }
}

/// Spreads a row of little-endian values of `N` bytes.
fn put_values<const N: usize>(panel: &mut [u8], lane: usize, row: &[u8]) {
    let (values, _) = row.as_chunks::<N>();
    for (value, to) in values.iter().zip(panel.chunks_exact_mut(LANES * N)) {
        let mut value = *value;
        if cfg!(target_endian = "big") {
            value.reverse();
        }
        to[lane * N..(lane + 1) * N].copy_from_slice(&value);
    }
}

/// Spreads a row of little-endian bfloat16, without those too small to count.
fn put_pairs(panel: &mut [u8], lane: usize, row: &[u8]) {
    let (values, _) = row.as_chunks();
    let pairs = bytemuck::cast_slice_mut::<u8, Pair>(panel);
    for (values, to) in values.chunks(2).zip(pairs.chunks_exact_mut(LANES)) {
        for (value, to) in values.iter().zip(&mut to[lane]) {
            *to = to_bf16(bf16::from_le_bytes(*value).to_f32());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use foretoken_tensor::{QUANTS, RowOrder};

    use super::*;

    #[test]
    fn packed_sizes_are_those_of_the_source_format() {
        let pool = Pool::new(NonZeroUsize::MIN);
        for (rows, cols) in [(16, 64), (64, 576), (4096, 64), (16, 256), (48, 1536)] {
            for spec in QUANTS.iter().filter(|spec| cols % spec.block_values == 0) {
                let format = spec.format;
                let source = rows * format.bytes_per_row(cols).unwrap();
                let data = vec![0; source];
                let (name, order) = ("w", RowOrder::Natural);
                let view = MatrixView { name, format, rows, cols, order, data: &data };
                let packed = CpuMatrix::pack(&pool, &view, format).unwrap().bytes();
                assert!(packed * 100 <= source * 103, "{format} [{rows}, {cols}]: {packed}");
                assert!(packed.is_multiple_of(64), "{format}: panels are whole lines");
            }
        }
    }
}
