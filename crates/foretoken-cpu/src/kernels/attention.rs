//! Grouped-query attention over blocks of stored keys and values.
//!
//! A work item is one KV head and up to eight rows of one sequence: with `group` query heads per KV
//! head these are `rows * group` queries that share every load of keys and values. Chunk by chunk of
//! absolute positions: scores (the fma tile with keys in the lanes), exponentials, weighted values
//! (the fma tile with head dimensions in the lanes), merge. A row's chain of operations is that of
//! the row alone; sharing changes who loads, never what is added to what.
//!
//! The positions of a row up to the *trunk*, the leading nodes of the tree from which all others
//! descend, lie in slots of the same number, so a prefill and a chain are one plain sweep. Behind the
//! trunk slots and positions differ: every slot of those blocks is scored once, and the row's path
//! picks its scores and gathers its values in the order of positions.
//!
//! Limits: `2 * 64 * head_size / 16` fma per query and chunk against `2 * 64 * head_size` stored values
//! read per KV head and chunk: bound by memory for one row of a long context, by fma from about eight.

use std::ops::Range;
use std::sync::PoisonError;

use foretoken_tensor::arithmetic::Softmax;
use foretoken_tensor::{BufferId, CHUNK, KvType, Reach, Span};
use half::bf16;

use super::fma::Fma;
use crate::kv::KvElement;
use crate::pool::Worker;
use crate::run::Run;
use crate::simd::LANES;

/// Rows of a work item.
pub(crate) const TILE_ROWS: usize = 8;

/// The operator's fields.
#[derive(Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) queries: BufferId,
    pub(crate) layer: usize,
    pub(crate) reach: Reach,
    pub(crate) scale: f32,
    pub(crate) out: BufferId,
}

/// Working memory of one worker.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// `[queries][head_size]`, scaled.
    queries: Vec<f32>,
    /// `[queries][CHUNK]`: scores, then exponentials, of the chunk of the moment.
    scores: Vec<f32>,
    /// `[queries][slots]`: scores of the slots behind the trunk, from the start of their first block.
    drafted: Vec<f32>,
    /// `[queries][padded head]`: weighted values of the chunk of the moment.
    chunk: Vec<f32>,
    /// `[queries][padded head]`: weighted values of the chunks so far.
    total: Vec<f32>,
    /// `[queries]`
    state: Vec<Softmax>,
    /// `[queries]`, of the chunk of the moment.
    later: Vec<Softmax>,
    /// Nodes of each row's path behind the trunk, row after row.
    path: Vec<u32>,
}

impl Scratch {
    /// Makes room for a pass of up to `rows` rows with `group` queries per KV head.
    pub(crate) fn reserve(&mut self, rows: usize, group: usize, head: usize) {
        let queries = TILE_ROWS * group;
        let padded = head.next_multiple_of(LANES);
        grow(&mut self.queries, queries * head);
        grow(&mut self.scores, queries * CHUNK);
        grow(&mut self.drafted, queries * (rows.div_ceil(CHUNK) + 1) * CHUNK);
        grow(&mut self.chunk, queries * padded);
        grow(&mut self.total, queries * padded);
        self.path.clear();
        self.path.reserve(TILE_ROWS * rows);
        for states in [&mut self.state, &mut self.later] {
            states.resize(states.len().max(queries), Softmax { max: 0.0, sum: 0.0 });
        }
    }
}

fn grow(values: &mut Vec<f32>, len: usize) {
    if values.len() < len {
        values.resize(len, 0.0);
    }
}

/// What one row of a work item sees.
#[derive(Debug, Clone, Default)]
struct View {
    /// Positions seen.
    seen: Range<usize>,
    /// Positions below this lie in slots of the same number.
    straight: usize,
    /// Where the row's nodes behind the trunk begin in [`Scratch::path`].
    path: usize,
}

/// A row's part of one chunk, in positions from the chunk's start.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    start: usize,
    /// End of the part in slots of the same number.
    straight: usize,
    end: usize,
}

impl View {
    fn window(&self, chunk: usize) -> Window {
        let within = |position: usize| position.saturating_sub(chunk * CHUNK).min(CHUNK);
        let (start, end) = (within(self.seen.start), within(self.seen.end));
        Window { start, straight: within(self.straight).clamp(start, end), end }
    }
}

/// Units of the operator: tiles of rows times KV heads.
pub(crate) fn units(run: &Run<'_>) -> usize {
    let tiles = run.pass.spans().map(|span| span.depth.len().div_ceil(TILE_ROWS)).sum::<usize>();
    tiles * run.kv.shape().kv_heads
}

/// Does a unit.
pub(crate) fn attention(run: &Run<'_>, worker: &Worker<'_>, op: Attention) {
    match run.kv.shape().kv_type {
        KvType::F32 => attend_item::<f32>(run, worker, op),
        KvType::Bf16 => attend_item::<bf16>(run, worker, op),
    }
}

fn attend_item<W: KvElement>(run: &Run<'_>, worker: &Worker<'_>, op: Attention) {
    let heads = run.kv.shape().kv_heads;
    let index = worker.index();
    let mut scratch = run.activations.scratch[index].lock().unwrap_or_else(PoisonError::into_inner);
    let mut unit = worker.unit();
    let item = run.pass.spans().find_map(|span| {
        let rows = span.depth.len();
        let items = rows.div_ceil(TILE_ROWS) * heads;
        if unit >= items {
            unit -= items;
            return None;
        }
        let (tile, head) = (unit / heads, unit % heads);
        let tile = tile * TILE_ROWS..rows.min((tile + 1) * TILE_ROWS);
        Some(Item::<W>::new(run, op, span, tile, head))
    });
    if let Some(item) = item {
        item.attend(&mut scratch);
    }
}

/// One KV head and some rows of one sequence.
struct Item<'a, W> {
    run: &'a Run<'a>,
    op: Attention,
    span: Span<'a>,
    /// Rows within the span.
    tile: Range<usize>,
    /// KV head.
    head: usize,
    /// Queries per KV head.
    group: usize,
    head_size: usize,
    padded: usize,
    /// Leading nodes of the tree from which all others descend.
    trunk: usize,
    kernel: fn(Fma<'_, W>),
}

impl<'a, W: KvElement> Item<'a, W> {
    fn new(
        run: &'a Run<'a>,
        op: Attention,
        span: Span<'a>,
        tile: Range<usize>,
        head: usize,
    ) -> Self {
        let shape = run.kv.shape();
        let rows = span.depth.len();
        let whole = |end: &&u32| **end as usize == rows;
        Self {
            run,
            op,
            trunk: span.subtree_end.iter().take_while(whole).count(),
            span,
            tile,
            head,
            group: run.activations.spec(op.queries).width / (shape.head_size * shape.kv_heads),
            head_size: shape.head_size,
            padded: run.kv.padded_head(),
            kernel: W::kernel(run.table),
        }
    }

    /// Queries of the item: row by row, each row's `group` heads together.
    fn queries(&self) -> usize {
        self.tile.len() * self.group
    }

    fn attend(&self, scratch: &mut Scratch) {
        self.load_queries(&mut scratch.queries);
        let mut views: [View; TILE_ROWS] = Default::default();
        let views = &mut views[..self.tile.len()];
        scratch.path.clear();
        for (view, row) in views.iter_mut().zip(self.tile.clone()) {
            *view = self.view(row, &mut scratch.path);
        }
        if self.tile.end > self.trunk {
            self.score_drafted(scratch);
        }
        let first = views.iter().map(|view| view.seen.start / CHUNK).min().unwrap_or(0);
        let end = views.iter().map(|view| view.seen.end.div_ceil(CHUNK)).max().unwrap_or(0);
        for chunk in first..end {
            self.attend_chunk(scratch, views, chunk);
        }
        self.finish(scratch);
    }

    /// Copies and scales the queries.
    fn load_queries(&self, queries: &mut [f32]) {
        let width = self.group * self.head_size;
        for (row, to) in self.tile.clone().zip(queries.chunks_exact_mut(width)) {
            let row = self.span.rows.start as usize + row;
            let heads = self.head * width..(self.head + 1) * width;
            // SAFETY: queries are complete and no worker writes them in this phase, unless the output
            // is the same buffer; then this item alone uses these heads of these rows.
            let from = unsafe { self.run.activations.read(self.op.queries, row, heads) };
            for (to, from) in to.iter_mut().zip(from) {
                *to = from * self.op.scale;
            }
        }
    }

    /// What `row` sees; appends its nodes behind the trunk to `path`.
    fn view(&self, row: usize, path: &mut Vec<u32>) -> View {
        let end = self.span.position(row) + 1;
        let start = match self.op.reach {
            Reach::Full => 0,
            Reach::Window(positions) => end.saturating_sub(positions as usize),
        };
        let straight = self.span.base + self.trunk.min(row + 1);
        let view = View { seen: start..end, straight, path: path.len() };
        let mut node = self.trunk;
        while node <= row {
            let subtree_end = self.span.subtree_end[node] as usize;
            if subtree_end > row {
                path.push(node as u32);
                node += 1;
            } else {
                node = subtree_end;
            }
        }
        view
    }

    /// The values of a block of the sequence.
    fn values(&self, block: usize) -> &[W] {
        // SAFETY: the store's type is `W`, see `attention`; nobody writes the store in this phase.
        unsafe { self.run.kv.values(self.span.blocks[block], self.op.layer, self.head) }
    }

    /// First block with slots behind the trunk.
    fn drafted_block(&self) -> usize {
        (self.span.base + self.trunk) / CHUNK
    }

    /// Length of a query's scores in [`Scratch::drafted`].
    fn drafted_stride(&self) -> usize {
        ((self.span.base + self.tile.end).div_ceil(CHUNK) - self.drafted_block()) * CHUNK
    }

    /// Scores every slot of the blocks behind the trunk.
    fn score_drafted(&self, scratch: &mut Scratch) {
        let (first, stride) = (self.drafted_block(), self.drafted_stride());
        scratch.drafted[..self.queries() * stride].fill(0.0);
        for block in 0..stride / CHUNK {
            let scores = &mut scratch.drafted[block * CHUNK..];
            self.score(&scratch.queries, first + block, CHUNK / LANES, scores, stride);
        }
    }

    /// Adds the scores of a block's first keys to zeroed `scores`.
    fn score(
        &self,
        queries: &[f32],
        block: usize,
        panels: usize,
        scores: &mut [f32],
        stride: usize,
    ) {
        // SAFETY: the store's type is `W`, see `attention`; nobody writes the store in this phase.
        let keys = unsafe { self.run.kv.keys(self.span.blocks[block], self.op.layer, self.head) };
        (self.kernel)(Fma {
            rows: self.queries(),
            panels,
            steps: self.head_size,
            x: queries,
            x_stride: self.head_size,
            w: keys,
            w_panel: LANES,
            w_step: CHUNK,
            ahead: 0,
            acc: scores,
            acc_stride: stride,
        });
    }

    fn attend_chunk(&self, scratch: &mut Scratch, views: &[View], chunk: usize) {
        let mut windows = [Window::default(); TILE_ROWS];
        for (window, view) in windows.iter_mut().zip(views) {
            *window = view.window(chunk);
        }
        let windows = &windows[..views.len()];
        scratch.scores[..self.queries() * CHUNK].fill(0.0);
        let straight = windows.iter().filter(|w| w.start < w.straight).map(|w| w.straight).max();
        if let Some(straight) = straight {
            let panels = straight.div_ceil(LANES);
            self.score(&scratch.queries, chunk, panels, &mut scratch.scores, CHUNK);
        }
        scratch.chunk[..self.queries() * self.padded].fill(0.0);
        for (row, (view, window)) in views.iter().zip(windows).enumerate() {
            self.pick_drafted(scratch, row, view, *window, chunk);
            let (scores, _) = scratch.scores.as_chunks_mut::<CHUNK>();
            let queries = row * self.group..(row + 1) * self.group;
            if window.start < window.end {
                for (scores, later) in
                    scores[queries.clone()].iter_mut().zip(&mut scratch.later[queries])
                {
                    *later = (self.run.table.softmax)(scores, window.start..window.end);
                }
            }
        }
        self.weigh_straight(scratch, windows, chunk);
        for (row, (view, window)) in views.iter().zip(windows).enumerate() {
            self.weigh_drafted(scratch, row, view, *window, chunk);
            if window.start < window.end {
                self.merge(scratch, row, view.seen.start / CHUNK == chunk);
            }
        }
    }

    /// The slot of a row's position behind the trunk.
    fn drafted_slot(&self, scratch: &Scratch, view: &View, position: usize) -> usize {
        self.span.base + scratch.path[view.path + position - view.straight] as usize
    }

    /// Puts the scores of a row's drafted positions in their places.
    fn pick_drafted(
        &self,
        scratch: &mut Scratch,
        row: usize,
        view: &View,
        window: Window,
        chunk: usize,
    ) {
        let origin = self.drafted_block() * CHUNK;
        for position in window.straight..window.end {
            let slot = self.drafted_slot(scratch, view, chunk * CHUNK + position);
            for query in row * self.group..(row + 1) * self.group {
                scratch.scores[query * CHUNK + position] =
                    scratch.drafted[query * self.drafted_stride() + slot - origin];
            }
        }
    }

    /// Adds the weighted values of the positions whose slots have the same number. Those that every row
    /// sees are loaded once for all; before and behind them each row goes alone.
    fn weigh_straight(&self, scratch: &mut Scratch, windows: &[Window], chunk: usize) {
        let start = windows.iter().map(|w| w.start).max().unwrap_or(0);
        let end = windows.iter().map(|w| w.straight).min().unwrap_or(0);
        let (start, end) = if start < end { (start, end) } else { (CHUNK, CHUNK) };
        for (row, window) in windows.iter().enumerate() {
            self.weigh(
                scratch,
                row..row + 1,
                window.start..window.straight.min(start),
                chunk * CHUNK,
            );
        }
        self.weigh(scratch, 0..windows.len(), start..end, chunk * CHUNK);
        for (row, window) in windows.iter().enumerate() {
            self.weigh(scratch, row..row + 1, end..window.straight, chunk * CHUNK);
        }
    }

    /// Adds the weighted values of a row's drafted positions, in order.
    fn weigh_drafted(
        &self,
        scratch: &mut Scratch,
        row: usize,
        view: &View,
        window: Window,
        chunk: usize,
    ) {
        for position in window.straight..window.end {
            let slot = self.drafted_slot(scratch, view, chunk * CHUNK + position);
            // The slot of the chunk's start, were the slots consecutive; may lie before slot 0.
            let origin = slot.wrapping_sub(position);
            self.weigh(scratch, row..row + 1, position..position + 1, origin);
        }
    }

    /// Adds the weighted values of `positions` (from the chunk's start) for the queries of `rows`;
    /// position `p` lies in slot `origin + p`, all in one block.
    fn weigh(
        &self,
        scratch: &mut Scratch,
        rows: Range<usize>,
        positions: Range<usize>,
        origin: usize,
    ) {
        if positions.is_empty() {
            return;
        }
        let slot = origin.wrapping_add(positions.start);
        let values = &self.values(slot / CHUNK)[slot % CHUNK * self.padded..];
        let query = rows.start * self.group;
        (self.kernel)(Fma {
            rows: rows.len() * self.group,
            panels: self.padded / LANES,
            steps: positions.len(),
            x: &scratch.scores[query * CHUNK + positions.start..],
            x_stride: CHUNK,
            w: values,
            w_panel: LANES,
            w_step: self.padded,
            ahead: 0,
            acc: &mut scratch.chunk[query * self.padded..],
            acc_stride: self.padded,
        });
    }

    /// Merges a row's chunk into its total; the first chunk is the total.
    fn merge(&self, scratch: &mut Scratch, row: usize, first: bool) {
        for query in row * self.group..(row + 1) * self.group {
            let vector = query * self.padded..(query + 1) * self.padded;
            let (total, chunk) = (&mut scratch.total[vector.clone()], &scratch.chunk[vector]);
            let (state, later) = (&mut scratch.state[query], scratch.later[query]);
            if first {
                total.copy_from_slice(chunk);
                *state = later;
            } else {
                let (merged, a, b) = state.merge(later);
                *state = merged;
                (self.run.table.merge)(total, chunk, a, b);
            }
        }
    }

    /// Divides by the sums and writes the result.
    fn finish(&self, scratch: &Scratch) {
        for query in 0..self.queries() {
            let row = self.span.rows.start as usize + self.tile.start + query / self.group;
            let head = self.head * self.group + query % self.group;
            let head = head * self.head_size..(head + 1) * self.head_size;
            // SAFETY: this item alone writes these heads of these rows.
            let out = unsafe { self.run.activations.write(self.op.out, row, head) };
            let total = &scratch.total[query * self.padded..];
            for (out, total) in out.iter_mut().zip(total) {
                *out = total / scratch.state[query].sum;
            }
        }
    }
}
