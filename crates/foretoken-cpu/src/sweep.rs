//! How fast this machine reads memory: the roofline under every pass of one row.
//!
//! A sweep sums a buffer of several last-level caches on every thread of the backend's pool, on pages
//! like those of the weights and in four streams per thread, as many as a projection reads. It is
//! plain portable code: a sum of 64-bit integers waits for memory at any instruction set level.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::memory::Memory;
use crate::os::{available_memory, last_level_cache};
use crate::{CpuBackend, pool::Worker};

/// Caches that a buffer fills: a cache may keep some of a buffer just larger than itself.
const CACHES: usize = 4;
/// The buffer where no cache is known; and the most.
const UNKNOWN: usize = 512 << 20;
const MOST: usize = 4 << 30;
/// A unit of work, so that a thread that is held up does not hold up the others; a huge page per stream.
const UNIT: usize = 8 << 20;
const STREAMS: usize = 4;

/// A buffer to sweep.
#[derive(Debug)]
pub struct ReadSweep {
    values: Memory<u64>,
}

impl ReadSweep {
    /// A buffer of four last-level caches or 4 GB, whichever is less, or of half the memory that is left
    /// where there is not even that.
    ///
    /// Its pages are placed by the threads of `backend`.
    pub fn new(backend: &CpuBackend) -> Self {
        let wanted = last_level_cache().map_or(UNKNOWN, |bytes| bytes.saturating_mul(CACHES));
        let left = available_memory().map_or(MOST, |bytes| bytes / 2);
        let bytes = wanted.min(MOST).min(left).max(UNIT).next_multiple_of(UNIT);
        let values = Memory::<u64>::zeroed(bytes / size_of::<u64>());
        backend.pool.run(bytes / UNIT, &|worker: &Worker<'_>| {
            // SAFETY: the units are disjoint, and nobody reads meanwhile.
            unsafe { values.part(part(worker)) }.fill(1);
        });
        Self { values }
    }

    /// Bytes that a sweep reads.
    pub fn bytes(&self) -> usize {
        self.values.len() * size_of::<u64>()
    }

    /// Reads the whole buffer once on every thread of `backend`.
    pub fn run(&self, backend: &CpuBackend) -> Duration {
        let units = self.values.len() / (UNIT / 8);
        let started = Instant::now();
        backend.pool.run(units, &|worker: &Worker<'_>| {
            black_box(sum(&self.values[part(worker)]));
        });
        started.elapsed()
    }
}

/// The values of a worker's unit.
fn part(worker: &Worker<'_>) -> Range<usize> {
    UNIT / 8 * worker.unit()..UNIT / 8 * (worker.unit() + 1)
}

/// Sums the streams side by side.
fn sum(values: &[u64]) -> u64 {
    let mut streams = values.chunks_exact(values.len() / STREAMS);
    let [a, b, c, d] = [(); STREAMS].map(|()| streams.next().unwrap_or(&[]).as_chunks::<8>().0);
    let mut sums = [[0u64; 8]; STREAMS];
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        for (sums, values) in sums.iter_mut().zip([a, b, c, d]) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = sum.wrapping_add(*value);
            }
        }
    }
    sums.as_flattened().iter().copied().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuOptions;

    #[test]
    fn a_sweep_reads_every_value_once() {
        let values: Vec<u64> = (0..1024).collect();
        assert_eq!(sum(&values), 1023 * 512);
    }

    #[test]
    fn a_buffer_is_whole_units_on_written_pages() {
        let backend = CpuBackend::new(CpuOptions::default());
        let sweep = ReadSweep::new(&backend);
        assert!(sweep.bytes().is_multiple_of(UNIT));
        assert!(sweep.values.iter().all(|&value| value == 1));
        assert!(sweep.run(&backend) > Duration::ZERO);
    }
}
