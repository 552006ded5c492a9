//! `foretoken bench`: what passes cost on this machine.

mod curve;
mod forward;
mod plot;
mod report;

use clap::Subcommand;

use crate::error::Error;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Cost of forward passes over rows, depth, threads and formats, beside what memory allows
    Forward(Box<forward::Args>),
    /// The cost curve that drafting goes by: measured in under a second, then kept
    Curve(curve::Args),
}

/// Measures.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    match args.command {
        Bench::Forward(args) => forward::run(&args),
        Bench::Curve(args) => curve::run(&args),
    }
}
