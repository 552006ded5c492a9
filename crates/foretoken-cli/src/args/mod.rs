//! The command line. A flag means the same in every command that has it, so flags live in groups.

mod drafting;
mod expected;
mod loading;
mod prompt;
mod prompt_set;
mod sampling;
mod shape;
mod training;

use clap::{Parser, Subcommand};

use crate::commands::{bench, completions, generate, index, inspect, run, score, tokenize, train};

pub(crate) use drafting::{DraftArgs, medusa_heads};
pub(crate) use expected::{Expected, ExpectedArgs};
pub(crate) use loading::{LoadArgs, formats, kv_types, levels};
pub(crate) use prompt::{PromptArgs, TextArgs};
pub(crate) use prompt_set::{PromptSetArgs, SetPrompt};
pub(crate) use sampling::SamplingArgs;
pub(crate) use shape::ShapeArgs;
pub(crate) use training::{TrainArgs, parse_rate, parse_share};

const ABOUT: &str = "Run language models with speculative decoding that never changes the text";

const AFTER_HELP: &str = "\
MODEL is a Hugging Face folder, a .gguf file, a hub id that is in the local hub cache already, or
`demo`, a small model built in. Flags can be set by the environment as well, as each says.

Examples:
  foretoken generate -p 'def add(a, b):' --compare
  foretoken run ./Qwen3-4B --draft-model ./Qwen3-0.6B
  foretoken inspect model.gguf";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "foretoken", version, about = ABOUT, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Complete a prompt
    Generate(Box<generate::Args>),
    /// Chat in the terminal
    Run(Box<run::Args>),
    /// Log-probabilities and perplexity of a text
    Score(score::Args),
    /// Token ids and pieces of a text
    Tokenize(tokenize::Args),
    /// What a model's files say, without loading weights
    Inspect(inspect::Args),
    /// Make a file of a corpus that `suffix` drafts from
    Index(index::Args),
    /// Measure what passes cost on this machine, and what drafters achieve
    Bench(Box<bench::Args>),
    /// Train small models
    Train(train::Args),
    /// Print a script that completes commands in a shell
    Completions(completions::Args),
}
