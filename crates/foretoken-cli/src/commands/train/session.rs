//! What all trainings share: threads, text, the run with its progress, and the report at its end.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use foretoken::Isa;
use foretoken_train::data::{Corpus, Encoder, Reader, Sequences};
use foretoken_train::{
    AdamOptions, Compute, CosineSchedule, CpuOptions, Learner, OutputFolder, Plan, Precision, Run,
    RunOptions, Start,
};
use serde_json::{Map, json};

use super::plot;
use crate::args::TrainArgs;
use crate::error::Error;
use crate::output;
use crate::progress::{TrainingBar, held_out, read_corpus};

/// Part of the data that validates where nothing else does.
const HELD_OUT: f64 = 0.01;
/// Tokens of held-out text that a validation reads at most.
const VALIDATION_TOKENS: usize = 1 << 15;
/// The last learning rate, as part of the highest.
const END: f32 = 0.1;
/// Most that the norm of all gradients may be.
const CLIP: f32 = 1.0;
/// Where the curves are drawn, in the output folder.
const CURVES: &str = "loss.svg";

/// The threads of a training, and its folder.
pub(super) struct Session {
    compute: Compute,
    output: OutputFolder,
    start: Start,
    /// Lines of text that were left out.
    skipped: u64,
}

/// What is trained, and what its method decides.
pub(super) struct Recipe<L> {
    pub(super) learner: L,
    /// Settings beside the common ones that make a run this one; see [`Plan::identity`].
    pub(super) identity: Vec<(&'static str, String)>,
    /// Highest learning rate unless the user says otherwise.
    pub(super) learning_rate: f32,
}

impl Session {
    /// Starts the threads and opens the folder.
    pub(super) fn start(args: &TrainArgs) -> Result<Self, Error> {
        let output = OutputFolder::open(&args.out)?;
        let is_begun = output.checkpoint().is_some() && !args.restart;
        let threads = args.threads.unwrap_or_else(foretoken_train::default_threads);
        let options = CpuOptions { threads, isa: args.isa };
        let precision = args.precision.unwrap_or_else(|| precision(args.isa));
        let start = if is_begun { Start::Resume } else { Start::Anew };
        Ok(Self { compute: Compute::new(options, precision), output, start, skipped: 0 })
    }

    /// Whether a run goes on.
    pub(super) fn begins(&self) -> Start {
        self.start
    }

    /// The threads.
    pub(super) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Reads text; lines that are no documents are told and counted.
    pub(super) fn read(&mut self, encoder: &Encoder, paths: &[PathBuf]) -> Result<Corpus, Error> {
        let text = read_corpus(&self.compute, encoder, paths)?;
        let skipped = text.skipped();
        if skipped.count > 0 {
            output::warn(&skipped.to_string());
        }
        self.skipped += skipped.count;
        Ok(text)
    }

    /// Reads the text, trains, draws the curves and reports.
    pub(super) fn train<L: Learner>(
        mut self,
        args: &TrainArgs,
        encoder: &Encoder,
        recipe: Recipe<L>,
    ) -> Result<(), Error> {
        let started = Instant::now();
        let (text, held_out) = self.text(args, encoder)?;
        let options = options(args, recipe.learning_rate);
        let plan = Plan { text, held_out, options, identity: recipe.identity };
        let mut run = Run::open(&self.compute, recipe.learner, plan, self.output, self.start)?;
        if run.done() > 0 {
            output::note(&format!("going on after step {}", run.done()));
        }
        let bar = TrainingBar::new();
        let trained = run.train(&mut self.compute, &mut |event| bar.tell(event));
        bar.clear();
        trained?;
        let curves = plot::svg(run.history());
        let path = args.out.join(CURVES);
        let curves = curves.map_err(|cause| Error::write(&path, cause))?;
        std::fs::write(&path, curves).map_err(|cause| Error::write(&path, cause))?;
        let effort = Effort {
            skipped: self.skipped,
            seconds: started.elapsed().as_secs_f64(),
            threads: self.compute.backend().threads(),
        };
        report(args, &run, &effort)
    }

    /// What is learned, and what is not.
    fn text(&mut self, args: &TrainArgs, encoder: &Encoder) -> Result<(Corpus, Sequences), Error> {
        let text = self.read(encoder, &args.data)?;
        let (text, held_out) = if args.validate.is_empty() {
            text.hold_out(HELD_OUT)
        } else {
            (text, self.read(encoder, &args.validate)?)
        };
        output::note(&format!(
            "{} documents with {} tokens to learn from, {} to validate on",
            text.len(),
            text.tokens(),
            held_out.len()
        ));
        let length = args.length.get();
        Ok((text, Reader::first(held_out, length, VALIDATION_TOKENS.div_ceil(length))))
    }
}

/// Refuses a training of so many parameters whose steps need so many bytes if it does not fit in memory with
/// all its text.
pub(super) fn check_memory(train: &TrainArgs, parameters: usize, step: usize) -> Result<(), Error> {
    let text = Corpus::memory(&train.data)?.saturating_add(Corpus::memory(&train.validate)?);
    Ok(foretoken_train::check_memory(parameters, step.saturating_add(text))?)
}

/// Rounding products pays where there are instructions for it.
fn precision(isa: Option<Isa>) -> Precision {
    match Isa::best(isa) {
        Isa::Avx512 | Isa::Amx => Precision::Bf16,
        _ => Precision::F32,
    }
}

/// Tokens of a step that are computed at once.
pub(super) fn tokens_at_once(args: &TrainArgs) -> usize {
    piece(args).get().saturating_mul(args.length.get())
}

fn piece(args: &TrainArgs) -> NonZeroUsize {
    args.at_once.unwrap_or(args.batch).min(args.batch)
}

fn options(args: &TrainArgs, learning_rate: f32) -> RunOptions {
    let (sequences, length) = (args.batch, args.length.get());
    let steps_for = |tokens| RunOptions::steps_for(tokens, sequences, length);
    let steps = args.steps.or(args.tokens).map_or(1, |budget| match args.steps {
        Some(_) => budget.get(),
        None => steps_for(budget.get()),
    });
    let peak = args.learning_rate.unwrap_or(learning_rate);
    let warm_up = args.warm_up.unwrap_or(steps / 20);
    RunOptions {
        schedule: CosineSchedule { peak, end: peak * END, warm_up, steps },
        sequences,
        piece: piece(args),
        length,
        clip: CLIP,
        adam: AdamOptions::default(),
        seed: args.seed,
        validate_every: args.validate_every,
        checkpoint: args.checkpoint_every,
    }
}

/// What a training took.
struct Effort {
    skipped: u64,
    seconds: f64,
    threads: usize,
}

/// Prints what came of it.
fn report<L: Learner>(args: &TrainArgs, run: &Run<L>, effort: &Effort) -> Result<(), Error> {
    let last = run.history().points().last();
    let (loss, validation) =
        last.map_or((f64::NAN, Vec::new()), |last| (last.loss, last.validation));
    if args.json {
        let means = validation.into_iter().map(|(name, mean)| (name, json!(mean)));
        return output::print_json(&json!({
            "out": args.out,
            "steps": run.done(),
            "tokens": run.tokens(),
            "loss": loss,
            "validation": means.collect::<Map<_, _>>(),
            "seed": args.seed,
            "skipped_lines": effort.skipped,
            "seconds": effort.seconds,
            "threads": effort.threads,
        }));
    }
    output::print(&format!(
        "{} steps, {} tokens, loss {loss:.4}; {}; written to {}\n",
        run.done(),
        run.tokens(),
        held_out(&validation),
        args.out.display()
    ))
}
