//! `foretoken train`: small models from text.

mod base;
mod calibrate;
mod continuations;
mod draft;
mod joint;
mod medusa;
mod plot;
mod session;

use clap::Subcommand;

use crate::error::Error;

/// What is trained.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Train,
}

#[derive(Debug, Subcommand)]
enum Train {
    /// A small Llama from nothing
    Base(Box<base::Args>),
    /// A small Llama that drafts for a model, distilled from it
    Draft(Box<draft::Args>),
    /// Heads that draft for a model (Medusa)
    Medusa(Box<medusa::Args>),
    /// How often heads are right, which chooses the trees they draft
    Calibrate(Box<calibrate::Args>),
}

/// Trains.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    match args.command {
        Train::Base(args) => base::run(&args),
        Train::Draft(args) => draft::run(&args),
        Train::Medusa(args) => medusa::run(*args),
        Train::Calibrate(args) => calibrate::run(*args),
    }
}
