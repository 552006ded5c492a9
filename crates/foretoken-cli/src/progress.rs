//! The progress bar while weights are packed: on a terminal only, and only for loads that take long.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use foretoken::LoadProgress;
use indicatif::{ProgressBar, ProgressStyle};

/// Loads shorter than this show nothing.
const PATIENCE: Duration = Duration::from_millis(300);

const TEMPLATE: &str = "loading {msg} [{bar:32}] {percent}%";

/// Progress of loading one model after the other.
pub(crate) struct LoadBar {
    started: Instant,
    visible: bool,
    bar: Option<ProgressBar>,
}

impl LoadBar {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), visible: io::stderr().is_terminal(), bar: None }
    }

    /// Shows how far the model called `name` is.
    pub(crate) fn update(&mut self, name: &str, step: LoadProgress) {
        if !self.visible || self.started.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(TEMPLATE);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(step.total as u64).with_message(name.to_owned());
            bar.with_style(style.progress_chars("=> "))
        });
        if bar.message() != name {
            bar.set_message(name.to_owned());
            bar.set_length(step.total as u64);
        }
        bar.set_position(step.done as u64);
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
