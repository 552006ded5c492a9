//! Progress of what takes long, on a terminal only: loads, readings, measurements, trainings.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use foretoken_train::data::{Corpus, DataError, Encoder};
use foretoken_train::{Compute, Event, Progress};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::output;

/// Waits shorter than this show nothing.
const PATIENCE: Duration = Duration::from_millis(300);

const TEMPLATE: &str = "{msg} [{bar:32}] {percent}%";

/// Progress of loading one model after the other, or of measuring one.
pub(crate) struct Bar {
    doing: &'static str,
    started: Instant,
    visible: bool,
    shown: Option<ProgressBar>,
}

impl Bar {
    /// Nothing is shown yet.
    pub(crate) fn new(doing: &'static str) -> Self {
        Self { doing, started: Instant::now(), visible: io::stderr().is_terminal(), shown: None }
    }

    /// Something else is done from here on.
    pub(crate) fn turn_to(&mut self, doing: &'static str) {
        self.doing = doing;
    }

    /// Shows that `done` of `total` steps are done for the model called `name`.
    pub(crate) fn update(&mut self, name: &str, done: usize, total: usize) {
        if !self.visible || self.started.elapsed() < PATIENCE {
            return;
        }
        let message = format!("{} {name}", self.doing);
        if self.shown.as_ref().is_some_and(|bar| bar.message() != message) {
            self.clear();
        }
        let bar = self.shown.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(TEMPLATE);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total as u64).with_message(message);
            bar.with_style(style.progress_chars("=> "))
        });
        bar.set_position(done as u64);
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}

/// Reads a corpus under a bar.
pub(crate) fn read_corpus(
    compute: &Compute,
    encoder: &Encoder,
    paths: &[PathBuf],
) -> Result<Corpus, DataError> {
    let mut bar = Bar::new("reading");
    let name = if let [path] = paths { path.display().to_string() } else { "text".to_owned() };
    let corpus = Corpus::read(compute, encoder, paths, &mut |done, total| {
        bar.update(&name, done as usize, total as usize);
    });
    bar.clear();
    corpus
}

/// What held-out text says, by name.
pub(crate) fn held_out(means: &[(String, f64)]) -> String {
    let listed = means.iter().map(|(name, mean)| format!(", {name} {mean:.4}"));
    let listed: String = listed.collect();
    format!("held-out text{}", if means.is_empty() { ": none" } else { &listed })
}

/// Progress of a training: a bar on a terminal, and everywhere a line per validation.
pub(crate) struct TrainingBar {
    shown: Option<ProgressBar>,
}

impl TrainingBar {
    /// The bar, if there is a terminal.
    pub(crate) fn new() -> Self {
        let shown = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("[{bar:24}] {pos}/{len} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(1).with_style(style.progress_chars("=> "))
        });
        Self { shown }
    }

    /// Shows what happened.
    pub(crate) fn tell(&self, event: Event<'_>) {
        let Event::Step(progress) = event else { return };
        let Progress { point, steps, tokens_per_second, remaining } = progress;
        if let Some(bar) = &self.shown {
            bar.set_length(steps);
            bar.set_position(point.step);
            let left = HumanDuration(remaining);
            bar.set_message(format!(
                "loss {:.4}, {tokens_per_second:.0} tokens/s, {left} left",
                point.loss
            ));
        }
        if point.validation.is_empty() {
            return;
        }
        let line = format!(
            "step {} of {steps}: loss {:.4}; {}; {tokens_per_second:.0} tokens/s",
            point.step,
            point.loss,
            held_out(&point.validation)
        );
        match &self.shown {
            Some(bar) => bar.println(line),
            None => output::note(&line),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
