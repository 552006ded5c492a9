//! Working memory of attention, and what a row sees of a chunk.
//!
//! It knows no keys and no values.

use std::ops::Range;

use foretoken_tensor::CHUNK;
use foretoken_tensor::arithmetic::Softmax;

use super::TILE_ROWS;
use crate::simd::LANES;

/// Working memory of one worker. Vectors of `u32` hold inputs and cells of either type.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// `[head_size]`: a scaled query.
    pub(super) scaled: Vec<f32>,
    /// `[queries][cells of a head]`: inputs of the scores.
    pub(super) queries: Vec<u32>,
    /// `[queries][CHUNK]`: scores of the chunk of the moment.
    pub(super) scores: Vec<f32>,
    /// `[queries][cells of a chunk]`: exponentials, the inputs of the weighted sums.
    pub(super) weights: Vec<u32>,
    /// `[queries][slots]`: scores of the slots behind the trunk, from the start of their first block.
    pub(super) drafted: Vec<f32>,
    /// `[cells of a chunk][padded head]`: gathered values.
    pub(super) gathered: Vec<u32>,
    /// `[queries][padded head]`: weighted values of the chunk of the moment.
    pub(super) chunk: Vec<f32>,
    /// `[queries][padded head]`: weighted values of the chunks so far.
    pub(super) total: Vec<f32>,
    /// `[queries]`
    pub(super) state: Vec<Softmax>,
    /// `[queries]`, of the chunk of the moment.
    pub(super) later: Vec<Softmax>,
    /// `[queries]`: by what total and chunk are merged.
    pub(super) factors: Vec<[f32; 2]>,
    /// Nodes of each row's path behind the trunk, row after row.
    pub(super) path: Vec<u32>,
}

impl Scratch {
    /// Makes room for a pass of up to `rows` rows with `group` queries per KV head.
    pub(crate) fn reserve(&mut self, rows: usize, group: usize, head: usize) {
        let queries = TILE_ROWS * group;
        let padded = head.next_multiple_of(LANES);
        grow(&mut self.scaled, head, 0.0);
        grow(&mut self.queries, queries * head, 0);
        grow(&mut self.scores, queries * CHUNK, 0.0);
        grow(&mut self.weights, queries * CHUNK, 0);
        grow(&mut self.drafted, queries * (rows.div_ceil(CHUNK) + 1) * CHUNK, 0.0);
        grow(&mut self.gathered, CHUNK * padded, 0);
        grow(&mut self.chunk, queries * padded, 0.0);
        grow(&mut self.total, queries * padded, 0.0);
        grow(&mut self.state, queries, Softmax { max: 0.0, sum: 0.0 });
        grow(&mut self.later, queries, Softmax { max: 0.0, sum: 0.0 });
        grow(&mut self.factors, queries, [0.0; 2]);
        self.path.clear();
        self.path.reserve(TILE_ROWS * rows);
    }
}

fn grow<T: Copy>(values: &mut Vec<T>, len: usize, with: T) {
    if values.len() < len {
        values.resize(len, with);
    }
}

/// What one row of a work item sees.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Positions seen.
    pub(super) seen: Range<usize>,
    /// Positions below this lie in slots of the same number.
    pub(super) straight: usize,
    /// Where the row's nodes behind the trunk begin in [`Scratch::path`].
    pub(super) path: usize,
}

/// A row's part of one chunk, in positions from the chunk's start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    pub(super) start: usize,
    /// End of the part in slots of the same number.
    pub(super) straight: usize,
    pub(super) end: usize,
}

impl View {
    pub(super) fn window(&self, chunk: usize) -> Window {
        let within = |position: usize| position.saturating_sub(chunk * CHUNK).min(CHUNK);
        let (start, end) = (within(self.seen.start), within(self.seen.end));
        Window { start, straight: within(self.straight).clamp(start, end), end }
    }
}

impl Window {
    /// The cells of `n` positions that the row sees whole and in their own slots.
    pub(super) fn direct(self, n: usize) -> Range<usize> {
        let start = self.start.div_ceil(n);
        start..start.max(self.straight / n)
    }
}
