//! The thorough measurement of forward passes: rows, depths, and what memory allows.
//!
//! Every number of rows at every depth, and a sweep that only reads memory, take turns in each round, so that
//! a machine whose speed drifts treats them alike; reported are medians of passes and the best sweep. All
//! rows' logits are computed. The rows of a pass are a chain. A long context is made of the keys and values
//! of its first 64 positions, copied: no kernel looks at what it reads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use foretoken_core::{DraftTree, MAX_NODES};
use foretoken_cpu::{CpuBackend, CpuOptions, Isa, ReadSweep, available_memory, default_threads};
use foretoken_model::{
    Checkpoint, LoadOptions, LoadProgress, Model, ModelError, ModelSource, OpenOptions, OutputHead,
    RandomWeights, SequenceId, Target, Tensor, UnknownKeys, Wants, WeightSource,
};
use foretoken_tensor::{CHUNK, KvType, WeightFormat};

use super::{Shape, chain, time_pass};
use crate::{EngineOptions, Error};

/// Least sweeps of a measurement.
const SWEEPS: usize = 5;

/// What is measured.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Random weights of a shape.
    Shape(&'static Shape),
    /// A model with its own weights.
    Model(ModelSource),
}

/// How it is loaded and measured.
#[derive(Debug, Clone)]
pub struct ForwardOptions {
    /// What is measured.
    pub subject: Subject,
    /// Weight format: of a shape any, bf16 by default; of a model one that weights are packed in on
    /// loading, as stored by default.
    pub format: Option<WeightFormat>,
    /// Type of stored keys and values; f32 with f32 weights and bf16 otherwise by default.
    pub kv_type: Option<KvType>,
    /// Worker threads; one per physical core the process may use by default.
    pub threads: Option<NonZeroUsize>,
    /// Best instruction set to use; the best one found by default.
    pub isa: Option<Isa>,
    /// What to do about configuration keys a model's family does not know.
    pub unknown_keys: UnknownKeys,
    /// What to measure.
    pub passes: Passes,
}

/// Which passes are measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passes {
    /// Positions already in the KV cache.
    pub depths: Vec<usize>,
    /// Numbers of new rows, between 1 and 1024.
    pub rows: Vec<usize>,
    /// Times each pass is measured.
    pub rounds: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardCost {
    /// Bytes that the same threads read per second of plain memory, at best.
    pub read_rate: f64,
    /// In the order asked for.
    pub depths: Vec<DepthCost>,
}

/// Passes at one depth.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthCost {
    /// Positions in the KV cache.
    pub depth: usize,
    /// In the order asked for.
    pub rows: Vec<RowCost>,
    /// Where several depths were asked for: bytes of keys and values per second by which a pass of one row
    /// takes longer here than with an empty cache. `None` at depth 0 and where it took no longer.
    pub kv_rate: Option<f64>,
}

/// Passes of one number of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowCost {
    /// New rows.
    pub rows: usize,
    /// Median seconds of a pass.
    pub seconds: f64,
    /// Seconds in units of those of one row at the same depth.
    pub ratio: f64,
}

/// A loaded model, ready to be measured.
pub struct ForwardBench {
    backend: Arc<CpuBackend>,
    model: Model<CpuBackend>,
    name: String,
    weight_bytes: usize,
    warnings: Vec<String>,
    format: WeightFormat,
    passes: Passes,
    sweep: ReadSweep,
}

/// Passes of one tree at one depth.
struct Case {
    sequence: SequenceId,
    depth: usize,
    tree: DraftTree,
    seconds: Vec<f64>,
}

impl ForwardOptions {
    /// Finds passes that cannot be measured within `context` positions.
    fn check(&self, context: usize) -> Result<(), Error> {
        let out_of = |option, value: usize, bound| {
            Err(Error::Option { option, value: value.to_string(), bound })
        };
        let Passes { depths, rows, rounds } = &self.passes;
        if let Some(&rows) = rows.iter().find(|rows| !(1..=MAX_NODES).contains(*rows)) {
            return out_of("rows", rows, "between 1 and 1024");
        }
        if *rounds == 0 {
            return out_of("rounds", 0, "at least 1");
        }
        if let Some(threads) = self.threads.filter(|n| n.get() > EngineOptions::MAX_THREADS) {
            return out_of("threads", threads.get(), "between 1 and 1024");
        }
        let most = |values: &[usize]| values.iter().copied().max().unwrap_or(0);
        let (depth, rows) = (most(depths), most(rows).max(1));
        if depth.saturating_add(rows) > context {
            return Err(Error::Depth { depth, rows, context });
        }
        Ok(())
    }
}

impl ForwardBench {
    /// Loads what is to be measured, telling `progress` its name and how many of its matrices are packed.
    /// Mistakes in what is asked for are found before that.
    pub fn load(
        options: &ForwardOptions,
        progress: &mut dyn FnMut(&str, LoadProgress),
    ) -> Result<Self, Error> {
        match &options.subject {
            Subject::Shape(shape) => {
                let spec = shape.spec();
                options.check(spec.context)?;
                let format = options.format.unwrap_or(WeightFormat::Bf16);
                let weights = RandomWeights::new(spec, format).map_err(ModelError::from)?;
                // Packed as stored: formats that nothing encodes have no other way in.
                Self::pack(options, (shape.name, &weights), None, progress)
            }
            Subject::Model(source) => {
                let open = OpenOptions { unknown_keys: options.unknown_keys };
                let checkpoint = Checkpoint::open(source, &open)?;
                options.check(checkpoint.spec().context)?;
                let named = (checkpoint.name(), &checkpoint as &dyn WeightSource);
                let mut bench = Self::pack(options, named, options.format, progress)?;
                bench.warnings = checkpoint.warnings().to_vec();
                Ok(bench)
            }
        }
    }

    fn pack(
        options: &ForwardOptions,
        (name, source): (&str, &dyn WeightSource),
        format: Option<WeightFormat>,
        progress: &mut dyn FnMut(&str, LoadProgress),
    ) -> Result<Self, Error> {
        let packed = |stored| format.unwrap_or(stored);
        check_memory(matrices(source, packed)?.iter().map(|(_, bytes)| bytes).sum())?;
        let read = |&&(tensor, _): &&(Tensor, usize)| {
            tensor != Tensor::Embedding || source.spec().output == OutputHead::Tied
        };
        let stored = matrices(source, |stored| format.unwrap_or(stored))?;
        let weight_bytes = stored.iter().filter(read).map(|(_, bytes)| bytes).sum();
        let threads = options.threads.unwrap_or_else(default_threads);
        let backend = Arc::new(CpuBackend::new(CpuOptions { threads, isa: options.isa }));
        // Blocks are allocated as they are needed.
        let cache_positions = Some(usize::MAX);
        let kv_type = options.kv_type;
        let load = LoadOptions { format, kv_type, cache_positions, ..LoadOptions::default() };
        let mut progress = |step| progress(name, step);
        let model = Model::load(Arc::clone(&backend), source, load, &mut progress)?;
        Ok(Self {
            sweep: ReadSweep::new(&backend),
            backend,
            model,
            name: name.to_owned(),
            format: format.unwrap_or_else(|| source.stored_format()),
            weight_bytes,
            warnings: Vec::new(),
            passes: options.passes.clone(),
        })
    }

    /// The name of the shape or model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was ignored on opening.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes of the weights that a pass reads, in their source format: the matrices without padding, the
    /// output matrix once and the embedding only where it is that matrix.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// The source format of most of the weights.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        self.backend.threads()
    }

    /// Instruction set level in use.
    pub fn isa(&self) -> Isa {
        self.backend.isa()
    }

    /// Measures, telling `progress` how many rounds are over and how many there are, the first a warm-up.
    pub fn run(&mut self, progress: &mut dyn FnMut(usize, usize)) -> Result<ForwardCost, Error> {
        let mut cases = self.cases()?;
        let rounds = self.passes.rounds;
        let sweeps = SWEEPS.div_ceil(rounds);
        let mut read = f64::INFINITY;
        for round in 0..=rounds {
            progress(round, rounds + 1);
            let mut swept = Duration::ZERO;
            for _ in 0..sweeps {
                swept = self.sweep.run(&self.backend);
                read = read.min(swept.as_secs_f64());
            }
            if let Some(first) = cases.first() {
                self.refill_caches(first, swept)?;
            }
            for case in &mut cases {
                let time = time_pass(&mut self.model, case.sequence, &case.tree)?;
                if round > 0 {
                    case.seconds.push(time.as_secs_f64());
                }
            }
        }
        self.model.start();
        for case in &mut cases {
            case.seconds.sort_by(f64::total_cmp);
        }
        let depths = self.passes.depths.iter().map(|&depth| self.at_depth(&cases, depth)).collect();
        let mut sequences: Vec<_> = cases.iter().map(|case| case.sequence).collect();
        sequences.dedup();
        for sequence in sequences {
            self.model.close(sequence);
        }
        Ok(ForwardCost { read_rate: self.sweep.bytes() as f64 / read, depths })
    }

    /// Passes for as long as a sweep took, which has emptied the caches: they may hold all of a small model,
    /// but a last-level cache takes what is read in its stead only after some passes.
    fn refill_caches(&mut self, case: &Case, swept: Duration) -> Result<(), Error> {
        let mut spent = Duration::ZERO;
        while spent < swept {
            spent += time_pass(&mut self.model, case.sequence, &case.tree)?;
        }
        Ok(())
    }

    /// Bytes of the keys and values of so many positions.
    fn kv_bytes(&self, positions: usize) -> usize {
        let spec = self.model.spec();
        let values = 2 * spec.layers.len() * spec.kv_heads * spec.head_size;
        positions.saturating_mul(values * self.model.kv_type().bytes())
    }

    /// Every pass: at each depth the rows asked for and one, and one row at depth 0 to compare with.
    fn cases(&mut self) -> Result<Vec<Case>, Error> {
        let Passes { depths, rows, rounds } = self.passes.clone();
        let vocab = self.model.spec().vocab;
        let filled = self.fill(depths.iter().copied().max().unwrap_or(0))?;
        let mut wanted: Vec<(usize, usize)> = Vec::new();
        for &depth in &depths {
            wanted.push((depth, 1));
            wanted.extend(rows.iter().map(|&rows| (depth, rows)));
        }
        if depths.len() > 1 {
            wanted.push((0, 1));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut cases: Vec<Case> = Vec::with_capacity(wanted.len());
        for (depth, rows) in wanted {
            let sequence = match cases.last() {
                Some(last) if last.depth == depth => last.sequence,
                _ => self.model.fork(filled),
            };
            self.model.truncate(sequence, depth);
            let seconds = Vec::with_capacity(rounds);
            cases.push(Case { sequence, depth, tree: chain(rows, vocab), seconds });
        }
        self.model.close(filled);
        Ok(cases)
    }

    /// A sequence of `depth` positions: one pass, and copies of what it wrote.
    fn fill(&mut self, depth: usize) -> Result<SequenceId, Error> {
        check_memory(self.kv_bytes(depth))?;
        let sequence = self.model.open();
        let rows = depth.min(CHUNK);
        if rows > 0 {
            self.model.start();
            let tree = chain(rows, self.model.spec().vocab);
            self.model.add(sequence, &tree, Wants::Nothing)?;
            self.model.forward();
            self.model.commit(sequence, &(0..rows).collect::<Vec<_>>());
            self.model.repeat(sequence, depth).map_err(foretoken_model::ForwardError::from)?;
        }
        Ok(sequence)
    }

    fn at_depth(&self, cases: &[Case], depth: usize) -> DepthCost {
        let seconds = |depth, rows| {
            let case = cases.iter().find(|case| case.depth == depth && case.tree.len() == rows);
            median(&case.expect("what was asked for was measured").seconds)
        };
        let one = seconds(depth, 1);
        let row = |&rows: &usize| {
            let seconds = seconds(depth, rows);
            RowCost { rows, seconds, ratio: seconds / one }
        };
        let kv_rate = (self.passes.depths.len() > 1 && depth > 0)
            .then(|| one - seconds(0, 1))
            .filter(|&longer| longer > 0.0)
            .map(|longer| self.kv_bytes(depth) as f64 / longer);
        DepthCost { depth, rows: self.passes.rows.iter().map(row).collect(), kv_rate }
    }
}

/// The matrices of a model with their bytes, unpadded, in the format that `format` makes of the stored one.
fn matrices(
    source: &dyn WeightSource,
    format: impl Fn(WeightFormat) -> WeightFormat,
) -> Result<Vec<(Tensor, usize)>, Error> {
    let spec = source.spec();
    let tensors = Tensor::all(spec).into_iter().filter(|tensor| tensor.shape(spec).len() == 2);
    tensors
        .map(|tensor| {
            let view = source.matrix(tensor)?;
            let quant = format(view.format).spec();
            Ok((tensor, view.rows * view.cols * quant.block_bytes / quant.block_values))
        })
        .collect()
}

/// Refuses what would not fit, where the system tells how much memory is left.
fn check_memory(needed: usize) -> Result<(), Error> {
    match available_memory() {
        Some(left) if needed > left => Err(Error::Memory { needed, left }),
        _ => Ok(()),
    }
}

/// The middle of sorted values, the mean of the two where there are two.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let (low, high) = ((sorted.len() - 1) / 2, sorted.len() / 2);
    f64::midpoint(sorted[low], sorted[high])
}

#[cfg(test)]
mod tests;
