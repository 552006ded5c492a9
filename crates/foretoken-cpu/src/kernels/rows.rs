//! The operators that treat rows (or heads, or values) one by one, cut into even shares.
//!
//! All of them read and write a row once from the nearer caches; their time is that of a barrier.

use foretoken_tensor::{BufferId, KvType, MatrixId, VectorId};
use half::bf16;

use super::linear;
use crate::kv::KvElement;
use crate::pool::Worker;
use crate::run::Run;

/// `out[r] = table[token[r]]`.
pub(crate) fn embed(run: &Run<'_>, worker: &Worker<'_>, table: MatrixId, out: BufferId) {
    let matrix = &run.weights.matrices[table.index()];
    let width = matrix.cols();
    for row in worker.share(run.rows(out)) {
        // SAFETY: a row belongs to one worker's share.
        let out = unsafe { run.activations.write(out, row, 0..width) };
        matrix.read_row(run.pass.tokens[row] as usize, out);
    }
}

/// `out[r] = input[r]` of the pass.
pub(crate) fn input(run: &Run<'_>, worker: &Worker<'_>, out: BufferId) {
    let width = run.activations.spec(out).width;
    for row in worker.share(run.rows(out)) {
        let from = &run.pass.input[row * width..(row + 1) * width];
        // SAFETY: a row belongs to one worker's share.
        unsafe { run.activations.write(out, row, 0..width) }.copy_from_slice(from);
    }
}

/// A norm of each row, of `input` into `out`, and what the products of the operator behind it read.
pub(crate) fn rms_norm(
    run: &Run<'_>,
    worker: &Worker<'_>,
    (op, [input, out]): (usize, [BufferId; 2]),
    weight: VectorId,
    eps: f32,
) {
    let width = run.activations.spec(input).width;
    let forms = linear::forms_behind(run, op);
    let weight = &run.weights.vectors[weight.index()].0;
    for row in worker.share(run.rows(input)) {
        // SAFETY: nobody writes the input in this phase; a row of the output belongs to one share.
        unsafe {
            let to = run.activations.write(out, row, 0..width);
            to.copy_from_slice(run.activations.read(input, row, 0..width));
            (run.table.norm)(to, weight, eps);
            linear::prepare_row(run, forms, (out, row));
        }
    }
}

/// A norm of each head, in place.
pub(crate) fn head_norm(
    run: &Run<'_>,
    worker: &Worker<'_>,
    buffer: BufferId,
    weight: VectorId,
    eps: f32,
) {
    let weight = &run.weights.vectors[weight.index()].0;
    let heads = run.activations.spec(buffer).width / weight.len();
    for head in worker.share(run.rows(buffer) * heads) {
        let (row, head) = (head / heads, head % heads);
        let columns = head * weight.len()..(head + 1) * weight.len();
        // SAFETY: a head of a row belongs to one worker's share.
        let values = unsafe { run.activations.write(buffer, row, columns) };
        (run.table.norm)(values, weight, eps);
    }
}

/// Rotates each head, in place.
pub(crate) fn rotate(run: &Run<'_>, worker: &Worker<'_>, buffer: BufferId, head_size: usize) {
    let heads = run.activations.spec(buffer).width / head_size;
    let angles = run.pass.rotary_dims();
    for head in worker.share(run.rows(buffer) * heads) {
        let (row, head) = (head / heads, head % heads);
        let angles = &run.pass.rotation[row * angles..(row + 1) * angles];
        let (cos, sin) = angles.split_at(angles.len() / 2);
        let columns = head * head_size..(head + 1) * head_size;
        // SAFETY: a head of a row belongs to one worker's share.
        let values = unsafe { run.activations.write(buffer, row, columns) };
        (run.table.rotate)(values, cos, sin);
    }
}

/// Stores each row's keys and values in its slot.
pub(crate) fn store_kv(
    run: &Run<'_>,
    worker: &Worker<'_>,
    (keys, values): (BufferId, BufferId),
    layer: usize,
) {
    match run.kv.shape().kv_type {
        KvType::F32 => store_as::<f32>(run, worker, (keys, values), layer),
        KvType::Bf16 => store_as::<bf16>(run, worker, (keys, values), layer),
    }
}

/// Heads are the outer order: a cache line of keys holds neighbouring positions of one head, and
/// belongs to one worker that way.
fn store_as<W: KvElement>(
    run: &Run<'_>,
    worker: &Worker<'_>,
    (keys, values): (BufferId, BufferId),
    layer: usize,
) {
    let size = run.kv.shape().head_size;
    let rows = run.rows(keys);
    let share = worker.share(rows * run.kv.shape().kv_heads);
    for span in run.pass.spans() {
        for row in span.rows.range() {
            let slot = span.slot(span.base + row - span.rows.start as usize);
            let before = |bound: usize| bound.saturating_sub(row).div_ceil(rows);
            for head in before(share.start)..before(share.end) {
                let part = head * size..(head + 1) * size;
                // SAFETY: nobody writes keys and values in this phase. Slots of a pass are distinct and
                // the item `head * rows + row` belongs to one share; `W` is the store's type.
                unsafe {
                    let keys = run.activations.read(keys, row, part.clone());
                    let values = run.activations.read(values, row, part);
                    run.kv.store::<W>((layer, head), slot, keys, values);
                }
            }
        }
    }
}

/// `out[i] = input[source(i)]`.
pub(crate) fn copy(
    run: &Run<'_>,
    worker: &Worker<'_>,
    (input, out): (BufferId, BufferId),
    source: impl Fn(usize) -> usize,
) {
    let width = run.activations.spec(input).width;
    for row in worker.share(run.rows(out)) {
        let from = source(row);
        // SAFETY: nobody writes the input in this phase; a row of the output belongs to one share.
        unsafe {
            let from = run.activations.read(input, from, 0..width);
            run.activations.write(out, row, 0..width).copy_from_slice(from);
        }
    }
}
