//! What a pass costs: seconds over its number of rows.
//!
//! Drafting pays as long as further rows ride along nearly free, and how long they do is a matter of the
//! machine, the model and the kernels. [`CostCurve`] knows, from a short measurement at load,
//! kept in a [`CostCache`]; [`ForwardBench`] is the thorough one behind `foretoken bench forward`.
//! Neither knows drafters, and neither touches a sequence of anybody else.

mod cache;
mod forward;
mod shapes;

use std::time::{Duration, Instant};

use foretoken_core::DraftTree;
use foretoken_model::{ForwardError, SequenceId, Target, Wants};

pub use cache::{CostCache, MeasureCost};
pub use forward::{DepthCost, ForwardBench, ForwardCost, ForwardOptions, Passes, RowCost, Subject};
pub use shapes::{SHAPES, Shape};

use self::forward::median;

/// Told before each timed pass how much time is spent, and how much may be.
type Progress<'a> = &'a mut dyn FnMut(Duration, Duration);

/// Seconds of a pass over its number of new rows, at the start of a text.
///
/// Between measured numbers of rows it is interpolated. Beyond the last, at most 64, it goes on as steeply as it
/// ended, which is a guess. It never falls: that more rows were once faster is noise.
#[derive(Debug, Clone, PartialEq)]
pub struct CostCurve {
    /// Rows and seconds, both ascending; the first is one row.
    points: Vec<(usize, f64)>,
}

impl CostCurve {
    /// Numbers of rows that are measured.
    pub const ROWS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
    /// Rows beyond which a number is measured in every fourth round only: such passes take long, and trees of so
    /// many rows seldom pay.
    const OFTEN: usize = 16;
    /// Time that the measurement at load may take, unless passes are slow.
    const BUDGET: Duration = Duration::from_millis(700);
    /// Passes of one row whose time it may take at least. Where rows ride along nearly free, as in large models,
    /// that is five rounds.
    const PASSES: u32 = 40;
    /// Rounds after which more would not tell more.
    const ROUNDS: usize = 16;

    /// A curve through measured points `(rows, seconds)`; `None` unless they start at one row, the rows
    /// ascend and the seconds are positive and finite.
    pub fn new(mut points: Vec<(usize, f64)>) -> Option<Self> {
        let positive = points.iter().all(|&(_, seconds)| seconds > 0.0 && seconds.is_finite());
        let ascend = points.is_sorted_by(|a, b| a.0 < b.0);
        if points.first()?.0 != 1 || !positive || !ascend {
            return None;
        }
        let mut most = 0.0;
        for (_, seconds) in &mut points {
            most = f64::max(most, *seconds);
            *seconds = most;
        }
        Some(Self { points })
    }

    /// Measures a loaded model in 0.7 s, or in the time of 40 passes of one row where that is longer, in rounds in
    /// which the numbers of rows take turns. Those that do not fit are left out. Before each pass `progress` is told how much
    /// time is spent, and how much may be.
    ///
    /// The rows of the target's last pass are gone; its sequences are as they were.
    pub fn measure(target: &mut dyn Target, progress: Progress<'_>) -> Result<Self, ForwardError> {
        let sequence = target.open();
        let budget = |one_row: Duration| Self::BUDGET.max(Self::PASSES * one_row);
        let rounds = measure(target, sequence, budget, progress);
        target.start();
        target.close(sequence);
        let curve = Self::new(points(&rounds?));
        Ok(curve.expect("one row is measured first, and a pass takes time"))
    }

    /// Seconds of a pass of `rows` rows; that of none is as long as that of one.
    pub fn seconds(&self, rows: usize) -> f64 {
        let above = self.points.partition_point(|&(measured, _)| measured < rows);
        let (a, b) = match (above, self.points.len()) {
            (0, _) => return self.points[0].1,
            // Of one point nothing is known but that rows cost no more than passes.
            (1, 1) => ((0, 0.0), self.points[0]),
            (above, len) => (self.points[above.min(len - 1) - 1], self.points[above.min(len - 1)]),
        };
        let slope = (b.1 - a.1) / (b.0 - a.0) as f64;
        a.1 + slope * (rows - a.0) as f64
    }

    /// Seconds of a pass of `rows` rows, in units of those of one row.
    pub fn ratio(&self, rows: usize) -> f64 {
        self.seconds(rows) / self.seconds(1)
    }

    /// What was measured: rows and seconds, both ascending.
    pub fn points(&self) -> &[(usize, f64)] {
        &self.points
    }
}

/// By round, the seconds of passes of each number of rows for which there was time. How much there is `budget` says,
/// given how long a pass of one row takes.
fn measure(
    target: &mut dyn Target,
    sequence: SequenceId,
    budget: impl Fn(Duration) -> Duration,
    progress: Progress<'_>,
) -> Result<Vec<Vec<f64>>, ForwardError> {
    let vocab = target.spec().vocab;
    // The first pass warms caches and threads up.
    let one_row = time_pass(target, sequence, &chain(1, vocab))?;
    let (started, budget) = (Instant::now(), budget(one_row));
    let mut rounds: Vec<Vec<f64>> = Vec::with_capacity(CostCurve::ROUNDS);
    for round in 0..CostCurve::ROUNDS {
        let most = if round % 4 == 0 { usize::MAX } else { CostCurve::OFTEN };
        let most = most.min(target.context());
        let mut seconds: Vec<f64> = Vec::with_capacity(CostCurve::ROWS.len());
        for &rows in CostCurve::ROWS.iter().take_while(|&&rows| rows <= most) {
            // Twice the rows take at most twice the time.
            let expected =
                seconds.last().map_or(one_row, |&last| Duration::from_secs_f64(2.0 * last));
            let is_first = rounds.is_empty() && seconds.is_empty();
            let spent = started.elapsed();
            if !is_first && spent + expected > budget {
                rounds.push(seconds);
                return Ok(rounds);
            }
            progress(spent, budget);
            seconds.push(time_pass(target, sequence, &chain(rows, vocab))?.as_secs_f64());
        }
        rounds.push(seconds);
    }
    Ok(rounds)
}

/// What rounds of passes say together, as rows and seconds: the median over the rounds of how much longer than one row
/// a number of rows took in the same round, times the median of one row. A machine that others share is fast for a
/// while and slow for a while, and passes of one round mostly saw the same.
fn points(rounds: &[Vec<f64>]) -> Vec<(usize, f64)> {
    let over_rounds = |value: &dyn Fn(&[f64]) -> Option<f64>| {
        let mut values: Vec<f64> = rounds.iter().filter_map(|round| value(round)).collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then(|| median(&values))
    };
    let one_row = over_rounds(&|round| round.first().copied());
    let point = |(index, &rows): (usize, &usize)| {
        let ratio = over_rounds(&|round| Some(round.get(index)? / round[0]))?;
        // In nanoseconds, as clocks count, seconds survive being written and read.
        Some((rows, Duration::from_secs_f64(ratio * one_row?).as_secs_f64()))
    };
    CostCurve::ROWS.iter().enumerate().map_while(point).collect()
}

/// One pass of a tree behind what a sequence holds, all rows wanted; nothing is committed.
fn time_pass(
    target: &mut dyn Target,
    sequence: SequenceId,
    tree: &DraftTree,
) -> Result<Duration, ForwardError> {
    let started = Instant::now();
    target.start();
    target.add(sequence, tree, Wants::From(0))?;
    target.forward();
    Ok(started.elapsed().max(Duration::from_nanos(1)))
}

/// A chain of arbitrary tokens. Of all trees of as many nodes it reaches the most positions.
fn chain(rows: usize, vocab: usize) -> DraftTree {
    let tokens: Vec<u32> = (0..rows).map(|i| (i * 7919 % vocab) as u32).collect();
    DraftTree::chain(&tokens).expect("a pass has between one row and the most of a tree")
}

#[cfg(test)]
mod tests;
