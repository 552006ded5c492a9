//! `foretoken bench`: what passes cost on this machine, and what drafters make of it.

mod curve;
mod forward;
mod generate;
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
    /// The cost curve that drafting goes by: measured once, then kept
    Curve(curve::Args),
    /// Drafters on a set of prompts, on equal terms: tokens per pass, speed, and the same text
    Generate(Box<generate::Args>),
}

/// Measures.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    match args.command {
        Bench::Forward(args) => forward::run(&args),
        Bench::Curve(args) => curve::run(&args),
        Bench::Generate(args) => generate::run(&args),
    }
}
