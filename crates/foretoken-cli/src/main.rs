//! The `foretoken` command: flags in, results on stdout, everything else on stderr.
//!
//! Glue and printing only. This is the one place that reads the environment; what a model computes
//! and how it is drafted is the library's to know.

mod agreement;
mod args;
mod chart;
mod chat;
mod commands;
mod demo;
mod engine;
mod error;
mod output;
mod progress;

use std::panic;
use std::process::ExitCode;

use args::Cli;
use clap::Parser;
use error::Error;

fn main() -> ExitCode {
    // A broken law of ours is reported in one line, too.
    panic::set_hook(Box::new(|info| {
        Error::failure(format!("internal error, please report it: {info}")).report();
    }));
    let outcome = panic::catch_unwind(|| match Cli::try_parse() {
        Ok(cli) => commands::run(cli),
        Err(error) => Err(Error::from_clap(&error)),
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => error.report(),
        Err(_) => ExitCode::FAILURE,
    }
}
