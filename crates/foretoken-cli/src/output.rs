//! What is printed: text as it streams, statistics, and the JSON objects scripts depend on.

use std::env;
use std::io::{self, IsTerminal, Write};

use foretoken::{Completion, Engine, Generation, Origin, Rule, SpecStats};
use serde_json::{Value, json};

use crate::error::Error;

/// Starts and ends the colour of drafted tokens.
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// Whether drafted tokens are shown apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drafts {
    /// In colour.
    Coloured,
    /// Like all text.
    Plain,
}

impl Drafts {
    /// Colour where it was asked for and a terminal shows it.
    pub(crate) fn new(asked: bool) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if asked && !refused && io::stdout().is_terminal() { Self::Coloured } else { Self::Plain }
    }
}

/// Prints the text of a generation token by token, and a line's end.
pub(crate) fn stream(mut generation: Generation<'_>, drafts: Drafts) -> Result<Completion, Error> {
    let mut out = io::stdout().lock();
    for token in &mut generation {
        // Each piece ends its own colour, so that an interrupt leaves the terminal as it was.
        match (drafts, token.origin) {
            _ if token.text.is_empty() => {}
            (Drafts::Coloured, Origin::Drafted) => write!(out, "{GREEN}{}{RESET}", token.text)?,
            _ => write!(out, "{}", token.text)?,
        }
        out.flush()?;
    }
    writeln!(out)?;
    Ok(generation.into_completion()?)
}

/// Prints one JSON object on a line.
pub(crate) fn print_json(object: &Value) -> Result<(), Error> {
    Ok(writeln!(io::stdout(), "{object}")?)
}

/// Prints lines of text.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Tells something that is no result.
pub(crate) fn note(line: &str) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Tells what was ignored.
pub(crate) fn warn(line: &str) {
    note(&format!("warning: {line}"));
}

/// The object of `generate --json`.
pub(crate) fn completion(engine: &Engine, rule: Rule, completion: &Completion) -> Value {
    let target = engine.target();
    json!({
        "model": engine.checkpoint().name(),
        "drafter": engine.drafter(),
        "acceptance": rule.name(),
        "lossless": rule.is_lossless(),
        "seed": completion.seed,
        "quant": target.weight_format().name(),
        "kv": target.kv_type().name(),
        "threads": engine.threads(),
        "text": completion.text,
        "tokens": completion.tokens,
        "prompt_tokens": completion.prompt_tokens,
        "finish_reason": completion.finish_reason.name(),
        "stats": statistics(&completion.stats),
    })
}

fn statistics(stats: &SpecStats) -> Value {
    json!({
        "steps": stats.steps,
        "drafted": stats.drafted,
        "probes": stats.probes,
        "accepted": stats.accepted,
        "drafted_by_position": stats.drafted_by_position,
        "accepted_by_position": stats.accepted_by_position,
        "mean_accepted_length": stats.mean_accepted_length(),
        "prefill_seconds": stats.prefill_time.as_secs_f64(),
        "decode_seconds": stats.decode_time.as_secs_f64(),
        "draft_seconds": stats.draft_time.as_secs_f64(),
        "verify_seconds": stats.verify_time.as_secs_f64(),
        "tokens_per_second": stats.tokens_per_second(),
    })
}

/// The statistics as a line for people.
pub(crate) fn statistics_line(engine: &Engine, rule: Rule, stats: &SpecStats) -> String {
    let lossy = if rule.is_lossless() { "" } else { ", lossy" };
    // A text of one pass has no speed: the prompt's time is not counted.
    let speed = match stats.tokens_per_second() {
        0.0 => String::new(),
        speed => format!("{speed:.1} tokens/s, "),
    };
    format!(
        "{} tokens, {speed}{:.2} tokens per pass (drafter {}, acceptance {}{lossy})",
        stats.emitted,
        stats.mean_accepted_length(),
        engine.drafter(),
        rule.name(),
    )
}
