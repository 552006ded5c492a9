//! The pool under a model checker: every order of the threads' steps (within a bound of preemptions) and
//! every value that the memory model lets a load return.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p foretoken-cpu --lib pool::
//!
//! A lost wake-up shows as a deadlock, an order too weak as a race on a cell, a job used after its end as
//! an access to a cell that is gone.

use loom::cell::UnsafeCell;

use super::*;

/// Runs `body` in every order with at most so many preemptions.
fn check(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).expect("a pool has threads"))
}

/// Values that no two threads may touch at once.
struct Values(Vec<UnsafeCell<usize>>);

// SAFETY: the model checks every access.
unsafe impl Sync for Values {}

impl Values {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| UnsafeCell::new(0)).collect())
    }

    fn add(&self, index: usize, value: usize) {
        // SAFETY: the model checks it.
        self.0[index].with_mut(|to| unsafe { *to += value });
    }

    fn get(&self, index: usize) -> usize {
        // SAFETY: the model checks it.
        self.0[index].with(|value| unsafe { *value })
    }
}

/// Each unit of the first phase writes its value; the units of later ones read them all and write their own.
struct Chain {
    units: Vec<usize>,
    values: Vec<Values>,
}

impl Chain {
    fn new(units: &[usize]) -> Self {
        let values = units.iter().map(|units| Values::new(*units)).collect();
        Self { units: units.to_vec(), values }
    }

    /// Whether each unit was done once, as seen by the caller.
    fn is_done(&self) -> bool {
        let done = |values: &Values| (0..values.0.len()).all(|unit| values.get(unit) == 1);
        self.values.iter().all(done)
    }
}

impl Job for Chain {
    fn units(&self, phase: usize, _: usize) -> Option<usize> {
        self.units.get(phase).copied()
    }

    fn unit(&self, phase: usize, worker: &Worker<'_>) {
        if phase > 0 {
            let before = &self.values[phase - 1];
            assert!((0..before.0.len()).all(|unit| before.get(unit) == 1));
        }
        self.values[phase].add(worker.unit(), 1);
    }
}

#[test]
fn phases_see_what_came_before_and_the_caller_sees_all() {
    check(3, || {
        let pool = pool(2);
        let job = Chain::new(&[2, 2, 1]);
        pool.run_job(&job);
        assert!(job.is_done());
    });
}

#[test]
fn jobs_follow_one_another_and_idle_pools_end() {
    check(2, || {
        let pool = pool(2);
        for _ in 0..2 {
            let job = Chain::new(&[2]);
            pool.run_job(&job);
            assert!(job.is_done());
        }
    });
}

#[test]
fn three_threads_agree() {
    check(2, || {
        let pool = pool(3);
        let job = Chain::new(&[3, 2]);
        pool.run_job(&job);
        assert!(job.is_done());
    });
}

#[test]
fn a_panic_ends_the_job_and_not_the_pool() {
    check(2, || {
        let pool = pool(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(2, &|worker| {
                if worker.unit() == 1 {
                    resume_unwind(Box::new("the culprit"));
                }
            });
        }));
        assert!(outcome.is_err());
        let job = Chain::new(&[2]);
        pool.run_job(&job);
        assert!(job.is_done());
    });
}

#[test]
fn a_pool_without_a_job_ends() {
    check(3, || drop(pool(3)));
}
