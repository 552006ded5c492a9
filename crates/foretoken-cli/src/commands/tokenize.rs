//! `foretoken tokenize`: the ids and pieces of a text. Needs a vocabulary, no tensors.

use std::fmt::Write;

use foretoken::{AddSpecial, ParseSpecial};
use serde_json::json;

use crate::error::Error;
use crate::{engine, output};

const AFTER_HELP: &str = "\
Examples:
  foretoken tokenize demo 'def add(a, b):'
  foretoken tokenize vocabulary.gguf 'Hello world' --json";

/// Flags of `tokenize`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The model, or a GGUF file with only its vocabulary
    model: String,

    /// The text
    #[arg(allow_hyphen_values = true)]
    text: String,

    /// Leave out the tokens that the model expects around a text
    #[arg(long)]
    no_bos: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the tokens.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let tokenizer = engine::resolve(&args.model)?.tokenizer()?;
    let add = if args.no_bos { AddSpecial::No } else { AddSpecial::Yes };
    let tokens = tokenizer.encode(&args.text, add, ParseSpecial::Yes)?;
    let pieces: Vec<_> = tokens.iter().map(|&id| tokenizer.piece(id).unwrap_or_default()).collect();
    if args.json {
        return output::print_json(&json!({ "tokens": tokens, "pieces": pieces }));
    }
    let mut table = String::new();
    for (id, piece) in tokens.iter().zip(&pieces) {
        // Writing to a string does not fail.
        let _ = writeln!(table, "{id:>8}  {}", piece.escape_debug());
    }
    output::print(&table)
}
