//! The commands, one file each.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod generate;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod run;
pub(crate) mod score;
pub(crate) mod tokenize;
pub(crate) mod train;

use crate::args::{Cli, Command};
use crate::error::Error;

/// Does what was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Generate(args) => generate::run(*args),
        Command::Run(args) => run::run(&args),
        Command::Score(args) => score::run(args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Index(args) => index::run(&args),
        Command::Bench(args) => bench::run(*args),
        Command::Train(args) => train::run(args),
        Command::Completions(args) => completions::run(&args),
    }
}
