use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::*;

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).expect("a pool has threads"))
}

/// So many phases of the same number of units.
struct Phases<F> {
    count: usize,
    units: usize,
    work: F,
}

impl<F: Fn(usize, &Worker<'_>) + Sync> Job for Phases<F> {
    fn units(&self, phase: usize, _: usize) -> Option<usize> {
        (phase < self.count).then_some(self.units)
    }

    fn unit(&self, phase: usize, worker: &Worker<'_>) {
        (self.work)(phase, worker);
    }
}

#[test]
fn every_unit_is_done_once() {
    for threads in [1, 2, 3, 4, 9] {
        let pool = pool(threads);
        for units in [0, 1, 2, 7, 100] {
            let done: Vec<AtomicUsize> = (0..units).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..20 {
                pool.run(units, &|worker| {
                    assert!(worker.index() < worker.workers());
                    assert_eq!(worker.workers(), threads);
                    done[worker.unit()].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 20), "{units} units");
        }
    }
}

#[test]
fn every_thread_takes_part() {
    let threads = os::hardware_threads();
    let pool = pool(threads);
    let seen: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
    // A unit waits for the others, so no thread can do two.
    pool.run(threads, &|worker| {
        seen[worker.index()].fetch_add(1, Ordering::Relaxed);
        while seen.iter().any(|n| n.load(Ordering::Relaxed) == 0) {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn shares_cover_everything_once() {
    let pool = pool(4);
    for items in [0, 1, 3, 4, 5, 64, 1001] {
        let hits: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
        pool.run(7, &|worker| {
            for item in worker.share(items) {
                hits[item].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(hits.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{items} items");
    }
}

/// Far more threads than cores: what one phase wrote, the next must read.
#[test]
fn phases_follow_one_another_under_oversubscription() {
    const UNITS: usize = 10;
    let pool = pool(4 * os::hardware_threads() + 3);
    let cells: Vec<AtomicU64> = (0..UNITS).map(|_| AtomicU64::new(0)).collect();
    for _ in 0..20 {
        pool.run_job(&Phases {
            count: 100,
            units: UNITS,
            work: |phase: usize, worker: &Worker<'_>| {
                if phase.is_multiple_of(2) {
                    cells[worker.unit()].store(phase as u64 + 2, Ordering::Relaxed);
                } else {
                    let expected = phase as u64 + 1;
                    assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == expected));
                }
            },
        });
    }
}

#[test]
fn phases_without_units_are_skipped() {
    struct Sparse(AtomicUsize);
    impl Job for Sparse {
        fn units(&self, phase: usize, _: usize) -> Option<usize> {
            [0, 0, 3, 0, 2, 0].get(phase).copied()
        }

        fn unit(&self, phase: usize, _: &Worker<'_>) {
            self.0.fetch_add(phase, Ordering::Relaxed);
        }
    }
    let job = Sparse(AtomicUsize::new(0));
    pool(3).run_job(&job);
    assert_eq!(job.0.load(Ordering::Relaxed), 3 * 2 + 2 * 4);
}

/// A thread that is held up holds up nobody but through the unit it holds.
#[test]
fn a_held_up_thread_is_not_waited_for() {
    let pool = pool(3);
    let (entered, release) = (AtomicUsize::new(0), AtomicUsize::new(0));
    pool.run(100, &|_| {
        if entered.fetch_add(1, Ordering::SeqCst) == 0 {
            // The first unit lasts until all others are done.
            while release.load(Ordering::SeqCst) < 99 {
                thread::sleep(Duration::from_millis(1));
            }
        } else {
            release.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert_eq!(entered.load(Ordering::SeqCst), 100);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_survives() {
    let pool = pool(4);
    for guilty in [(0, 0), (1, 3), (2, 7)] {
        let later = AtomicUsize::new(0);
        let job = Phases {
            count: 4,
            units: 8,
            work: |phase, worker: &Worker<'_>| {
                if (phase, worker.unit()) == guilty {
                    resume_unwind(Box::new("the culprit"));
                }
                if phase > guilty.0 {
                    later.fetch_add(1, Ordering::Relaxed);
                }
            },
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run_job(&job)));
        let payload = outcome.expect_err("the panic reaches the caller");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the culprit"));
        assert_eq!(later.load(Ordering::Relaxed), 0, "no phase follows a panic");
        let runs = AtomicUsize::new(0);
        pool.run(4, &|_| {
            runs.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(runs.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn a_panic_between_phases_reaches_the_caller() {
    struct Faulty(usize);
    impl Job for Faulty {
        fn units(&self, phase: usize, _: usize) -> Option<usize> {
            if phase == self.0 {
                resume_unwind(Box::new("miscounted"));
            }
            Some(5)
        }

        fn unit(&self, _: usize, _: &Worker<'_>) {}
    }
    let pool = pool(3);
    for phase in [0, 1, 2] {
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run_job(&Faulty(phase))));
        let payload = outcome.expect_err("the panic reaches the caller");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"miscounted"));
    }
}

#[test]
fn callers_take_turns() {
    let pool = pool(3);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for caller in 1..=4 {
            let (pool, inside) = (&pool, &inside);
            scope.spawn(move || {
                for _ in 0..20 {
                    pool.run_job(&Phases {
                        count: 3,
                        units: 1,
                        work: |phase, _: &Worker<'_>| {
                            let before = inside.swap(caller, Ordering::SeqCst);
                            assert!(phase == 0 || before == caller, "one job at a time");
                        },
                    });
                }
            });
        }
    });
}

/// Jobs come while the threads poll, while they fall asleep and while they sleep.
#[test]
fn a_pool_wakes_from_every_pause() {
    let pool = pool(3);
    let done = AtomicUsize::new(0);
    for pause in (0..300).step_by(5) {
        thread::sleep(Duration::from_micros(pause));
        pool.run(9, &|_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(done.load(Ordering::Relaxed), 60 * 9);
}
