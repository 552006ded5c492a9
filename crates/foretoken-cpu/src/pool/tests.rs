use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;

use super::*;

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap())
}

#[test]
fn every_worker_runs_once() {
    for threads in [1, 2, 3, 4, 9] {
        let seen: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
        let pool = pool(threads);
        for _ in 0..50 {
            pool.run(&|worker| {
                assert_eq!(worker.workers(), threads);
                seen[worker.index()].fetch_add(1, Ordering::Relaxed);
            });
        }
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 50));
    }
}

#[test]
fn shares_cover_everything_once() {
    let pool = pool(4);
    for items in [0, 1, 3, 4, 5, 64, 1001] {
        let hits: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
        pool.run(&|worker| {
            for item in worker.share(items) {
                hits[item].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(hits.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{items} items");
    }
}

/// Far more threads than cores: what one phase wrote, the next must read, claims starting at 0.
#[test]
fn barriers_separate_phases_under_oversubscription() {
    const PHASES: u64 = 300;
    let threads = 4 * os::hardware_threads() + 3;
    let pool = pool(threads);
    let cells: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
    let claimed: Vec<AtomicU64> = (0..PHASES as usize).map(|_| AtomicU64::new(0)).collect();
    pool.run(&|worker| {
        for phase in 0..PHASES {
            cells[worker.index()].store(phase + 1, Ordering::Relaxed);
            while worker.claim() < 10 {
                claimed[phase as usize].fetch_add(1, Ordering::Relaxed);
            }
            worker.barrier();
            assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == phase + 1));
            worker.barrier();
        }
    });
    assert!(claimed.iter().all(|n| n.load(Ordering::Relaxed) == 10));
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_survives() {
    let pool = pool(4);
    for guilty in 0..4 {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|worker| {
                worker.barrier();
                if worker.index() == guilty {
                    resume_unwind(Box::new("the culprit"));
                }
                worker.barrier();
                worker.barrier();
            });
        }));
        let payload = outcome.expect_err("the panic reaches the caller");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the culprit"));
        let runs = AtomicUsize::new(0);
        pool.run(&|worker| {
            worker.barrier();
            runs.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(runs.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn callers_take_turns() {
    let pool = pool(3);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    pool.run(&|worker| {
                        let before = inside.fetch_add(1, Ordering::SeqCst);
                        assert!(before < 3, "one job at a time");
                        worker.barrier();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        }
    });
}
