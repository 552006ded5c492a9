//! The thread pool: every thread runs the whole job, with barriers between its phases.
//!
//! The caller is worker 0. A waiting thread spins for some tens of microseconds, which covers the
//! phases of a pass and the host's work between two passes; then it yields, so that more threads than
//! cores still make progress; then it sleeps, so that an idle pool costs nothing. A panic in one
//! worker releases the others from their barriers and is re-raised in the caller.
//!
//! Why not a work-stealing pool: a pass has over a hundred phases of some microseconds each, and
//! dispatching each through a general scheduler costs 5 to 15 us where a barrier costs half of one.

use std::any::Any;
use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::os;

/// Polls before a thread yields: about 50 us where a pause takes 25 ns.
const SPINS: u32 = 2000;
/// Polls when there are more threads than the machine runs at once.
const SPINS_OVERSUBSCRIBED: u32 = 20;
/// Yields before a thread sleeps.
const YIELDS: u32 = 20;

type Job<'a> = dyn Fn(&Worker<'_>) + Sync + 'a;

/// A pool of threads that run one job at a time together.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held by the caller whose job runs.
    turn: Mutex<()>,
}

/// One thread's part in a job.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    index: usize,
    shared: &'a Shared,
}

#[derive(Debug)]
struct Shared {
    workers: usize,
    spins: u32,
    job: JobCell,
    stopping: AtomicBool,
    /// Advanced when a job is ready, and to stop.
    start: Signal,
    /// Workers other than the caller that have not finished the job.
    running: Line<AtomicUsize>,
    /// Advanced when `running` reaches zero.
    done: Signal,
    /// Workers that reached the current barrier.
    arrived: Line<AtomicUsize>,
    /// Advanced when all have, and when a worker panics.
    phase: Signal,
    /// Next item of the current phase, see [`Worker::claim`].
    cursor: Line<AtomicUsize>,
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The job of the moment; written by the caller while the workers wait for `start`.
struct JobCell(UnsafeCell<Option<*const Job<'static>>>);

// SAFETY: the pointer is written only while every worker waits for `start`, and read only between
// that signal and the worker's decrement of `running`, for which the writer waits. The job is `Sync`.
unsafe impl Send for JobCell {}
// SAFETY: as above.
unsafe impl Sync for JobCell {}

impl std::fmt::Debug for JobCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobCell")
    }
}

/// Keeps a counter that every worker hammers on a cache line (pair) of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// A counter that threads wait on.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Signal {
    count: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Unwinds a worker whose colleague panicked; never shown to anyone.
struct Abandoned;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Signal {
    fn seen(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    fn advance(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        // In the single order of these operations either a sleeper's registration precedes this load
        // and it is woken, or the count was advanced before it looks and it does not sleep.
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            drop(lock(&self.lock));
            self.wake.notify_all();
        }
    }

    fn wait(&self, seen: u32, spins: u32) {
        for turn in 0..spins + YIELDS {
            if self.count.load(Ordering::Acquire) != seen {
                return;
            }
            if turn < spins { std::hint::spin_loop() } else { thread::yield_now() }
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.lock);
        while self.count.load(Ordering::SeqCst) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pool {
    /// Starts `threads - 1` threads.
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        let workers = threads.get();
        let oversubscribed = workers > os::hardware_threads();
        let shared = Arc::new(Shared {
            workers,
            spins: if oversubscribed { SPINS_OVERSUBSCRIBED } else { SPINS },
            job: JobCell(UnsafeCell::new(None)),
            stopping: AtomicBool::new(false),
            start: Signal::default(),
            running: Line::default(),
            done: Signal::default(),
            arrived: Line::default(),
            phase: Signal::default(),
            cursor: Line::default(),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let threads = (1..workers)
            .map(|index| {
                let shared = Arc::clone(&shared);
                let name = format!("foretoken-cpu-{index}");
                let thread = thread::Builder::new().name(name).spawn(move || shared.serve(index));
                thread.expect("the operating system starts a thread")
            })
            .collect();
        Self { shared, threads, turn: Mutex::new(()) }
    }

    /// Threads, the caller's included.
    pub(crate) fn workers(&self) -> usize {
        self.shared.workers
    }

    /// Runs `job` on every thread, the caller's included, and returns when all have finished.
    /// Callers on several threads take turns; a job must not run another.
    ///
    /// # Panics
    /// With the first panic of the job.
    pub(crate) fn run(&self, job: &Job<'_>) {
        let _turn = lock(&self.turn);
        let shared = &*self.shared;
        shared.arrived.0.store(0, Ordering::Relaxed);
        shared.cursor.0.store(0, Ordering::Relaxed);
        shared.running.0.store(shared.workers - 1, Ordering::Relaxed);
        let finished = shared.done.seen();
        // SAFETY: only the lifetime changes; the pointer is forgotten before this function returns,
        // and until then no worker is left that could use it.
        let erased: *const Job<'static> =
            unsafe { std::mem::transmute::<&Job<'_>, &Job<'static>>(job) };
        // SAFETY: every worker waits for `start`, so nobody reads the cell.
        unsafe { *shared.job.0.get() = Some(erased) };
        shared.start.advance();
        shared.perform(0, job);
        if shared.workers > 1 {
            shared.done.wait(finished, shared.spins);
        }
        // SAFETY: every worker has finished the job and waits for `start`.
        unsafe { *shared.job.0.get() = None };
        if shared.panicked.swap(false, Ordering::SeqCst)
            && let Some(payload) = lock(&shared.panic).take()
        {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.start.advance();
        for thread in self.threads.drain(..) {
            // A worker catches the panics of jobs, so joining cannot fail.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of a worker thread.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.start.wait(seen, self.spins);
            // The next job starts only when this one is done, so the count rose by exactly one.
            seen = seen.wrapping_add(1);
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: between `start` and the decrement below the caller keeps the job alive and
            // leaves the cell alone.
            if let Some(job) = unsafe { *self.job.0.get() } {
                // SAFETY: as above.
                self.perform(index, unsafe { &*job });
            }
            if self.running.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done.advance();
            }
        }
    }

    fn perform(&self, index: usize, job: &Job<'_>) {
        let worker = Worker { index, shared: self };
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| job(&worker))) else { return };
        if !payload.is::<Abandoned>() {
            lock(&self.panic).get_or_insert(payload);
            self.panicked.store(true, Ordering::SeqCst);
            self.phase.advance();
        }
    }
}

impl Worker<'_> {
    /// This worker's number, below [`Worker::workers`].
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Workers in the job.
    pub(crate) fn workers(&self) -> usize {
        self.shared.workers
    }

    /// This worker's even share of `0..items`.
    pub(crate) fn share(&self, items: usize) -> Range<usize> {
        let bound =
            |index: usize| (items as u128 * index as u128 / self.workers() as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }

    /// The next unclaimed item of this phase, counted from 0; at or past the last means none is left.
    pub(crate) fn claim(&self) -> usize {
        self.shared.cursor.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for every worker to get here; what they wrote is visible afterwards, and claims begin
    /// again at 0.
    pub(crate) fn barrier(&self) {
        let shared = self.shared;
        let seen = shared.phase.seen();
        // Looked at after `seen`: a panic not visible here advances the phase past `seen`.
        if !shared.panicked.load(Ordering::SeqCst) {
            if shared.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == shared.workers {
                shared.arrived.0.store(0, Ordering::Relaxed);
                shared.cursor.0.store(0, Ordering::Relaxed);
                shared.phase.advance();
            } else {
                shared.phase.wait(seen, shared.spins);
            }
        }
        if shared.panicked.load(Ordering::SeqCst) {
            resume_unwind(Box::new(Abandoned));
        }
    }
}

#[cfg(test)]
mod tests;
