//! `foretoken train`: small models from text.

mod base;
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
}

/// Trains.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    match args.command {
        Train::Base(args) => base::run(&args),
    }
}
