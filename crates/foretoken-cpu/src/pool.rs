//! The thread pool: a job is a row of phases, a phase is a number of units, and any thread may do any unit.
//!
//! A phase is over when its units are done, not when every thread has arrived, and the thread that does
//! the last one begins the next phase. A thread looks at the job only while it holds a unit of it, so one that
//! the system holds up between two units is missed by nobody, not even at the end of the job; one that
//! is held up within a unit delays the others by that unit. A thread without work polls for a moment, which
//! covers the phases of a pass and the host's work between two passes, and then sleeps: it never
//! yields, for a busy neighbour would keep the core for milliseconds. Work wakes no more threads than can run
//! at once, so those beyond the cores sleep on. The caller is worker 0. After a panic the units
//! that are left do nothing, and the caller re-raises it.
//!
//! Why not a work-stealing pool: a pass has over a hundred phases of some microseconds each, and
//! dispatching each through a general scheduler costs 5 to 15 us where a phase here costs a quarter of one.

use std::any::Any;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;

use crate::os;
use sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Builder, Cell, JoinHandle, Mutex, MutexGuard,
    Ordering, Thread, fence, patience,
};

mod sync;

/// What a pool runs. Phases follow one another; what one wrote, the next reads.
pub(crate) trait Job: Sync {
    /// Units of a phase for so many workers; a phase without any is skipped. `None` behind the last.
    fn units(&self, phase: usize, workers: usize) -> Option<usize>;

    /// Does the worker's unit of a phase, without waiting for another.
    fn unit(&self, phase: usize, worker: &Worker<'_>);
}

/// A pool of threads that run one job at a time together.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held by the caller whose job runs.
    turn: Mutex<()>,
}

/// One thread with one unit.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    index: usize,
    unit: usize,
    units: usize,
    shared: &'a Shared,
}

#[derive(Debug)]
struct Shared {
    /// Advanced with each phase: a number of the phase that is never used again, one of the flags,
    /// and in the low bits the units that nobody has claimed. The one word on which threads agree.
    state: Line<AtomicU64>,
    /// Units of the phase that are not done.
    unfinished: Line<AtomicUsize>,
    /// Written while no unit is unfinished, read by threads that hold one.
    phase: Cell<Option<Phase>>,
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// One per worker.
    seats: Box<[Line<Seat>]>,
    asleep: AtomicUsize,
    /// Threads that can run at once.
    hardware: usize,
}

const UNCLAIMED: u64 = (1 << 22) - 1;
/// No job runs.
const IDLE: u64 = 1 << 22;
/// No job will.
const STOPPED: u64 = 1 << 23;
const ADVANCE: u64 = 1 << 24;

/// The phase of the moment.
#[derive(Debug, Clone, Copy)]
struct Phase {
    job: *const (dyn Job + 'static),
    index: usize,
    units: usize,
}

/// Where a worker sleeps.
#[derive(Debug, Default)]
struct Seat {
    asleep: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

/// Keeps what several threads hammer on a cache line (pair) of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

// SAFETY: the pointer is used by holders of a unit only, for whose units `Pool::run_job` waits while it
// borrows the job; the job is `Sync`. The cell is read by holders of a unit, and written by the one
// thread that begins a phase, when there are none.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Starts `threads - 1` threads, and returns when they run.
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        let workers = threads.get();
        let shared = Arc::new(Shared {
            state: Line(AtomicU64::new(IDLE)),
            unfinished: Line::default(),
            phase: Cell::new(None),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            seats: (0..workers).map(|_| Line::default()).collect(),
            asleep: AtomicUsize::new(0),
            hardware: os::hardware_threads(),
        });
        let threads: Vec<_> = (1..workers)
            .map(|index| {
                let shared = Arc::clone(&shared);
                let name = format!("foretoken-cpu-{index}");
                let thread = Builder::new().name(name).spawn(move || shared.serve(index, STOPPED));
                thread.expect("the operating system starts a thread")
            })
            .collect();
        // A thread allocates while it starts; jobs are to find that done.
        for seat in &shared.seats[1..] {
            while lock(&seat.0.thread).is_none() {
                sync::yield_now();
            }
        }
        Self { shared, threads, turn: Mutex::new(()) }
    }

    /// Threads, the caller's included.
    pub(crate) fn workers(&self) -> usize {
        self.shared.seats.len()
    }

    /// Runs a job of one phase.
    pub(crate) fn run(&self, units: usize, work: &(dyn Fn(&Worker<'_>) + Sync)) {
        self.run_job(&Single { units, work });
    }

    /// Runs a job on every thread, the caller's included, and returns when it is done.
    /// Callers on several threads take turns; a job must not run another.
    ///
    /// # Panics
    /// With the first panic of the job.
    pub(crate) fn run_job(&self, job: &dyn Job) {
        let turn = lock(&self.turn);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is used by threads that hold a unit of the job,
        // and this function returns when none is unfinished and no phase follows.
        let job = unsafe { std::mem::transmute::<&dyn Job, &'static dyn Job>(job) };
        // SAFETY: the job is borrowed by this function.
        if let Some(first) = unsafe { shared.next(job, 0) } {
            shared.begin(first);
            shared.perform(0, first.units);
            shared.serve(0, IDLE);
        }
        shared.panicked.store(false, Ordering::Relaxed);
        let panic = lock(&shared.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.advance(STOPPED);
        for index in 1..self.workers() {
            self.shared.wake(index);
        }
        for thread in self.threads.drain(..) {
            // A worker catches the panics of jobs, so joining cannot fail.
            let _ = thread.join();
        }
    }
}

struct Single<'a> {
    units: usize,
    work: &'a (dyn Fn(&Worker<'_>) + Sync),
}

impl Job for Single<'_> {
    fn units(&self, phase: usize, _: usize) -> Option<usize> {
        (phase == 0).then_some(self.units)
    }

    fn unit(&self, _: usize, worker: &Worker<'_>) {
        (self.work)(worker);
    }
}

impl Shared {
    /// Does units as a worker until the state has the flag `end`.
    fn serve(&self, index: usize, end: u64) {
        *lock(&self.seats[index].0.thread) = Some(sync::current());
        let mut state = self.state.0.load(Ordering::Acquire);
        while state & end == 0 {
            if state & UNCLAIMED == 0 {
                self.wait(index, state);
            } else if self.claim(state) {
                self.perform(index, (state & UNCLAIMED) as usize);
            }
            state = self.state.0.load(Ordering::Acquire);
        }
    }

    /// Claims a unit of the phase that `state` is of. As no state comes twice, none of a later phase.
    fn claim(&self, state: u64) -> bool {
        let (claimed, order) = (state - 1, Ordering::Relaxed);
        self.state.0.compare_exchange_weak(state, claimed, order, order).is_ok()
    }

    /// Does the first of the phase's last `unclaimed` units, which this thread has claimed. If no other
    /// is unfinished then, begins the next phase with its first unit, and so on.
    fn perform(&self, index: usize, mut unclaimed: usize) {
        loop {
            // SAFETY: this thread holds a unit, so nobody writes the cell and the job lives.
            let Some(phase) = (unsafe { self.phase.get() }) else { return };
            let Phase { job, index: number, units } = phase;
            if !self.panicked.load(Ordering::Relaxed) {
                let worker = Worker { index, unit: units - unclaimed, units, shared: self };
                // SAFETY: as above.
                self.guard(|| unsafe { &*job }.unit(number, &worker));
            }
            if self.unfinished.0.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            // SAFETY: the job's caller waits for a state that only this thread can set now.
            let Some(next) = (unsafe { self.next(job, number + 1) }) else {
                self.advance(IDLE);
                return self.wake(0);
            };
            self.begin(next);
            unclaimed = next.units;
        }
    }

    /// The first phase with a unit from `phase` on; none after a panic.
    ///
    /// # Safety
    /// The job lives.
    unsafe fn next(&self, job: *const dyn Job, phase: usize) -> Option<Phase> {
        let next = self.guard(|| {
            for index in phase.. {
                // SAFETY: the caller says so.
                let units = unsafe { &*job }.units(index, self.seats.len())?;
                if units > 0 {
                    assert!(units as u64 <= UNCLAIMED, "the units of a phase can be counted");
                    return Some(Phase { job, index, units });
                }
            }
            None
        });
        next.flatten().filter(|_| !self.panicked.load(Ordering::Relaxed))
    }

    /// Begins a phase, whose first unit is this thread's. No unit is unfinished.
    fn begin(&self, phase: Phase) {
        // SAFETY: nobody holds a unit, and nobody can claim one before the state advances.
        unsafe { self.phase.set(Some(phase)) };
        self.unfinished.0.store(phase.units, Ordering::Relaxed);
        self.advance(phase.units as u64 - 1);
        let mut asleep = self.asleep.load(Ordering::Relaxed);
        let mut units = phase.units - 1;
        for index in 0..self.seats.len() {
            if units == 0 || asleep == 0 || self.seats.len() >= self.hardware + asleep {
                return;
            }
            if self.seats[index].0.asleep.load(Ordering::Relaxed) {
                self.wake(index);
                (units, asleep) = (units - 1, asleep - 1);
            }
        }
    }

    /// Sets the state's low bits; shows what came before to those who see it.
    fn advance(&self, low: u64) {
        let state = self.state.0.load(Ordering::Relaxed);
        self.state.0.store((state & !(ADVANCE - 1)).wrapping_add(ADVANCE) | low, Ordering::Release);
        // Pairs with the one in `wait`: a thread that goes to sleep sees the new state or is seen.
        fence(Ordering::SeqCst);
    }

    /// Waits until the state is no longer `seen`; may return sooner.
    fn wait(&self, index: usize, seen: u64) {
        if patience(|| self.state.0.load(Ordering::Relaxed) != seen) {
            return;
        }
        let seat = &self.seats[index].0;
        self.asleep.fetch_add(1, Ordering::Relaxed);
        seat.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if self.state.0.load(Ordering::Relaxed) == seen {
            while seat.asleep.load(Ordering::Acquire) {
                sync::park();
            }
        } else {
            self.rouse(seat);
        }
    }

    /// Wakes a worker if it sleeps.
    fn wake(&self, index: usize) {
        let seat = &self.seats[index].0;
        if self.rouse(seat)
            && let Some(thread) = &*lock(&seat.thread)
        {
            thread.unpark();
        }
    }

    /// Ends a worker's sleep, once.
    fn rouse(&self, seat: &Seat) -> bool {
        let slept = seat.asleep.swap(false, Ordering::AcqRel);
        if slept {
            self.asleep.fetch_sub(1, Ordering::Relaxed);
        }
        slept
    }

    /// Runs a part of a job; keeps its panic for the caller of the job.
    fn guard<T>(&self, part: impl FnOnce() -> T) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(part));
        outcome
            .map_err(|payload| {
                lock(&self.panic).get_or_insert(payload);
                self.panicked.store(true, Ordering::Relaxed);
            })
            .ok()
    }
}

impl Worker<'_> {
    /// This thread's number, below [`Worker::workers`].
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Threads of the pool.
    pub(crate) fn workers(&self) -> usize {
        self.shared.seats.len()
    }

    /// This unit's number in its phase.
    pub(crate) fn unit(&self) -> usize {
        self.unit
    }

    /// This unit's even share of `0..items`.
    pub(crate) fn share(&self, items: usize) -> Range<usize> {
        let bound = |unit: usize| (items as u128 * unit as u128 / self.units as u128) as usize;
        bound(self.unit)..bound(self.unit + 1)
    }
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
