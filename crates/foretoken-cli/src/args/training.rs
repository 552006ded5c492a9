//! What every training has: text, a budget, rates, and a folder.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use foretoken::Isa;
use foretoken_train::{CheckpointEvery, Precision};

use super::levels;
use crate::error::Error;

/// Flags of every command that trains.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training options")]
pub(crate) struct TrainArgs {
    /// Text to learn: files of JSON lines (`text`, `messages`, `conversations` or `tokens`), plain or
    /// .gz, and folders of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub(crate) data: Vec<PathBuf>,

    /// Text to validate on [default: one document in a hundred of the data, which is not learned]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) validate: Vec<PathBuf>,

    /// Folder for the outcome and its checkpoints; a run whose checkpoint is there goes on
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,

    /// Begin anew where there is a checkpoint
    #[arg(long)]
    pub(crate) restart: bool,

    /// Tokens to learn from, such as 5M
    #[arg(long, value_name = "N", value_parser = parse_count, required_unless_present = "steps")]
    pub(crate) tokens: Option<NonZeroU64>,

    /// Steps to make, instead of --tokens
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with = "tokens")]
    pub(crate) steps: Option<NonZeroU64>,

    /// Sequences per step
    #[arg(long, value_name = "N", default_value_t = const { NonZeroUsize::new(16).unwrap() })]
    pub(crate) batch: NonZeroUsize,

    /// Sequences of a step computed at once: fewer need less memory [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) at_once: Option<NonZeroUsize>,

    /// Tokens per sequence
    #[arg(long, value_name = "N", default_value_t = const { NonZeroUsize::new(256).unwrap() })]
    pub(crate) length: NonZeroUsize,

    /// Highest learning rate [default: the method's own]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) learning_rate: Option<f32>,

    /// Steps in which the learning rate rises [default: one in twenty]
    #[arg(long, value_name = "N")]
    pub(crate) warm_up: Option<u64>,

    /// Decides initial values and the order of the text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Threads that compute [default: one per physical core]
    #[arg(long, value_name = "N", env = "FORETOKEN_THREADS")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Best instruction set to use [default: the machine's best]
    #[arg(long, value_name = "LEVEL", env = "FORETOKEN_ISA", value_parser = levels())]
    pub(crate) isa: Option<Isa>,

    /// How factors of products are rounded [default: bf16 with AVX-512 or AMX, else f32]
    #[arg(long, value_name = "TYPE", value_parser = precisions())]
    pub(crate) precision: Option<Precision>,

    /// Steps between validations
    #[arg(long, value_name = "N", default_value_t = const { NonZeroU64::new(100).unwrap() })]
    pub(crate) validate_every: NonZeroU64,

    /// Steps between checkpoints, or minutes such as 10m
    #[arg(long, value_name = "N|Nm", default_value = "10m", value_parser = parse_interval)]
    pub(crate) checkpoint_every: CheckpointEvery,

    /// Print one JSON object at the end
    #[arg(long, help_heading = "Output options")]
    pub(crate) json: bool,
}

impl TrainArgs {
    /// Refuses sequences that are longer than a model's context.
    pub(crate) fn check_length(&self, context: usize) -> Result<(), Error> {
        if self.length.get() <= context {
            return Ok(());
        }
        Err(Error::flag("--length", format!("the model's context ends at {context} tokens")))
    }
}

fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(["bf16", "f32"]).map(|name| match name.as_str() {
        "f32" => Precision::F32,
        _ => Precision::Bf16,
    })
}

/// A number, perhaps of thousands, millions or billions.
fn parse_count(text: &str) -> Result<NonZeroU64, &'static str> {
    let (digits, unit) = match text.strip_suffix(['k', 'K', 'M', 'G']) {
        Some(digits) if text.ends_with('M') => (digits, 1_000_000),
        Some(digits) if text.ends_with('G') => (digits, 1_000_000_000),
        Some(digits) => (digits, 1000),
        None => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.and_then(NonZeroU64::new).ok_or("write a number above 0, such as 5000, 200k or 5M")
}

/// A number above 0.
pub(crate) fn parse_rate(text: &str) -> Result<f32, &'static str> {
    let rate = text.parse().ok().filter(|rate: &f32| rate.is_finite() && *rate > 0.0);
    rate.ok_or("write a number above 0, such as 0.2 or 1e-4")
}

/// A part of a whole.
pub(crate) fn parse_share(text: &str) -> Result<f32, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("write a number from 0 to 1, such as 0.5")
}

fn parse_interval(text: &str) -> Result<CheckpointEvery, &'static str> {
    let mistake = "write steps such as 500, or minutes such as 10m, above 0";
    let (digits, is_time) = text.strip_suffix('m').map_or((text, false), |digits| (digits, true));
    let number = digits.parse().map_err(|_| mistake)?;
    if is_time {
        let seconds = NonZeroU64::get(number).checked_mul(60).ok_or(mistake)?;
        return Ok(CheckpointEvery::Time(Duration::from_secs(seconds)));
    }
    Ok(CheckpointEvery::Steps(number))
}
