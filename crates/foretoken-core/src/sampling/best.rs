//! The k best of a stream, in memory of the order of k.

/// Collects the `k` smallest items of a stream; what "smallest" means is the item's order.
///
/// Up to twice `k` items are held, so that the cost per item is constant on average. The result does
/// not depend on the order of the stream.
#[derive(Debug, Clone)]
pub(super) struct Best<T> {
    k: usize,
    items: Vec<T>,
    /// The worst of `k` items already held: nothing above it can be among the best.
    bar: Option<T>,
}

impl<T> Default for Best<T> {
    fn default() -> Self {
        Self { k: 0, items: Vec::new(), bar: None }
    }
}

impl<T: Ord + Copy> Best<T> {
    /// Forgets all items and asks for `k` of a stream of at most `len`; 0 is asked for as 1, so that
    /// a bar can exist. All memory that the stream can need is taken here.
    pub(super) fn reset(&mut self, k: usize, len: usize) {
        self.k = k.max(1);
        self.items.clear();
        self.items.reserve(self.k.saturating_mul(2).min(len));
        self.bar = None;
    }

    /// The item that a further one has to beat, when there is one.
    pub(super) fn bar(&self) -> Option<T> {
        self.bar
    }

    pub(super) fn push(&mut self, item: T) {
        if self.bar.is_some_and(|bar| item > bar) {
            return;
        }
        self.items.push(item);
        if self.items.len() >= self.k.saturating_mul(2) {
            self.shrink();
        }
    }

    /// The best `k` items (fewer when the stream was shorter), best first.
    pub(super) fn finish(&mut self) -> &mut Vec<T> {
        if self.items.len() > self.k {
            self.shrink();
        }
        self.items.sort_unstable();
        &mut self.items
    }

    fn shrink(&mut self) {
        let (_, &mut bar, _) = self.items.select_nth_unstable(self.k - 1);
        self.items.truncate(self.k);
        self.bar = Some(bar);
    }
}
