//! Resuming takes the memory that a run is checked for, and no copy of what the checkpoint holds.
//!
//! A binary of its own: the peak is that of the process.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;

use foretoken_model::{ModelSource, OutputHead};
use foretoken_train::data::{Corpus, Document, Sequences};
use foretoken_train::{
    AdamOptions, BaseModel, CheckpointEvery, Compute, CosineSchedule, CpuOptions, Llama,
    LlamaShape, OutputFolder, Plan, Precision, Run, RunOptions, Start, StoredAs,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const SHAPE: LlamaShape = LlamaShape {
    vocab: 64,
    hidden: 128,
    layers: 4,
    heads: 2,
    kv_heads: 2,
    head_size: 64,
    ffn: 512,
    output: OutputHead::Tied,
    rope_theta: 10_000.0,
    norm_eps: 1e-5,
    context: 8,
};

/// Opens a run, and returns what it added to the memory at most.
fn peak_of_opening(compute: &Compute, folder: &Path) -> usize {
    let one = NonZeroUsize::MIN;
    let mut text = Corpus::default();
    text.push(&Document::new(vec![1, 2, 3], vec![true; 3]).expect("a document"));
    let options = RunOptions {
        schedule: CosineSchedule { peak: 1e-3, end: 1e-3, warm_up: 0, steps: 1 },
        sequences: one,
        piece: one,
        length: 2,
        clip: 1.0,
        adam: AdamOptions::default(),
        seed: 1,
        validate_every: NonZeroU64::MIN,
        checkpoint: CheckpointEvery::Steps(NonZeroU64::MIN),
    };
    let plan = Plan { text, held_out: Sequences::default(), options, identity: Vec::new() };
    let model = Llama::new(compute, SHAPE, 1).expect("a good shape");
    let source = ModelSource::Folder(folder.to_owned());
    let learner = BaseModel { model, stored: StoredAs::F32, source };
    let output = OutputFolder::open(folder).expect("a folder");
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let run = Run::open(compute, learner, plan, output, Start::Resume).expect("the run opens");
    let peak = ALLOCATOR.peak_usage() - before;
    drop(run);
    peak
}

#[test]
fn a_checkpoint_is_read_without_a_copy() {
    let threads = NonZeroUsize::MIN;
    let compute = Compute::new(CpuOptions { threads, isa: None }, Precision::F32);
    let folder = tempfile::tempdir().expect("a folder");
    peak_of_opening(&compute, folder.path());
    let peak = peak_of_opening(&compute, folder.path());
    let parameters = SHAPE.parameters();
    let per_parameter = peak as f64 / parameters as f64;
    // Two moments of four bytes; a copy of any whole tensor's kind would be four more.
    assert!((8.0..9.0).contains(&per_parameter), "{per_parameter} bytes for each of {parameters}");
}
