//! The progress bar of loads and measurements: on a terminal only, and only for those that take long.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

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

    /// Shows that `done` of `total` steps are done for the model called `name`.
    pub(crate) fn update(&mut self, name: &str, done: usize, total: usize) {
        if !self.visible || self.started.elapsed() < PATIENCE {
            return;
        }
        let message = format!("{} {name}", self.doing);
        let bar = self.shown.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(TEMPLATE);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total as u64).with_message(message.clone());
            bar.with_style(style.progress_chars("=> "))
        });
        if bar.message() != message {
            bar.set_message(message);
            bar.set_length(total as u64);
        }
        bar.set_position(done as u64);
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
