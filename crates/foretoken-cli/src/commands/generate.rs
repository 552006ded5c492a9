//! `foretoken generate`: one completion of a prompt.

use foretoken::{Completion, Drafting, Engine, Message, Request, Rule};
use serde_json::json;

use crate::args::{DraftArgs, ExpectedArgs, LoadArgs, PromptArgs, SamplingArgs};
use crate::error::Error;
use crate::output::{self, Drafts};
use crate::{agreement, chat, demo, engine};

const AFTER_HELP: &str = "\
Examples:
  foretoken generate -p 'def add(a, b):' --compare
  foretoken generate ./Qwen3-4B --draft-model ./Qwen3-0.6B --chat -p 'Why is the sky blue?'
  foretoken generate model.gguf --prompt-file notes.txt --temperature 0.8 --seed 7 --json
  foretoken generate model.gguf --prompt-file edit.txt --prediction old.py --drafter suffix";

/// Tokens of the run that warms caches and threads up before speeds are compared.
const WARM_UP: usize = 16;

/// Flags of `generate`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Folder, .gguf file, hub id in the local cache, or `demo`
    #[arg(default_value = demo::NAME, env = "FORETOKEN_MODEL")]
    model: String,

    #[command(flatten)]
    prompt: PromptArgs,

    /// Give the prompt to the model as a chat message
    #[arg(long, help_heading = "Prompt")]
    chat: bool,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    drafting: DraftArgs,

    #[command(flatten)]
    expected: ExpectedArgs,

    #[command(flatten)]
    load: LoadArgs,

    /// Generate once more without drafting, check that the text is the same, and compare the speeds
    #[arg(long, help_heading = "Output options")]
    compare: bool,

    /// Show accepted drafted tokens in colour
    #[arg(long, help_heading = "Output options", conflicts_with = "json")]
    show_drafts: bool,

    /// Print one JSON object
    #[arg(long, help_heading = "Output options")]
    json: bool,
}

/// Prints the completion.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    args.sampling.check()?;
    let rule = args.drafting.rule()?;
    if args.compare && rule != Rule::Coupled {
        let cause =
            format!("only coupled acceptance gives the same text, {} does not", rule.name());
        return Err(Error::flag("--compare", cause));
    }
    args.drafting.check(args.expected.predicts())?;
    let expected = args.expected.read(rule)?;
    let prompt = args.prompt.read()?;
    let message = if args.chat { Some(prompt.message()?) } else { None };
    let source = engine::resolve(&args.model)?;
    let mut options = args.load.options(source.clone());
    args.drafting.apply(&args.model, &mut options)?;
    args.expected.draft_with(&mut options.drafter);
    let mut engine = engine::load(&options)?;

    let tokens = match message {
        Some(message) => chat::tokens(
            (engine.checkpoint().name(), engine.tokenizer()),
            &chat::template(&source)?,
            &[Message::new("user", message)],
        )?,
        None => prompt.encode(engine.tokenizer())?,
    };
    let mut request = Request::new(tokens);
    args.sampling.apply(&engine, &mut request)?;
    request.rule = rule;
    expected.apply(engine.tokenizer(), &mut request)?;
    if args.compare {
        warm_up(&mut engine, &request).map_err(|cause| prompt.refused(cause))?;
    }
    let generation = engine.generate(request.clone()).map_err(|cause| prompt.refused(cause))?;
    let completion = if args.json {
        generation.into_completion()?
    } else {
        output::stream(generation, Drafts::new(args.show_drafts))?
    };
    let baseline =
        if args.compare { Some(plain(&mut engine, &request, &completion)?) } else { None };
    report(&engine, &request, &completion, baseline.as_ref(), args.json)
}

fn warm_up(engine: &mut Engine, request: &Request) -> Result<(), foretoken::Error> {
    for drafting in [Drafting::On, Drafting::Off] {
        let max_tokens = request.max_tokens.map(|tokens| tokens.min(WARM_UP));
        engine.generate(Request { max_tokens, drafting, ..request.clone() })?.into_completion()?;
    }
    Ok(())
}

/// The same completion by plain decoding.
fn plain(
    engine: &mut Engine,
    request: &Request,
    drafted: &Completion,
) -> Result<Completion, Error> {
    let seed = Some(drafted.seed);
    let request = Request { seed, drafting: Drafting::Off, ..request.clone() };
    let plain = engine.generate(request)?.into_completion()?;
    agreement::check(&plain.tokens, &drafted.tokens).map_err(|cause| cause.context("--compare"))?;
    Ok(plain)
}

fn report(
    engine: &Engine,
    request: &Request,
    completion: &Completion,
    baseline: Option<&Completion>,
    json: bool,
) -> Result<(), Error> {
    let speed = completion.stats.tokens_per_second();
    let compared = baseline.map(|plain| {
        let plain = plain.stats.tokens_per_second();
        (plain, if plain > 0.0 { speed / plain } else { 0.0 })
    });
    if json {
        let mut object = output::completion(engine, request.rule, completion);
        if request.forced.is_some() {
            object["forced"] = json!(true);
        }
        if let Some((plain, speedup)) = compared {
            object["baseline"] = json!({ "tokens_per_second": plain, "speedup": speedup });
        }
        return output::print_json(&object);
    }
    let mut line = output::statistics_line(engine, request.rule, &completion.stats);
    if request.forced.is_some() {
        line.push_str(", text forced");
    }
    if !request.sampling.is_greedy() {
        line = format!("{line}, seed {}", completion.seed);
    }
    output::note(&line);
    if let Some((plain, speedup)) = compared {
        output::note(&format!(
            "plain decoding: {plain:.1} tokens/s for the same tokens; drafting is {speedup:.2}x as fast"
        ));
    }
    Ok(())
}
