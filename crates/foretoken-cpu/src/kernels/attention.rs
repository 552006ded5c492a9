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
//! The weighted sum takes values in *cells*, a position of f32 or two of bfloat16 (`2 j` and `2 j + 1`).
//! Cells whose positions a row sees whole and in their own slots are read where they are stored; of all
//! others the positions seen are gathered and the rest is zero, so that nothing foreign or stale, which
//! might be no number, meets even a weight of zero.
//!
//! Limits: for one row memory, whose next chunk is fetched while one is computed; from about eight
//! rows `2 * 64 * head_size / 16` links (half as many of pairs) per query and chunk.

mod scratch;

use std::ops::Range;
use std::sync::PoisonError;

use foretoken_tensor::{BufferId, CHUNK, KvType, Reach, Span};
use half::bf16;

use super::fma::Fma;
use crate::kv::{Input, KvElement, KvKernels};
use crate::pool::Worker;
use crate::run::Run;
use crate::simd::LANES;

pub(crate) use scratch::Scratch;
use scratch::{View, Window};

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

fn attend_item<E: KvElement>(run: &Run<'_>, worker: &Worker<'_>, op: Attention) {
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
        Some(Item::<E>::new(run, op, span, tile, head))
    });
    if let Some(item) = item {
        item.attend(&mut scratch);
    }
}

/// One KV head and some rows of one sequence.
struct Item<'a, E: KvElement> {
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
    kernels: KvKernels<E>,
}

impl<'a, E: KvElement> Item<'a, E> {
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
            kernels: E::kernels(run.table),
        }
    }

    /// Queries of the item: row by row, each row's `group` heads together.
    fn queries(&self) -> usize {
        self.tile.len() * self.group
    }

    fn attend(&self, scratch: &mut Scratch) {
        self.load_queries(scratch);
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
            self.attend_chunk(scratch, views, chunk, chunk + 1 < end);
        }
        self.finish(scratch);
    }

    /// Cells of a head.
    fn head_cells(&self) -> usize {
        self.head_size.div_ceil(E::PER_CELL)
    }

    /// Scales the queries and makes inputs of them.
    fn load_queries(&self, scratch: &mut Scratch) {
        let inputs = bytemuck::cast_slice_mut::<u32, Input<E>>(&mut scratch.queries);
        for (query, to) in (0..self.queries()).zip(inputs.chunks_exact_mut(self.head_cells())) {
            let (row, head) = self.place(query);
            // SAFETY: queries are complete and no worker writes them in this phase, unless the output
            // is the same buffer; then this item alone uses these heads of these rows.
            let from = unsafe { self.run.activations.read(self.op.queries, row, head) };
            let scaled = &mut scratch.scaled[..self.head_size];
            for (to, from) in scaled.iter_mut().zip(from) {
                *to = from * self.op.scale;
            }
            (self.kernels.round)(scaled, to);
        }
    }

    /// The row of the pass and the columns of a query.
    fn place(&self, query: usize) -> (usize, Range<usize>) {
        let row = self.span.rows.start as usize + self.tile.start + query / self.group;
        let head = self.head * self.group + query % self.group;
        (row, head * self.head_size..(head + 1) * self.head_size)
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

    /// The keys of a block of the sequence.
    fn keys(&self, block: usize) -> &[E::Cell] {
        // SAFETY: the store's type is `E`, see `attention`; nobody writes the store in this phase.
        unsafe { self.run.kv.keys::<E>(self.span.blocks[block], self.op.layer, self.head) }
    }

    /// The values of a block of the sequence.
    fn values(&self, block: usize) -> &[E::Cell] {
        // SAFETY: as above.
        unsafe { self.run.kv.values::<E>(self.span.blocks[block], self.op.layer, self.head) }
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
            let keys = self.keys(first + block);
            let scores = &mut scratch.drafted[block * CHUNK..];
            self.score(&scratch.queries, keys, &[], CHUNK / LANES, (scores, stride));
        }
    }

    /// Adds the scores of a block's first keys to zeroed `scores`; `next` is fetched meanwhile.
    fn score(
        &self,
        queries: &[u32],
        keys: &[E::Cell],
        next: &[E::Cell],
        panels: usize,
        (scores, stride): (&mut [f32], usize),
    ) {
        (self.kernels.tile)(Fma {
            rows: self.queries(),
            panels,
            steps: self.head_cells(),
            x: bytemuck::cast_slice(queries),
            x_stride: self.head_cells(),
            w: keys,
            w_panel: LANES,
            w_step: CHUNK,
            next,
            acc: scores,
            acc_stride: stride,
        });
    }

    fn attend_chunk(&self, scratch: &mut Scratch, views: &[View], chunk: usize, more: bool) {
        let mut windows = [Window::default(); TILE_ROWS];
        for (window, view) in windows.iter_mut().zip(views) {
            *window = view.window(chunk);
        }
        let windows = &windows[..views.len()];
        // Memory delivers about as fast as one row computes, so the next chunk is asked for evenly: its
        // keys during the scores, its values during the exponentials and the merge.
        let (next_keys, next_values) =
            if more { (self.keys(chunk + 1), self.values(chunk + 1)) } else { Default::default() };
        let (soon, later) = next_values.split_at(next_values.len() / 2);
        scratch.scores[..self.queries() * CHUNK].fill(0.0);
        let straight = windows.iter().filter(|w| w.start < w.straight).map(|w| w.straight).max();
        if let Some(straight) = straight {
            let (keys, panels) = (self.keys(chunk), straight.div_ceil(LANES));
            self.score(&scratch.queries, keys, next_keys, panels, (&mut scratch.scores, CHUNK));
        }
        for (row, (view, window)) in views.iter().zip(windows).enumerate() {
            self.pick_drafted(scratch, row, view, *window, chunk);
            if window.start < window.end {
                self.exponentiate(scratch, row, window.start..window.end, soon);
            }
        }
        self.weigh(scratch, views, windows, chunk);
        for (row, (view, window)) in views.iter().zip(windows).enumerate() {
            if window.start < window.end {
                self.merge(scratch, row, view.seen.start / CHUNK == chunk, later);
            }
        }
    }

    /// Fetches what belongs to a query when all of them share the fetching of `next`.
    fn prefetch(&self, next: &[E::Cell], query: usize) {
        let bytes = bytemuck::cast_slice::<E::Cell, u8>(next);
        let at = |query| bytes.len() * query / self.queries() / 64 * 64;
        (self.run.table.prefetch)(&bytes[at(query)..at(query + 1)]);
    }

    /// Turns a row's scores into weights; `next` is fetched meanwhile.
    fn exponentiate(
        &self,
        scratch: &mut Scratch,
        row: usize,
        seen: Range<usize>,
        next: &[E::Cell],
    ) {
        let (scores, _) = scratch.scores.as_chunks_mut::<CHUNK>();
        let weights = bytemuck::cast_slice_mut::<u32, Input<E>>(&mut scratch.weights);
        let (scores, weights) = (scores.iter_mut(), weights.chunks_exact_mut(CHUNK / E::PER_CELL));
        let states = scores.zip(weights).zip(&mut scratch.later).enumerate();
        for (query, ((scores, weights), later)) in states.skip(row * self.group).take(self.group) {
            self.prefetch(next, query);
            *later = (self.kernels.softmax)(scores, seen.clone(), weights);
        }
    }

    /// The slot of a position of a chunk that a row sees.
    fn slot(
        &self,
        scratch: &Scratch,
        view: &View,
        window: Window,
        (chunk, position): (usize, usize),
    ) -> usize {
        let absolute = chunk * CHUNK + position;
        if position < window.straight {
            absolute
        } else {
            self.span.base + scratch.path[view.path + absolute - view.straight] as usize
        }
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
            let slot = self.slot(scratch, view, window, (chunk, position));
            for query in row * self.group..(row + 1) * self.group {
                scratch.scores[query * CHUNK + position] =
                    scratch.drafted[query * self.drafted_stride() + slot - origin];
            }
        }
    }

    /// Sums the weighted values of a chunk. Cells that every row reads where they are stored are loaded
    /// once for all, those before and behind them by each row alone.
    fn weigh(&self, scratch: &mut Scratch, views: &[View], windows: &[Window], chunk: usize) {
        scratch.chunk[..self.queries() * self.padded].fill(0.0);
        let direct = |window: &Window| window.direct(E::PER_CELL);
        let start = windows.iter().map(|w| direct(w).start).max().unwrap_or(0);
        let end = windows.iter().map(|w| direct(w).end).min().unwrap_or(0);
        let shared = if start < end { start..end } else { CHUNK..CHUNK };
        for (row, (view, window)) in views.iter().zip(windows).enumerate() {
            let direct = direct(window);
            let first = window.start / E::PER_CELL..direct.start;
            self.weigh_gathered(scratch, (row, view, *window), chunk, first);
            let before = direct.start..direct.end.min(shared.start);
            self.weigh_direct(scratch, row..row + 1, chunk, before);
        }
        self.weigh_direct(scratch, 0..windows.len(), chunk, shared.clone());
        for (row, (view, window)) in views.iter().zip(windows).enumerate() {
            let direct = direct(window);
            let behind = direct.start.max(shared.end)..direct.end;
            self.weigh_direct(scratch, row..row + 1, chunk, behind);
            let last = direct.end..window.end.div_ceil(E::PER_CELL);
            self.weigh_gathered(scratch, (row, view, *window), chunk, last);
        }
    }

    /// Adds cells in place for the queries of `rows`.
    fn weigh_direct(
        &self,
        scratch: &mut Scratch,
        rows: Range<usize>,
        chunk: usize,
        cells: Range<usize>,
    ) {
        if !cells.is_empty() {
            let values = &self.values(chunk)[cells.start * self.padded..];
            self.add(&scratch.weights, &mut scratch.chunk, rows, cells, values);
        }
    }

    /// Adds cells put together from what the row sees of them.
    fn weigh_gathered(
        &self,
        scratch: &mut Scratch,
        (row, view, window): (usize, &View, Window),
        chunk: usize,
        cells: Range<usize>,
    ) {
        if cells.is_empty() {
            return;
        }
        let (n, padded) = (E::PER_CELL, self.padded);
        let mut gathered = std::mem::take(&mut scratch.gathered);
        let values = bytemuck::cast_slice_mut::<u32, E>(&mut gathered);
        let positions = cells.start * n..cells.end * n;
        for (i, position) in positions.enumerate() {
            let to = values[i / n * n * padded..][..n * padded].iter_mut().skip(i % n).step_by(n);
            if (window.start..window.end).contains(&position) {
                let slot = self.slot(scratch, view, window, (chunk, position));
                let cells = &self.values(slot / CHUNK)[slot % CHUNK / n * padded..][..padded];
                let from =
                    bytemuck::cast_slice::<E::Cell, E>(cells).iter().skip(slot % n).step_by(n);
                to.zip(from).for_each(|(to, from)| *to = *from);
            } else {
                to.for_each(|to| *to = E::zeroed());
            }
        }
        let values = bytemuck::cast_slice(&gathered);
        self.add(&scratch.weights, &mut scratch.chunk, row..row + 1, cells, values);
        scratch.gathered = gathered;
    }

    /// Adds the weighted `values`, which begin at `cells.start`, for the queries of `rows`.
    fn add(
        &self,
        weights: &[u32],
        sums: &mut [f32],
        rows: Range<usize>,
        cells: Range<usize>,
        values: &[E::Cell],
    ) {
        let (query, stride) = (rows.start * self.group, CHUNK / E::PER_CELL);
        (self.kernels.tile)(Fma {
            rows: rows.len() * self.group,
            panels: self.padded / LANES,
            steps: cells.len(),
            x: &bytemuck::cast_slice(weights)[query * stride + cells.start..],
            x_stride: stride,
            w: values,
            w_panel: LANES,
            w_step: self.padded,
            next: &[],
            acc: &mut sums[query * self.padded..],
            acc_stride: self.padded,
        });
    }

    /// Merges a row's chunk into its total; the first chunk is the total. `next` is fetched meanwhile.
    fn merge(&self, scratch: &mut Scratch, row: usize, first: bool, next: &[E::Cell]) {
        let queries = row * self.group..(row + 1) * self.group;
        let vectors = queries.start * self.padded..queries.end * self.padded;
        let (total, chunk) = (&mut scratch.total[vectors.clone()], &scratch.chunk[vectors]);
        let states = &mut scratch.state[queries.clone()];
        let (later, factors) =
            (&scratch.later[queries.clone()], &mut scratch.factors[queries.clone()]);
        for query in queries {
            self.prefetch(next, query);
        }
        if first {
            total.copy_from_slice(chunk);
            states.copy_from_slice(later);
            return;
        }
        (self.run.table.merge_states)(states, later, factors);
        let vectors = total.chunks_exact_mut(self.padded).zip(chunk.chunks_exact(self.padded));
        for ((total, chunk), [a, b]) in vectors.zip(factors) {
            (self.run.table.merge)(total, chunk, *a, *b);
        }
    }

    /// Divides by the sums and writes the result.
    fn finish(&self, scratch: &Scratch) {
        for query in 0..self.queries() {
            let (row, head) = self.place(query);
            // SAFETY: this item alone writes these heads of these rows.
            let out = unsafe { self.run.activations.write(self.op.out, row, head) };
            let total = &scratch.total[query * self.padded..];
            for (out, total) in out.iter_mut().zip(total) {
                *out = total / scratch.state[query].sum;
            }
        }
    }
}
