//! The primitives the pool is made of: the standard library's, or those of the model checker.

#[cfg(loom)]
use loom::cell::UnsafeCell;
#[cfg(loom)]
pub(super) use loom::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Mutex, MutexGuard},
    thread::{Builder, JoinHandle, Thread, current, park, yield_now},
};
#[cfg(not(loom))]
use std::cell::UnsafeCell;
#[cfg(not(loom))]
pub(super) use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Mutex, MutexGuard},
    thread::{Builder, JoinHandle, Thread, current, park, yield_now},
};

/// Polls until `ready` for as long as a wait is likely to be short; says whether it came to that.
#[cfg(not(loom))]
pub(super) fn patience(ready: impl Fn() -> bool) -> bool {
    use std::time::{Duration, Instant};

    /// The work of a host between two passes takes tens of microseconds, waking a thread as much.
    const LIMIT: Duration = Duration::from_micros(100);
    /// Between two looks at the clock.
    const POLLS: u32 = 32;

    let started = Instant::now();
    loop {
        for _ in 0..POLLS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if started.elapsed() > LIMIT {
            return false;
        }
    }
}

/// A model has no time to pass.
#[cfg(loom)]
pub(super) fn patience(_: impl Fn() -> bool) -> bool {
    false
}

/// A value that its users guard; the model checks that they do.
#[derive(Debug)]
pub(super) struct Cell<T>(UnsafeCell<T>);

impl<T: Copy> Cell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// # Safety
    /// Nobody writes meanwhile.
    pub(super) unsafe fn get(&self) -> T {
        #[cfg(loom)]
        // SAFETY: passed on, and checked.
        return self.0.with(|value| unsafe { *value });
        #[cfg(not(loom))]
        // SAFETY: passed on.
        return unsafe { *self.0.get() };
    }

    /// # Safety
    /// Nobody reads or writes meanwhile.
    pub(super) unsafe fn set(&self, to: T) {
        #[cfg(loom)]
        // SAFETY: passed on, and checked.
        self.0.with_mut(|value| unsafe { *value = to });
        #[cfg(not(loom))]
        // SAFETY: passed on.
        unsafe {
            *self.0.get() = to;
        }
    }
}
