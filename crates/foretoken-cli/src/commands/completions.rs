//! `foretoken completions`: a shell's completion script.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::Error;
use crate::output;

const AFTER_HELP: &str = "\
Example:
  foretoken completions bash > ~/.local/share/bash-completion/completions/foretoken";

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "foretoken", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
