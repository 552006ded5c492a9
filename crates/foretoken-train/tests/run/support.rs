//! Small text, small models, and a learner that fails when it is told to.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use foretoken_model::{ModelSource, OutputHead};
use foretoken_train::data::{Corpus, Document, Reader};
use foretoken_train::{
    AdamOptions, BaseModel, Batch, CheckpointEvery, Compute, CosineSchedule, CpuOptions, Learner,
    Llama, LlamaShape, Metrics, OutputFolder, Parameters, Plan, Precision, Run, RunError,
    RunOptions, Start, StoredAs, TrainError,
};

pub(crate) const VOCAB: usize = 61;

pub(crate) fn compute(threads: usize) -> Compute {
    let threads = NonZeroUsize::new(threads).expect("one or more");
    Compute::new(CpuOptions { threads, isa: None }, Precision::F32)
}

/// The built-in draft model's folder: a tokenizer and a chat template.
pub(crate) fn demo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/foretoken-demo-draft")
}

pub(crate) fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("not zero")
}

pub(crate) fn every(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not zero")
}

/// Documents of different lengths, the first tokens of some not learned.
pub(crate) fn corpus(documents: usize) -> Corpus {
    let mut corpus = Corpus::default();
    for index in 0..documents {
        let tokens: Vec<u32> =
            (0..5 + index % 11).map(|i| ((i * i + index) % VOCAB) as u32).collect();
        let learned = (0..tokens.len()).map(|i| i >= index % 3).collect();
        corpus.push(&Document::new(tokens, learned).expect("something to learn"));
    }
    corpus
}

pub(crate) fn options(steps: u64) -> RunOptions {
    RunOptions {
        schedule: CosineSchedule { peak: 1e-2, end: 1e-3, warm_up: 2, steps },
        sequences: count(3),
        piece: count(2),
        length: 12,
        clip: 1.0,
        adam: AdamOptions::default(),
        seed: 5,
        validate_every: every(4),
        checkpoint: CheckpointEvery::Steps(every(3)),
    }
}

pub(crate) fn plan(options: RunOptions) -> Plan {
    let (text, held_out) = corpus(40).hold_out(0.1);
    let held_out = Reader::first(held_out, options.length, 4);
    let identity = vec![("method", "base".to_owned()), ("format", "as stored".to_owned())];
    Plan { text, held_out, options, identity }
}

pub(crate) fn model(compute: &Compute) -> BaseModel {
    let shape = LlamaShape {
        vocab: VOCAB,
        hidden: 16,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_size: 8,
        ffn: 24,
        output: OutputHead::Tied,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        context: 32,
    };
    let model = Llama::new(compute, shape, 7).expect("a good shape");
    BaseModel { model, stored: StoredAs::F32, source: ModelSource::Folder(demo()) }
}

pub(crate) fn open(
    compute: &Compute,
    options: RunOptions,
    folder: &Path,
) -> Result<Run<BaseModel>, RunError> {
    Run::open(compute, model(compute), plan(options), OutputFolder::open(folder)?, Start::Resume)
}

/// What goes wrong in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Loss,
    Gradient,
}

/// A model whose step `at` (from 1) has a fault.
pub(crate) struct Faulty {
    pub(crate) inner: BaseModel,
    pub(crate) at: u64,
    pub(crate) fault: Fault,
    pub(crate) step: u64,
}

impl Learner for Faulty {
    fn groups(&self) -> Vec<&Parameters> {
        self.inner.groups()
    }

    fn groups_mut(&mut self) -> Vec<&mut Parameters> {
        self.inner.groups_mut()
    }

    fn begin_step(&mut self, done: u64, steps: u64) {
        self.step = done + 1;
        self.inner.begin_step(done, steps);
    }

    fn step(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<f64, TrainError> {
        let loss = self.inner.step(compute, batch)?;
        if self.step != self.at {
            return Ok(loss);
        }
        match self.fault {
            Fault::Loss => Ok(f64::NAN),
            Fault::Gradient => {
                self.inner.model.parameters.as_mut_slice()[1].gradient[0] = f32::INFINITY;
                Ok(loss)
            }
        }
    }

    fn evaluate(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
        metrics: &mut Metrics,
    ) -> Result<(), TrainError> {
        self.inner.evaluate(compute, batch, metrics)
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        self.inner.export(folder)
    }

    fn step_bytes(&self, tokens: usize) -> usize {
        self.inner.step_bytes(tokens)
    }
}
