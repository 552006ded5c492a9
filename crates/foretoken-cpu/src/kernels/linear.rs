//! Projections: quantise or round the input once if any weight asks for it, then all parts in one phase.
//! A norm before them does the former with each row it writes.
//!
//! `[rows, inputs] x [outputs, inputs]^T`, weights in panels of sixteen outputs (see
//! [`pack`](crate::pack)). Work is cut into units of up to four panels and all rows; a unit streams its
//! weights from memory once, whatever the number of rows: rows go in blocks of 64, and kernels cut the panels
//! along the inputs so that each cut stays in the nearer caches while the rows pass over it.
//! Threads claim units, so a slow one does fewer.

use std::ops::Range;

use foretoken_tensor::arithmetic::GROUP;
use foretoken_tensor::{Affine, BufferId, Op, Projection, WeightFormat, Write};

use super::dot::{Dot, LINE, Next, Quants};
use super::fma::{Fma, Weight};
use super::q4_0::Q4_0;
use super::q4_k::Q4K;
use super::q5_k::Q5K;
use super::q6_k::Q6K;
use super::q8_0::Q8_0;
use super::quantize::Quantize;
use crate::activations::quantized_stride;
use crate::pack::CpuMatrix;
use crate::pool::Worker;
use crate::run::Run;
use crate::simd::LANES;

/// Panels of a unit.
const PANELS: usize = 4;
/// Rows that share a unit's weights in one sweep.
const ROWS: usize = 64;

/// Products of a unit, `[ROWS][PANELS * 16]`.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Accumulators(pub(super) [f32; ROWS * WIDTH]);

impl Default for Accumulators {
    fn default() -> Self {
        Self([0.0; ROWS * WIDTH])
    }
}

/// Outputs of a unit.
pub(super) const WIDTH: usize = PANELS * LANES;

/// Part of one matrix, for some rows of the input.
struct Unit<'a> {
    matrix: &'a CpuMatrix,
    panels: Range<usize>,
    rows: Range<usize>,
    input: BufferId,
}

/// Units that [`prepare`] the input of the operator at `index`, if any weight asks for that.
pub(crate) fn prepare_units(run: &Run<'_>, index: usize, workers: usize) -> usize {
    let op = &run.program.ops()[index];
    match (input(op), forms(run, op)) {
        (Some(_), Forms { quantized: false, rounded: false }) | (None, _) => 0,
        (Some(input), _) if index > 0 && norm_of(run, index - 1) == Some(input) => 0,
        (Some(input), _) => run.shares(input, workers),
    }
}

/// What the operator at `index` writes, if it is a norm: its rows are prepared as they are written.
fn norm_of(run: &Run<'_>, index: usize) -> Option<BufferId> {
    match run.program.ops()[index] {
        Op::RmsNorm { out, .. } => Some(out),
        _ => None,
    }
}

/// What the products of an operator read.
pub(crate) fn input(op: &Op) -> Option<BufferId> {
    match op {
        Op::Linear { input, .. } | Op::SwiGlu { input, .. } => Some(*input),
        _ => None,
    }
}

/// What the weights of an operator read besides its input.
#[derive(Default, Clone, Copy)]
pub(crate) struct Forms {
    quantized: bool,
    rounded: bool,
}

/// The forms in which the operator behind the norm at `index` reads what the norm writes.
pub(crate) fn forms_behind(run: &Run<'_>, index: usize) -> Forms {
    match run.program.ops().get(index + 1) {
        Some(op) if input(op) == norm_of(run, index) => forms(run, op),
        _ => Forms::default(),
    }
}

fn forms(run: &Run<'_>, op: &Op) -> Forms {
    let mut forms = Forms::default();
    let mut add = |map: &Affine| {
        let matrix = run.matrix(map);
        forms.quantized |= matrix.is_quantized();
        forms.rounded |= matrix.format() == WeightFormat::Bf16;
    };
    match op {
        Op::Linear { parts, .. } => parts.iter().for_each(|part| add(&part.map)),
        Op::SwiGlu { gate, up, .. } => [gate, up].into_iter().for_each(add),
        _ => {}
    }
    forms
}

/// Prepares a share of the input rows in the forms that the weights read, split by groups.
pub(crate) fn prepare(run: &Run<'_>, worker: &Worker<'_>, op: &Op) {
    let Some(input) = input(op) else { return };
    let forms = forms(run, op);
    let groups = groups(run, input);
    let mut share = worker.share(run.rows(input) * groups);
    while !share.is_empty() {
        let (row, first) = (share.start / groups, share.start % groups);
        let end = share.end.min((row + 1) * groups);
        // SAFETY: the input is complete and no worker writes it in this phase; each group is prepared
        // by the one worker whose share holds it.
        unsafe { prepare_groups(run, forms, (input, row), first..first + end - share.start) };
        share.start = end;
    }
}

/// Prepares a row.
///
/// # Safety
/// The row is complete, and nobody else prepares it or reads its other forms in this phase.
pub(crate) unsafe fn prepare_row(run: &Run<'_>, forms: Forms, (input, row): (BufferId, usize)) {
    // SAFETY: passed on.
    unsafe { prepare_groups(run, forms, (input, row), 0..groups(run, input)) }
}

/// Groups of a row, those that pad its last block included.
fn groups(run: &Run<'_>, input: BufferId) -> usize {
    run.activations.spec(input).width.next_multiple_of(LINE) / GROUP
}

/// Prepares some groups of a row.
///
/// # Safety
/// As of [`prepare_row`], for these groups.
unsafe fn prepare_groups(
    run: &Run<'_>,
    forms: Forms,
    (input, row): (BufferId, usize),
    groups: Range<usize>,
) {
    let width = run.activations.spec(input).width;
    let columns = width.min(groups.start * GROUP)..width.min(groups.end * GROUP);
    // SAFETY: passed on; the ranges are those of the groups.
    unsafe {
        let x = run.activations.read(input, row, columns.clone());
        if forms.quantized {
            let target = &run.activations.quantized;
            let first = row * quantized_stride(width) / GROUP;
            let groups = first + groups.start..first + groups.end;
            (run.table.quantize)(Quantize {
                x,
                quants: target.values.part(groups.start * GROUP..groups.end * GROUP),
                groups: target.groups.part(groups),
            });
        }
        if forms.rounded {
            let target = &run.activations.rounded;
            let first = row * target.stride;
            let pairs = first + columns.start / 2..first + columns.end.div_ceil(2);
            (run.table.round)(x, target.pairs.part(pairs));
        }
    }
}

/// Units of the operator.
pub(crate) fn units(run: &Run<'_>, parts: &[Projection], workers: usize) -> usize {
    let all = parts.iter().map(|part| run.matrix(&part.map).panels());
    let per_unit = panels_per_unit(all.clone().sum(), workers);
    all.map(|panels| panels.div_ceil(per_unit)).sum()
}

/// Fewer when there are too few to keep every worker busy to the end.
pub(super) fn panels_per_unit(panels: usize, workers: usize) -> usize {
    (panels / (4 * workers)).clamp(1, PANELS)
}

/// Does a unit.
pub(crate) fn linear(
    run: &Run<'_>,
    worker: &Worker<'_>,
    (op, input): (usize, BufferId),
    parts: &[Projection],
) {
    let panels = |part: &Projection| run.matrix(&part.map).panels();
    let per_unit = panels_per_unit(parts.iter().map(panels).sum(), worker.workers());
    let mut unit = worker.unit();
    let part = parts.iter().find(|part| {
        let units = panels(part).div_ceil(per_unit);
        let found = unit < units;
        if !found {
            unit -= units;
        }
        found
    });
    let Some(part) = part else { return };
    let start = unit * per_unit;
    let panels = start..panels(part).min(start + per_unit);
    let later = parts.iter().skip_while(|other| other.out != part.out).map(|part| &part.map);
    let next = following(run, op, later, start + per_unit * worker.workers());
    let [acc, _] = &mut *run.activations.accumulators(worker.index());
    for rows in row_blocks(run.rows(input)) {
        multiply(run, (input, &part.map), (rows.clone(), panels.clone()), next, acc);
        finish(run, part, (rows, panels.clone()), acc);
    }
}

/// What a worker is likely to read after a unit: `panel` of the first matrix, or as far behind its end
/// in the next ones, of the operator or of a later one. Units go to the workers roughly in turns.
pub(super) fn following<'a>(
    run: &'a Run<'_>,
    op: usize,
    maps: impl Iterator<Item = &'a Affine>,
    mut panel: usize,
) -> Next<'a> {
    let later = run.program.ops()[op + 1..].iter().filter_map(first_map);
    for matrix in maps.chain(later).map(|map| run.matrix(map)) {
        if panel < matrix.panels() {
            return if matrix.is_quantized() {
                Next {
                    weights: matrix.integers(panel..matrix.panels()),
                    panel: matrix.panel_bytes(),
                }
            } else {
                Next::default()
            };
        }
        panel -= matrix.panels();
    }
    Next::default()
}

fn first_map(op: &Op) -> Option<&Affine> {
    match op {
        Op::Linear { parts, .. } => parts.first().map(|part| &part.map),
        Op::SwiGlu { gate, .. } => Some(gate),
        _ => None,
    }
}

/// Rows that share a sweep over the weights.
pub(super) fn row_blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(ROWS).map(move |start| start..rows.min(start + ROWS))
}

/// What a map makes of some rows, for the outputs of some panels, by row.
pub(super) fn multiply(
    run: &Run<'_>,
    (input, map): (BufferId, &Affine),
    (rows, panels): (Range<usize>, Range<usize>),
    next: Next<'_>,
    acc: &mut Accumulators,
) {
    let acc = &mut acc.0[..rows.len() * WIDTH];
    acc.fill(0.0);
    let unit = &Unit { matrix: run.matrix(map), panels, rows, input };
    match unit.matrix.format() {
        WeightFormat::F32 => floats(run.table.fma_f32, unit, values(run, unit), acc),
        WeightFormat::F16 => floats(run.table.fma_f16, unit, values(run, unit), acc),
        WeightFormat::Bf16 => floats(run.table.weight_pairs, unit, pairs(run, unit), acc),
        WeightFormat::Q8_0 => integers::<Q8_0>(run, run.table.dot_q8_0, (unit, next), acc),
        WeightFormat::Q4_0 => integers::<Q4_0>(run, run.table.dot_q4_0, (unit, next), acc),
        WeightFormat::Q4K => integers::<Q4K>(run, run.table.dot_q4_k, (unit, next), acc),
        WeightFormat::Q5K => integers::<Q5K>(run, run.table.dot_q5_k, (unit, next), acc),
        WeightFormat::Q6K => integers::<Q6K>(run, run.table.dot_q6_k, (unit, next), acc),
        other => unreachable!("no matrix is packed as {other}"),
    }
    if let Some(bias) = map.bias {
        let bias = &run.weights.vectors[bias.index()].0[columns(unit.matrix, &unit.panels)];
        for row in acc.chunks_exact_mut(WIDTH) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
}

/// Outputs of some panels.
pub(super) fn columns(matrix: &CpuMatrix, panels: &Range<usize>) -> Range<usize> {
    panels.start * LANES..matrix.rows().min(panels.end * LANES)
}

/// The input rows of a unit, and the distance from one to the next.
fn values<'a>(run: &Run<'a>, unit: &Unit<'_>) -> (&'a [f32], usize) {
    // SAFETY: the input is complete and no worker writes it in this phase.
    let x = unsafe { run.activations.read_rows(unit.input, unit.rows.clone()) };
    (x, run.activations.stride(unit.input))
}

/// As [`values`], rounded.
fn pairs<'a>(run: &Run<'a>, unit: &Unit<'_>) -> (&'a [u32], usize) {
    let rounded = &run.activations.rounded;
    let rows = unit.rows.start * rounded.stride..unit.rows.end * rounded.stride;
    // SAFETY: the rounded input is complete and no worker writes it in this phase.
    (unsafe { rounded.pairs.view(rows) }, rounded.stride)
}

fn floats<W: Weight>(
    kernel: fn(Fma<'_, W>),
    unit: &Unit<'_>,
    (x, x_stride): (&[W::Input], usize),
    acc: &mut [f32],
) {
    let steps = unit.matrix.steps();
    kernel(Fma {
        rows: unit.rows.len(),
        panels: unit.panels.len(),
        steps,
        x,
        x_stride,
        w: unit.matrix.floats::<W>(unit.panels.clone()),
        w_panel: steps * LANES,
        w_step: LANES,
        next: &[],
        acc,
        acc_stride: WIDTH,
    });
}

fn integers<Q: Quants>(
    run: &Run<'_>,
    kernel: fn(Dot<'_>),
    (unit, next): (&Unit<'_>, Next<'_>),
    acc: &mut [f32],
) {
    let x_stride = quantized_stride(unit.matrix.cols());
    let bytes = unit.rows.start * x_stride..unit.rows.end * x_stride;
    let quantized = &run.activations.quantized;
    // SAFETY: the quantised input is complete and no worker writes it in this phase.
    let (x, groups) = unsafe {
        (
            quantized.values.view(bytes.clone()),
            quantized.groups.view(bytes.start / GROUP..bytes.end / GROUP),
        )
    };
    let blocks = unit.matrix.cols().div_ceil(Q::INPUTS);
    let weights = unit.matrix.integers(unit.panels.clone());
    kernel(Dot {
        rows: unit.rows.len(),
        panels: unit.panels.len(),
        blocks,
        x,
        x_stride,
        groups,
        weights,
        panel: blocks * Q::BYTES,
        next,
        acc,
        acc_stride: WIDTH,
    });
}

/// Writes the result.
fn finish(
    run: &Run<'_>,
    part: &Projection,
    (rows, panels): (Range<usize>, Range<usize>),
    acc: &mut Accumulators,
) {
    let columns = columns(run.matrix(&part.map), &panels);
    for (row, y) in rows.zip(acc.0.chunks_exact_mut(WIDTH)) {
        // SAFETY: these columns belong to this unit alone, and no worker reads the output in this phase.
        let out = unsafe { run.activations.write(part.out, row, columns.clone()) };
        match part.write {
            Write::Store => out.copy_from_slice(&y[..out.len()]),
            Write::Add => add(out, y),
            Write::AddSilu => {
                let y = &mut y[..out.len()];
                (run.table.swiglu)(y, &[1.0; WIDTH][..y.len()]);
                add(out, y);
            }
        }
    }
}

fn add(out: &mut [f32], y: &[f32]) {
    out.iter_mut().zip(y).for_each(|(out, y)| *out += *y);
}
