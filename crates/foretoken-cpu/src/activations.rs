//! The activation buffers and scratch of one program.
//!
//! Buffers are row-major f32 matrices whose rows are padded. During a pass the workers write disjoint parts of them
//! through shared references; the accessors say what they rely on.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foretoken_tensor::arithmetic::GROUP;
use foretoken_tensor::{BufferId, BufferSpec, Program, RowSet};

use crate::kernels::attention::Scratch;
use crate::kernels::dot::{Group, LINE};
use crate::kernels::linear::{self, Accumulators};
use crate::memory::Memory;
use crate::simd::LANES;

/// Activation buffers of a [`CpuBackend`](crate::CpuBackend).
#[derive(Debug)]
pub struct CpuActivations {
    buffers: Vec<Buffer>,
    /// The quantised input of the projections of the moment.
    pub(crate) quantized: Quantized,
    /// The rounded input of the projections of the moment.
    pub(crate) rounded: Rounded,
    /// Per worker.
    pub(crate) scratch: Vec<Mutex<Scratch>>,
    /// By worker.
    accumulators: Vec<Mutex<[Accumulators; 2]>>,
    /// Rows the buffers hold.
    capacity: usize,
    wanted: usize,
}

#[derive(Debug)]
struct Buffer {
    spec: BufferSpec,
    values: Memory<f32>,
}

/// Rows of quantised activations, padded like others; what pads a row is zero or of no weight.
#[derive(Debug)]
pub(crate) struct Quantized {
    /// Bytes from one row to the next for the widest rows of the program.
    stride: usize,
    pub(crate) values: Memory<i8>,
    /// One per 32 values.
    pub(crate) groups: Memory<Group>,
}

/// Bytes from one row of quantised activations to the next: whole blocks of 64, and a line as in [`stride`].
pub(crate) fn quantized_stride(width: usize) -> usize {
    width.next_multiple_of(LINE) + LINE
}

/// Rows of activations rounded to pairs of bfloat16, `[rows][stride]`.
#[derive(Debug)]
pub(crate) struct Rounded {
    /// Pairs from one row to the next.
    pub(crate) stride: usize,
    pub(crate) pairs: Memory<u32>,
}

/// Values from one row to the next. Rows a power of two apart, as widths often are, would share a few
/// sets of the first-level cache and evict one another while a tile reads eight of them side by side.
fn stride(width: usize) -> usize {
    width.next_multiple_of(LANES) + LANES
}

impl CpuActivations {
    pub(crate) fn new(program: &Program, rows: usize, wanted: usize, workers: usize) -> Self {
        let buffers = program
            .buffers()
            .iter()
            .map(|spec| Buffer { spec: *spec, values: Memory::zeroed(0) })
            .collect();
        let inputs = program.ops().iter().filter_map(linear::input);
        let widest = inputs.map(|input| program.buffers()[input.index()].width);
        let widest = widest.max().unwrap_or(0);
        let rounded = Rounded { stride: stride(widest.div_ceil(2)), pairs: Memory::zeroed(0) };
        let quantized = Quantized {
            stride: quantized_stride(widest),
            values: Memory::zeroed(0),
            groups: Memory::zeroed(0),
        };
        let scratch = (0..workers).map(|_| Mutex::default()).collect();
        let accumulators = (0..workers).map(|_| Mutex::default()).collect();
        let mut activations =
            Self { buffers, quantized, rounded, scratch, accumulators, capacity: 0, wanted: 0 };
        activations.reserve(rows, wanted);
        activations
    }

    /// Makes room for a pass; does nothing when there is.
    pub(crate) fn reserve(&mut self, rows: usize, wanted: usize) {
        if rows <= self.capacity && wanted <= self.wanted {
            return;
        }
        self.capacity = self.capacity.max(rows);
        self.wanted = self.wanted.max(wanted);
        for buffer in &mut self.buffers {
            let rows = match buffer.spec.rows {
                RowSet::All => self.capacity,
                RowSet::Wanted => self.wanted,
            };
            buffer.values.reserve(rows * stride(buffer.spec.width));
        }
        let rows = self.capacity.max(self.wanted);
        self.rounded.pairs.reserve(rows * self.rounded.stride);
        let values = rows * self.quantized.stride;
        self.quantized.values.reserve(values);
        self.quantized.groups.reserve(values / GROUP);
    }

    /// Makes room for attention with `group` query heads per KV head.
    pub(crate) fn reserve_scratch(&mut self, group: usize, head_size: usize) {
        for scratch in &mut self.scratch {
            let scratch = scratch.get_mut().unwrap_or_else(PoisonError::into_inner);
            scratch.reserve(self.capacity, group, head_size);
        }
    }

    /// Room for the products of a worker's unit.
    pub(crate) fn accumulators(&self, worker: usize) -> MutexGuard<'_, [Accumulators; 2]> {
        self.accumulators[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spec(&self, buffer: BufferId) -> BufferSpec {
        self.buffers[buffer.index()].spec
    }

    /// Values from one row to the next.
    pub(crate) fn stride(&self, buffer: BufferId) -> usize {
        stride(self.spec(buffer).width)
    }

    /// Some columns of a row, to read.
    ///
    /// # Safety
    /// Nobody writes them while the result lives.
    pub(crate) unsafe fn read(
        &self,
        buffer: BufferId,
        row: usize,
        columns: Range<usize>,
    ) -> &[f32] {
        // SAFETY: passed on.
        unsafe { self.buffers[buffer.index()].values.view(self.range(buffer, row, columns)) }
    }

    /// Some rows from the first value of the first to the end of the buffer, [`Self::stride`] apart, to read.
    ///
    /// # Safety
    /// Nobody writes any of the buffer while the result lives.
    pub(crate) unsafe fn read_rows(&self, buffer: BufferId, rows: Range<usize>) -> &[f32] {
        let stride = self.stride(buffer);
        // SAFETY: passed on.
        unsafe { self.buffers[buffer.index()].values.view(rows.start * stride..rows.end * stride) }
    }

    /// Some columns of a row, to write.
    ///
    /// # Safety
    /// Nobody else uses them while the result lives.
    #[expect(clippy::mut_from_ref, reason = "that is its purpose; the contract excludes aliases")]
    pub(crate) unsafe fn write(
        &self,
        buffer: BufferId,
        row: usize,
        columns: Range<usize>,
    ) -> &mut [f32] {
        // SAFETY: passed on.
        unsafe { self.buffers[buffer.index()].values.part(self.range(buffer, row, columns)) }
    }

    fn range(&self, buffer: BufferId, row: usize, columns: Range<usize>) -> Range<usize> {
        let Buffer { spec, .. } = &self.buffers[buffer.index()];
        assert!(columns.end <= spec.width, "columns lie within a row");
        let start = row * stride(spec.width);
        start + columns.start..start + columns.end
    }

    /// A row, after a pass.
    pub(crate) fn row(&self, buffer: BufferId, row: usize) -> &[f32] {
        let range = self.range(buffer, row, 0..self.spec(buffer).width);
        &self.buffers[buffer.index()].values[range]
    }
}
