//! Where operators compute: the threads, the precision of products and the scratch they share.

use std::sync::Arc;

use foretoken_cpu::{
    CpuBackend, CpuOptions, GemmScratch, Matrix, MatrixMut, Precision, Product, Write,
};

use crate::operators::AttentionScratch;

/// Rows of one item of work: it decides how partial sums over rows are cut, so it never depends on threads.
pub(crate) const ROWS: usize = 32;

/// Values copied as one item of work.
const COPY: usize = 1 << 16;

/// The machine as operators see it.
///
/// Every result is a function of inputs and precision: of no number of threads, and of nothing that was
/// computed before.
#[derive(Debug)]
pub struct Compute {
    backend: Arc<CpuBackend>,
    precision: Precision,
    scratch: GemmScratch,
    /// One per thread.
    attention: Vec<AttentionScratch>,
}

impl Compute {
    /// Starts the threads.
    pub fn new(options: CpuOptions, precision: Precision) -> Self {
        let backend = Arc::new(CpuBackend::new(options));
        let attention = (0..backend.threads()).map(|_| AttentionScratch::default()).collect();
        Self { backend, precision, scratch: GemmScratch::default(), attention }
    }

    /// The precision of products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The threads and their kernels, which a model that is only evaluated may share.
    pub fn backend(&self) -> &Arc<CpuBackend> {
        &self.backend
    }

    /// `out = a · b`, or `out += a · b`; `out` is dense.
    ///
    /// # Panics
    /// If the shapes do not fit one another.
    pub fn multiply(&mut self, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], write: Write) {
        let (out, precision) = (MatrixMut::new(out, b.columns()), self.precision);
        self.backend.multiply(&mut self.scratch, Product { a, b, out, write, precision });
    }

    /// Copies values.
    pub(crate) fn copy(&self, from: &[f32], to: &mut [f32]) {
        let chunks = from.chunks(COPY).zip(to.chunks_mut(COPY));
        self.each(chunks, |(from, to)| to.copy_from_slice(from));
    }

    /// Calls `work` for each item, on any thread.
    pub(crate) fn each<T: Send>(
        &self,
        items: impl Iterator<Item = T>,
        work: impl Fn(&mut T) + Sync,
    ) {
        self.backend.each(&mut items.collect::<Vec<_>>(), work);
    }

    /// As [`Self::each`], with the scratch of the thread.
    pub(crate) fn each_attention<T: Send>(
        &mut self,
        items: impl Iterator<Item = T>,
        work: impl Fn(&CpuBackend, Precision, &mut AttentionScratch, &mut T) + Sync,
    ) {
        let (backend, precision) = (&self.backend, self.precision);
        let mut items: Vec<_> = items.collect();
        backend.each_with(&mut self.attention, &mut items, |scratch, item| {
            work(backend, precision, scratch, item);
        });
    }
}
