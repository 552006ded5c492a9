//! `foretoken score`: how likely a model finds a text.

use std::fmt::Write;

use foretoken::{Engine, Score, TokenId};
use serde_json::{Value, json};

use crate::args::{LoadArgs, TextArgs};
use crate::error::Error;
use crate::{engine, output};

const AFTER_HELP: &str = "\
Log-probabilities are natural logarithms of the raw model: no temperature, penalty or filter.

Examples:
  foretoken score demo --text 'def add(a, b):\\n    return a + b'
  foretoken score model.gguf --text-file book.txt --json";

/// Flags of `score`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// The model
    model: String,

    #[command(flatten)]
    text: TextArgs,

    #[command(flatten)]
    load: LoadArgs,

    /// Report the K most likely tokens of each position as well
    #[arg(long, value_name = "K", default_value_t = 0, help_heading = "Output options")]
    top: usize,

    /// Print one JSON object
    #[arg(long, help_heading = "Output options")]
    json: bool,
}

/// Prints the score.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    let text = args.text.read()?;
    let mut engine = engine::load(&args.load.options(engine::resolve(&args.model)?))?;
    let tokens = text.encode(engine.tokenizer())?;
    let score = engine.score(&tokens, args.top).map_err(|cause| text.refused(cause))?;
    if args.json {
        return output::print_json(&object(&score, args.top));
    }
    output::print(&table(&engine, &score))
}

fn object(score: &Score, top: usize) -> Value {
    let mut object = json!({
        "tokens": score.tokens,
        "logprobs": score.logprobs,
        "perplexity": score.perplexity(),
    });
    if top > 0 {
        object["top"] = json!(score.top);
    }
    object
}

fn table(engine: &Engine, score: &Score) -> String {
    let piece =
        |id: TokenId| engine.tokenizer().piece(id).unwrap_or_default().escape_debug().to_string();
    let mut table = String::new();
    for ((&id, logprob), top) in score.tokens.iter().zip(&score.logprobs).zip(&score.top) {
        let logprob = logprob.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        // Writing to a string does not fail.
        let _ = write!(table, "{logprob:>10}  {id:>8}  {}", piece(id));
        for &(id, logprob) in top {
            let _ = write!(table, "   {} {logprob:.4}", piece(id));
        }
        table.push('\n');
    }
    let (tokens, perplexity) = (score.tokens.len(), score.perplexity());
    let _ = writeln!(table, "{tokens} tokens, perplexity {perplexity:.4}");
    table
}
