//! A drafter with somebody who looks over its shoulder.

use std::sync::{Arc, Mutex};

use foretoken::TokenId;
use foretoken::drafters::{DraftTask, Drafter, SequenceKey};

use crate::runs::Bench;

/// Writes down what a test sees of each task whose draft was verified.
struct Watcher<T> {
    inner: Box<dyn Drafter>,
    see: fn(&DraftTask) -> Option<T>,
    seen: Arc<Mutex<Vec<T>>>,
}

impl<T: Send> Drafter for Watcher<T> {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.inner.propose(tasks);
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        self.seen.lock().unwrap().extend(tasks.iter().filter_map(self.see));
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

impl Bench {
    /// Watches the engine's only drafter.
    pub(crate) fn watched<T: Send + 'static>(
        mut self,
        see: fn(&DraftTask) -> Option<T>,
    ) -> (Self, Arc<Mutex<Vec<T>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        self.engine = self.engine.with_drafters("watched", |mut built| {
            assert_eq!(built.len(), 1, "one drafter is watched");
            vec![Box::new(Watcher { inner: built.remove(0), see, seen: shared })]
        });
        (self, seen)
    }
}
