//! Why a run does not start, or ends early.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::data::DataError;
use crate::error::TrainError;

/// A mistake of a caller, a training that diverged, or a folder that cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Less memory than training needs.
    #[error(
        "training {parameters} parameters needs about {} of memory and {} are available; choose a smaller \
         model, shorter sequences, fewer of them at once, or less text",
        bytes(*.needed), bytes(*.available)
    )]
    Memory {
        /// Parameters.
        parameters: usize,
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are available.
        available: usize,
    },
    /// A number that is none any more.
    #[error(
        "the {what} of step {step} is not finite: training diverged; lower the learning rate or warm up for \
         longer (the checkpoint of step {kept} is kept)"
    )]
    Diverged {
        /// The step, from 1.
        step: u64,
        /// What is not finite.
        what: &'static str,
        /// The step of the last checkpoint.
        kept: u64,
    },
    /// A checkpoint that this run cannot continue.
    #[error(
        "`{}` holds a checkpoint of another run: its {what} is {found}, not {wanted}; name another folder, or \
         begin anew", .folder.display()
    )]
    OtherRun {
        /// The output folder.
        folder: PathBuf,
        /// The first setting that differs.
        what: &'static str,
        /// The checkpoint's.
        found: String,
        /// This run's.
        wanted: String,
    },
    /// A folder with a model that no checkpoint belongs to.
    #[error("`{}` holds a model already; name another folder", .folder.display())]
    Occupied {
        /// The output folder.
        folder: PathBuf,
    },
    /// A folder that another process trains in.
    #[error("another run is under way in `{}`; wait for its end, or name another folder", .folder.display())]
    Busy {
        /// The output folder.
        folder: PathBuf,
    },
    /// A checkpoint's file that is not as it was written.
    #[error("`{}` is damaged ({cause}); begin anew", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A file or folder that cannot be read.
    #[error("cannot read `{}`: {cause}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file or folder that cannot be written; the last checkpoint is as it was.
    #[error("cannot write `{}`: {cause}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// Settings without a meaning.
    #[error("{0}")]
    Options(&'static str),
    /// The learner's own.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The text's own.
    #[error(transparent)]
    Data(#[from] DataError),
}

fn bytes(bytes: usize) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
