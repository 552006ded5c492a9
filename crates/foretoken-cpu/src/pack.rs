//! Packed weights: the one copy that is kept, in panels of sixteen outputs.
//!
//! | format | a panel |
//! |---|---|
//! | f32, f16, bf16 | `[inputs][16]` values |
//! | `q8_0` | `[groups][16]` f16 scales, then `[groups]` of 512 bytes, see `q8_0` |
//! | `q4_0` | `[groups][16]` f16 scales, then `[groups]` of 256 bytes, see `q4_0` |
//!
//! Scales lie apart so that every 64 bytes of weights are one cache line. Outputs are padded to 16 and the
//! inputs of quantised formats to 32, both with zeros; the size is otherwise that of the source format.
//! All levels share one layout: the order suits `vpdpbusd` and costs AVX2 nothing.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use foretoken_tensor::arithmetic::GROUP;
use foretoken_tensor::{MatrixView, PackError, RowConverter, WeightFormat};
use half::{bf16, f16};

use crate::kernels::dot::Quants;
use crate::kernels::fma::Weight;
use crate::kernels::q4_0::{self, Q4_0};
use crate::kernels::q8_0::{self, Q8_0};
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

/// Bytes of a panel's scales, a multiple of a cache line.
fn scale_bytes(cols: usize) -> usize {
    (cols.div_ceil(GROUP) * LANES * size_of::<f16>()).next_multiple_of(64)
}

fn panel_bytes(format: WeightFormat, cols: usize) -> usize {
    let groups = cols.div_ceil(GROUP);
    match format {
        WeightFormat::F32 => cols * LANES * 4,
        WeightFormat::F16 | WeightFormat::Bf16 => cols * LANES * 2,
        WeightFormat::Q8_0 => scale_bytes(cols) + groups * Q8_0::BYTES,
        WeightFormat::Q4_0 => scale_bytes(cols) + groups * Q4_0::BYTES,
        other => unreachable!("the registry has no encoder for {other}"),
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
            pool.run(&|_| {
                let mut packer = Packer { converter: converter.clone(), format, rows, cols };
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
        matches!(self.format, WeightFormat::Q8_0 | WeightFormat::Q4_0)
    }

    /// Panels of sixteen outputs.
    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Some panels of a float format, `[panels][cols][16]`.
    ///
    /// # Panics
    /// If `W` has another size than the format's values.
    pub(crate) fn floats<W: Weight>(&self, panels: Range<usize>) -> &[W] {
        let bytes = panel_bytes(self.format, self.cols);
        assert_eq!(bytes, self.cols * LANES * size_of::<W>(), "weights are read as their format");
        bytemuck::cast_slice(&self.data[panels.start * bytes..panels.end * bytes])
    }

    /// A panel of a quantised format: `[groups][16]` scales and `[groups]` weights.
    pub(crate) fn groups(&self, panel: usize) -> (&[f16], &[u8]) {
        let bytes = panel_bytes(self.format, self.cols);
        let panel = &self.data[panel * bytes..(panel + 1) * bytes];
        let (scales, quants) = panel.split_at(scale_bytes(self.cols));
        let groups = self.cols.div_ceil(GROUP);
        (bytemuck::cast_slice(&scales[..groups * LANES * size_of::<f16>()]), quants)
    }

    /// Decodes a row to f32.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of a matrix of {} rows", self.rows);
        assert_eq!(out.len(), self.cols, "one value per input");
        match self.format {
            WeightFormat::F32 => self.read_floats(row, out, |w: f32| w),
            WeightFormat::F16 => self.read_floats(row, out, f16::to_f32),
            WeightFormat::Bf16 => self.read_floats(row, out, bf16::to_f32),
            WeightFormat::Q8_0 => self.read_groups::<Q8_0>(row, out, q8_0::get),
            WeightFormat::Q4_0 => self.read_groups::<Q4_0>(row, out, q4_0::get),
            other => unreachable!("no matrix is packed as {other}"),
        }
    }

    fn read_floats<W: Weight>(&self, row: usize, out: &mut [f32], decode: fn(W) -> f32) {
        let (panel, lane) = (row / LANES, row % LANES);
        let weights = self.floats::<W>(panel..panel + 1);
        for (out, weights) in out.iter_mut().zip(weights.chunks_exact(LANES)) {
            *out = decode(weights[lane]);
        }
    }

    fn read_groups<Q: Quants>(
        &self,
        row: usize,
        out: &mut [f32],
        get: fn(&[u8], usize, usize) -> i32,
    ) {
        let lane = row % LANES;
        let (scales, quants) = self.groups(row / LANES);
        for (g, out) in out.chunks_mut(GROUP).enumerate() {
            let scale = scales[g * LANES + lane].to_f32();
            let group = &quants[g * Q::BYTES..(g + 1) * Q::BYTES];
            for (k, out) in out.iter_mut().enumerate() {
                *out = scale * get(group, lane, k) as f32;
            }
        }
    }
}

/// One thread's part in packing a matrix.
struct Packer<'a> {
    converter: RowConverter<'a>,
    format: WeightFormat,
    rows: usize,
    cols: usize,
}

impl Packer<'_> {
    /// Fills a zeroed panel; `row` has the bytes of a converted row.
    fn panel(&mut self, panel: usize, to: &mut [u8], row: &mut [u8]) -> Result<(), PackError> {
        for lane in 0..LANES.min(self.rows - panel * LANES) {
            self.converter.row(panel * LANES + lane, row)?;
            match self.format {
                WeightFormat::F32 => put_values::<4>(to, lane, row),
                WeightFormat::Q8_0 => self.put_groups::<Q8_0>(to, lane, row, q8_0::put),
                WeightFormat::Q4_0 => self.put_groups::<Q4_0>(to, lane, row, q4_0::put),
                _ => put_values::<2>(to, lane, row),
            }
        }
        Ok(())
    }

    /// Spreads a row of GGUF blocks, each an f16 scale and its quants.
    fn put_groups<Q: Quants>(
        &self,
        panel: &mut [u8],
        lane: usize,
        row: &[u8],
        put: fn(&mut [u8], usize, &[u8]),
    ) {
        let (scales, quants) = panel.split_at_mut(scale_bytes(self.cols));
        let blocks = row.chunks_exact(size_of::<f16>() + Q::BYTES / LANES);
        for (g, (block, group)) in blocks.zip(quants.chunks_exact_mut(Q::BYTES)).enumerate() {
            let (scale, quants) = block.split_at(size_of::<f16>());
            let scale = f16::from_le_bytes([scale[0], scale[1]]);
            bytemuck::cast_slice_mut(scales)[g * LANES + lane] = scale;
            put(group, lane, quants);
        }
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use foretoken_tensor::RowOrder;

    use super::*;

    #[test]
    fn packed_sizes_are_those_of_the_source_format() {
        let pool = Pool::new(NonZeroUsize::MIN);
        for (rows, cols) in [(16, 32), (64, 576), (4096, 64)] {
            let data = vec![0; rows * cols * 4];
            let (name, format, order) = ("w", WeightFormat::F32, RowOrder::Natural);
            let view = MatrixView { name, format, rows, cols, order, data: &data };
            for target in [
                WeightFormat::F32,
                WeightFormat::F16,
                WeightFormat::Bf16,
                WeightFormat::Q8_0,
                WeightFormat::Q4_0,
            ] {
                let packed = CpuMatrix::pack(&pool, &view, target).unwrap();
                let source = rows * target.bytes_per_row(cols).unwrap();
                // A panel of one group is padded to a whole line of scales.
                let padding = if cols == 32 { 32 } else { 0 };
                let most = source + source * 3 / 100 + padding;
                assert!(packed.bytes() <= most, "{target} [{rows}, {cols}]: {}", packed.bytes());
            }
        }
    }
}
