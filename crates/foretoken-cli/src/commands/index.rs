//! `foretoken index`: a corpus as a file that `suffix` searches.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use foretoken::{Checkpoint, CorpusIndex, OpenOptions, UnknownKeys, available_memory};
use foretoken_train::data::Encoder;
use foretoken_train::{Compute, CpuOptions, Precision, default_threads};
use indicatif::DecimalBytes;
use serde_json::json;

use crate::error::Error;
use crate::progress::{Bar, read_corpus};
use crate::{demo, engine, output};

const AFTER_HELP: &str = "\
The index serves models with the tokenizer of MODEL; it takes 8 bytes of disk per token, and up to
30 of memory while it is made. Every text that is drafted with it may be shown any part of it.

Examples:
  foretoken index corpus/ -o corpus.index
  foretoken index notes.jsonl -o notes.index ./Qwen3-4B
  foretoken generate -p 'Once upon' --drafter suffix --suffix-corpus corpus.index";

/// Flags of `index`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// File of JSON lines (`text`, `messages`, `conversations` or `tokens`), plain or compressed, or a folder,
    /// of which the .jsonl and .jsonl.gz files right in it are taken
    corpus: PathBuf,

    /// Model whose tokenizer and chat template are used: folder, .gguf file, hub id in the local cache, or
    /// `demo`
    #[arg(default_value = demo::NAME, env = "FORETOKEN_MODEL")]
    model: String,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Print one JSON object
    #[arg(long, help_heading = "Output options")]
    json: bool,
}

/// Makes the index.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let started = Instant::now();
    check_place(&args.output, &args.corpus)?;
    let source = engine::resolve(&args.model)?;
    // Nothing is computed, so what the family does not know changes nothing.
    let options = OpenOptions { unknown_keys: UnknownKeys::Warn };
    let checkpoint = Checkpoint::open(&source, &options)?;
    let options = CpuOptions { threads: default_threads(), isa: None };
    let compute = Compute::new(options, Precision::F32);
    let paths = std::slice::from_ref(&args.corpus);
    let corpus = read_corpus(&compute, &Encoder::of(&checkpoint)?, paths)?;
    if corpus.skipped().count > 0 {
        output::warn(&corpus.skipped().to_string());
    }
    let read = started.elapsed();
    output::note(&format!("{} documents with {} tokens", corpus.len(), corpus.tokens()));
    check_memory(corpus.tokens() + corpus.len(), available_memory())?;
    let (tokenizer, vocab) = (source.tokenizer()?, checkpoint.spec().vocab);
    let mut bar = Bar::new("sorting");
    let name = args.corpus.display().to_string();
    let documents = (0..corpus.len()).map(|index| corpus.document(index).0);
    let written = CorpusIndex::write(&args.output, documents, &tokenizer, vocab, &mut |done| {
        bar.update(&name, done, CorpusIndex::ROUNDS);
    });
    bar.clear();
    written?;
    let bytes = fs::metadata(&args.output).map_err(|cause| Error::read(&args.output, cause))?.len();
    if !args.json {
        let (file, size) = (args.output.display(), DecimalBytes(bytes));
        let seconds = started.elapsed().as_secs_f64();
        return output::print(&format!("{file}: {size} in {seconds:.1} s\n"));
    }
    output::print_json(&json!({
        "model": checkpoint.name(),
        "file": args.output,
        "bytes": bytes,
        "documents": corpus.len(),
        "tokens": corpus.tokens(),
        "skipped_lines": corpus.skipped().count,
        "read_seconds": read.as_secs_f64(),
        "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// Refuses a place that nothing can be written to, and one from which the corpus would be lost.
fn check_place(output: &Path, corpus: &Path) -> Result<(), Error> {
    let name = output.to_string_lossy();
    let is_text = name.ends_with(".jsonl") || name.ends_with(".jsonl.gz");
    let whole = |path: &Path| fs::canonicalize(path).ok();
    let folder =
        output.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let is_in = is_text && whole(folder).is_some_and(|of| Some(of) == whole(corpus));
    if is_in || whole(output).is_some_and(|place| Some(place) == whole(corpus)) {
        let cause = format!("`{}` is part of the corpus; name another file", output.display());
        return Err(Error::flag("--output", cause));
    }
    Ok(CorpusIndex::check_place(output)?)
}

/// Refuses to sort more tokens than memory is left for, where the system tells.
fn check_memory(tokens: usize, left: Option<usize>) -> Result<(), Error> {
    let needed = tokens.saturating_mul(CorpusIndex::WRITING);
    match left {
        Some(left) if left < needed => Err(Error::failure(format!(
            "sorting {tokens} tokens takes {} MB of memory and {} MB are left; make several indexes of less text",
            needed >> 20,
            left >> 20,
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_tokens_than_memory_holds_are_refused_with_the_numbers() {
        assert!(check_memory(100 << 20, None).is_ok());
        assert!(check_memory(100 << 20, Some(2000 << 20)).is_ok());
        let Err(Error::Failure(why)) = check_memory(100 << 20, Some(1999 << 20)) else {
            panic!("it was not refused")
        };
        assert!(why.contains("takes 2000 MB of memory and 1999 MB are left"), "{why}");
    }
}
