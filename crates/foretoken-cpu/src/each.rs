//! Work on the elements of a slice, on every thread of the pool.
//!
//! What crates without `unsafe` build their operators of: they part buffers into slices or
//! [`MatrixMut`](crate::MatrixMut)s, put those that belong together into one item, and get each item exclusively
//! on some thread. Which thread is nobody's to know, so results cannot depend on it.

use crate::CpuBackend;
use crate::pool::Worker;

/// Elements that are handed out one by one.
struct Shared<T>(*mut T);

// SAFETY: each element is used by one thread at a time, see `CpuBackend::each_with`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The element exists, and no other reference to it is used while the result lives.
    #[expect(clippy::mut_from_ref, reason = "that is its purpose; the contract excludes aliases")]
    unsafe fn get(&self, index: usize) -> &mut T {
        // SAFETY: the caller says so.
        unsafe { &mut *self.0.add(index) }
    }
}

impl CpuBackend {
    /// Calls `work` once for each item, on any thread.
    ///
    /// # Panics
    /// With the first panic of `work`.
    pub fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        let shared = Shared(items.as_mut_ptr());
        let shared = &shared;
        self.pool.run(items.len(), &|worker: &Worker<'_>| {
            // SAFETY: the units are the items, each done once, and `items` is borrowed until all are.
            work(unsafe { shared.get(worker.unit()) });
        });
    }

    /// As [`Self::each`], with a state that no other thread uses meanwhile: scratch memory.
    ///
    /// # Panics
    /// With the first panic of `work`, or if there are fewer states than threads.
    pub fn each_with<S: Send, T: Send>(
        &self,
        states: &mut [S],
        items: &mut [T],
        work: impl Fn(&mut S, &mut T) + Sync,
    ) {
        assert!(states.len() >= self.threads(), "every thread has a state");
        let (states, shared) = (&Shared(states.as_mut_ptr()), &Shared(items.as_mut_ptr()));
        self.pool.run(items.len(), &|worker: &Worker<'_>| {
            // SAFETY: a thread does one unit at a time and no two have one index, so neither has two uses
            // at once; both slices are borrowed until every unit is done.
            let (state, item) = unsafe { (states.get(worker.index()), shared.get(worker.unit())) };
            work(state, item);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::CpuOptions;

    #[test]
    fn every_item_is_done_once_with_a_state_of_its_own() {
        for threads in 1..=4 {
            let threads = NonZeroUsize::new(threads).expect("one or more");
            let backend = CpuBackend::new(CpuOptions { threads, isa: None });
            let mut items: Vec<u32> = (0..1000).collect();
            backend.each(&mut items, |item| *item += 1);
            let mut sums = vec![0u64; threads.get()];
            backend.each_with(&mut sums, &mut items, |sum, item| {
                *sum += u64::from(*item);
                *item *= 2;
            });
            assert!(items.iter().copied().eq((1..=1000).map(|item| 2 * item)));
            assert_eq!(sums.iter().sum::<u64>(), 500_500);
        }
    }
}
