//! A training run: a learner, its optimisers, a schedule, text, and a folder in which it survives.
//!
//! A [`Run`] knows no loss; a [`Learner`] knows nothing of what is here. A run that dies goes on from its
//! last checkpoint to the same bits. It prints nothing: a callback is told what happens.

mod checkpoint;
mod error;
mod folder;
mod history;
mod memory;
mod options;
mod progress;
mod tensors;

use std::path::Path;
use std::time::{Duration, Instant};

pub use error::RunError;
pub use folder::OutputFolder;
pub use history::{History, HistoryPoint};
pub use memory::check_memory;
use memory::check_rest;
pub use options::{CheckpointEvery, RunOptions, Start};
pub use progress::{Event, Progress};

use crate::compute::Compute;
use crate::data::{Corpus, Reader, Sequences};
use crate::learner::{Learner, Metrics};
use crate::optimizer::AdamW;
use crate::parameters::clip;
use checkpoint::{HISTORY, Identity, State};
use progress::Pace;

/// What a run learns from, and how.
#[derive(Debug)]
pub struct Plan {
    /// What is learned.
    pub text: Corpus,
    /// What is not, to evaluate on; see [`Reader::first`]. May be empty.
    pub held_out: Sequences,
    /// Steps, batches, rates, checkpoints.
    pub options: RunOptions,
    /// What else makes a run this one, such as the method and its model, as names and values: a checkpoint
    /// with others is refused.
    pub identity: Vec<(&'static str, String)>,
}

/// A training run.
#[derive(Debug)]
pub struct Run<L> {
    learner: L,
    optimizers: Vec<AdamW>,
    reader: Reader,
    held_out: Sequences,
    options: RunOptions,
    identity: Identity,
    folder: OutputFolder,
    state: State,
    /// Steps that the last checkpoint has seen, and when it was written.
    saved: (u64, Instant),
    pace: Pace,
}

impl<L: Learner> Run<L> {
    /// Begins a run in a folder, or goes on with the one whose checkpoint is there. A run that
    /// begins writes its first checkpoint at once, so a folder that cannot be written is known early.
    ///
    /// # Errors
    /// If the options have no meaning, there is too little memory, or the folder cannot be written or holds
    /// another run.
    pub fn open(
        compute: &Compute,
        learner: L,
        plan: Plan,
        folder: OutputFolder,
        start: Start,
    ) -> Result<Self, RunError> {
        let Plan { text, held_out, options, mut identity } = plan;
        options.check()?;
        let groups = learner.groups();
        let parameters = groups.iter().map(|group| group.count()).sum();
        let at_once = options.piece.get().saturating_mul(options.length);
        check_rest(parameters, learner.step_bytes(at_once))?;
        let optimizers = groups.iter().map(|group| AdamW::new(options.adam, group)).collect();
        identity.push(("text", format!("{:016x}", text.fingerprint())));
        identity.extend(options.identity(compute.precision()));
        let mut run = Self {
            optimizers,
            reader: Reader::new(text, options.length, options.seed),
            held_out,
            identity,
            state: State::default(),
            saved: (0, Instant::now()),
            pace: Pace::default(),
            learner,
            options,
            folder,
        };
        match (start, run.folder.checkpoint()) {
            (Start::Resume, Some(checkpoint)) => run.load(&checkpoint)?,
            _ => run.save()?,
        }
        Ok(run)
    }

    /// Steps that are done.
    pub fn done(&self) -> u64 {
        self.state.done
    }

    /// Tokens that were read.
    pub fn tokens(&self) -> u64 {
        self.state.done.saturating_mul(self.options.step_tokens())
    }

    /// The steps so far.
    pub fn history(&self) -> &History {
        &self.state.history
    }

    /// Makes all steps that are left, with validation and checkpoints as the options say and both at the end,
    /// and exports what was learned to the output folder.
    ///
    /// # Errors
    /// If a loss or gradient is not finite, or something cannot be written. The last checkpoint is kept.
    pub fn train(
        &mut self,
        compute: &mut Compute,
        told: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), RunError> {
        let steps = self.options.schedule.steps;
        while self.state.done < steps {
            let (point, seconds) = self.step(compute)?;
            told(Event::Step(Progress {
                point: &point,
                steps,
                tokens_per_second: self.options.step_tokens() as f64 / seconds,
                remaining: Duration::try_from_secs_f64((steps - point.step) as f64 * seconds)
                    .unwrap_or(Duration::MAX),
            }));
            let (last, when) = self.saved;
            let is_due = match self.options.checkpoint {
                CheckpointEvery::Steps(every) => point.step - last >= every.get(),
                CheckpointEvery::Time(every) => when.elapsed() >= every,
            };
            if is_due || point.step == steps {
                self.save()?;
                told(Event::Checkpoint { step: point.step });
            }
        }
        self.learner.export(self.folder.path())?;
        Ok(())
    }

    /// Makes one step, and asks held-out text if it is time. Returns what it was and the pace: seconds per
    /// step.
    ///
    /// # Errors
    /// If the learner refuses the text, or the loss or a gradient is not finite; parameters are then as they
    /// were before.
    pub fn step(&mut self, compute: &mut Compute) -> Result<(HistoryPoint, f64), RunError> {
        let started = Instant::now();
        let (done, schedule) = (self.state.done, self.options.schedule);
        let step = done + 1;
        self.learner.begin_step(done, schedule.steps);
        let batch = self.reader.next(self.options.sequences.get());
        let mut loss = 0.0;
        for piece in batch.pieces(self.options.piece) {
            loss += self.learner.step(compute, &piece)?;
        }
        self.check(loss, "loss", step)?;
        let groups = self.learner.groups();
        let squares = groups.iter().map(|group| group.gradient_square_sum(compute)).sum();
        self.check(squares, "gradient", step)?;
        let (rate, scale) = (schedule.rate(done), clip(squares, self.options.clip));
        for (group, optimizer) in self.learner.groups_mut().into_iter().zip(&mut self.optimizers) {
            optimizer.update(compute, group, rate, scale);
        }
        self.state.done = step;
        self.state.position = self.reader.position();
        let pace = self.pace.add(started.elapsed());
        let tokens = self.tokens();
        let (rate, validation) = (f64::from(rate), Vec::new());
        let mut point = HistoryPoint { step, tokens, loss, rate, validation };
        if step.is_multiple_of(self.options.validate_every.get()) || step == schedule.steps {
            point = point.validated(&self.evaluate(compute)?);
        }
        self.state.history.push(&point);
        Ok((point, pace))
    }

    /// What the held-out text says.
    fn evaluate(&mut self, compute: &mut Compute) -> Result<Metrics, RunError> {
        let mut metrics = Metrics::default();
        for piece in self.held_out.pieces(self.options.piece) {
            self.learner.evaluate(compute, &piece, &mut metrics)?;
        }
        self.learner.end_evaluation(&mut metrics);
        Ok(metrics)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// If it cannot be written, or a parameter is not finite; the last one is kept.
    pub fn save(&mut self) -> Result<(), RunError> {
        let groups = self.learner.groups();
        let mut parameters = groups.iter().flat_map(|group| group.as_slice());
        if !parameters.all(|parameter| parameter.values.iter().all(|value| value.is_finite())) {
            return self.check(f64::NAN, "outcome", self.state.done);
        }
        self.folder.replace(|folder| {
            for (index, group) in groups.iter().enumerate() {
                checkpoint::save_group(folder, index, group, &self.optimizers[index])?;
            }
            checkpoint::save_state(folder, &self.identity, &self.state)
        })?;
        self.folder.write(HISTORY, self.state.history.text().as_bytes())?;
        self.saved = (self.state.done, Instant::now());
        Ok(())
    }

    fn load(&mut self, folder: &Path) -> Result<(), RunError> {
        let state = checkpoint::load_state(folder, self.folder.path(), &self.identity)?;
        self.reader.seek(state.position)?;
        let groups = self.learner.groups_mut().into_iter().zip(&mut self.optimizers);
        for (index, (group, optimizer)) in groups.enumerate() {
            checkpoint::load_group(folder, index, group, (optimizer, state.done))?;
        }
        self.saved = (state.done, Instant::now());
        self.state = state;
        Ok(())
    }

    fn check(&self, value: f64, what: &'static str, step: u64) -> Result<(), RunError> {
        let kept = self.saved.0;
        if value.is_finite() { Ok(()) } else { Err(RunError::Diverged { step, what, kept }) }
    }
}
