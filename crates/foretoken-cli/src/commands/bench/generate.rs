//! `foretoken bench generate`: drafters on a set of prompts, on equal terms.

mod measure;
mod report;

use std::num::NonZeroUsize;

use clap::Arg;
use foretoken::{ChatTemplate, Engine, Request};

use crate::args::{
    DraftArgs, Expected, ExpectedArgs, LoadArgs, PromptSetArgs, SamplingArgs, SetPrompt,
};
use crate::error::Error;
use crate::progress::Bar;
use crate::{demo, engine, output};
use measure::Contest;
use report::{Report, Terms};

const AFTER_HELP: &str = "\
Plain decoding (`none`) is always measured. For every prompt all drafters take turns, in every
round; a prompt counts with the round of its median time. Text is reported whole, and loop-free:
the passes up to the third occurrence of any 16 tokens. Under coupled acceptance a drafter that
changes the text is an error. JSON lines are {\"prompt\"}, {\"text\"}, {\"turns\"} (the first one) or
{\"messages\"}, and are reported by their \"category\" as well. --prediction and --force-text hold for
every prompt; the prediction is read by drafters that name `prediction`, at least one.

Examples:
  foretoken bench generate --prompts prompts.txt --drafter model,lookup,model+lookup
  foretoken bench generate ./Qwen3-4B --draft-model ./Qwen3-0.6B --chat --prompts spec_bench.jsonl --limit 40
  foretoken bench generate --prompts prompts.txt --temperature 0.8 --seed 7 --rounds 5 --json
  foretoken bench generate --prompts edit.jsonl --prediction old.py --force-text new.py --drafter suffix,prediction";

/// Flags of `bench generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
#[command(mut_arg("drafter", several))]
pub(super) struct Args {
    /// Folder, .gguf file, hub id in the local cache, or `demo`
    #[arg(default_value = demo::NAME, env = "FORETOKEN_MODEL")]
    model: String,

    #[command(flatten)]
    set: PromptSetArgs,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    drafting: DraftArgs,

    #[command(flatten)]
    expected: ExpectedArgs,

    #[command(flatten)]
    load: LoadArgs,

    /// Times each drafter generates each text
    #[arg(long, value_name = "N", default_value = "3", help_heading = "Prompts")]
    rounds: NonZeroUsize,

    /// Print one JSON object
    #[arg(long, help_heading = "Output options")]
    json: bool,
}

/// The flag that names a drafter, as one that names several to compare.
fn several(drafter: Arg) -> Arg {
    let help = drafter.get_help().map(|help| format!("{help}; a,b compares several"));
    drafter.value_name("NAME[+NAME...],...").help(help.unwrap_or_default())
}

/// Prints what the drafters achieve.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    args.sampling.check()?;
    let expected = args.expected.read(args.drafting.rule()?)?;
    let names = args.drafting.list()?;
    args.expected.check_reader(&args.drafting)?;
    args.drafting.check(args.expected.predicts())?;
    let prompts = args.set.read()?;
    let source = engine::resolve(&args.model)?;
    let template = args.set.template(&prompts, &source)?;
    let mut options = args.load.options(source);
    args.drafting.apply(&args.model, &mut options)?;
    let mut engines: Vec<Engine> = Vec::new();
    for name in names {
        name.clone_into(&mut options.drafter);
        let loaded = engine::load(&options)?;
        if engines.iter().any(|other| other.drafter() == loaded.drafter()) {
            let cause = format!("`auto` is `{}` here; each is measured once", loaded.drafter());
            return Err(Error::flag("--drafter", cause));
        }
        engines.push(loaded);
    }
    let read = prompts.len();
    let mut jobs = args.jobs(&mut engines[0], prompts, (template.as_ref(), &expected))?;
    let mut contest = Contest::new(engines, args.rounds);
    // One seed for all, drawn by the first run where none is given.
    let seed = contest.warm_up(&jobs[0].request)?;
    for job in &mut jobs {
        job.request.seed = Some(seed);
    }
    let skipped = read - jobs.len();
    let terms = Terms::new(contest.plain(), jobs[0].request.clone(), args.rounds, skipped);
    let mut report = Report::new(terms, contest.names());
    let mut bar = Bar::new("measuring");
    let measured = jobs.iter().enumerate().try_for_each(|(done, Job { prompt, request })| {
        bar.update(&args.model, done, jobs.len());
        let runs = contest.measure(request);
        let runs = runs.map_err(|cause| cause.context(&args.set.place(prompt.line)))?;
        report.add(prompt.category.as_deref(), &runs);
        Ok::<_, Error>(())
    });
    bar.clear();
    measured?;
    if args.json { output::print_json(&report.object()) } else { output::print(&report.table()) }
}

/// A prompt and what everybody is asked to do with it.
struct Job {
    prompt: SetPrompt,
    request: Request,
}

impl Args {
    /// The requests, at least one. What an engine has against them is found now rather than after
    /// minutes of measuring.
    fn jobs(
        &self,
        engine: &mut Engine,
        prompts: Vec<SetPrompt>,
        (template, expected): (Option<&ChatTemplate>, &Expected),
    ) -> Result<Vec<Job>, Error> {
        let model = (engine.checkpoint().name(), engine.tokenizer());
        let prompts = self.set.fitting(prompts, model, template, engine.target().context())?;
        let mut jobs = Vec::new();
        for (prompt, tokens) in prompts {
            let mut request = Request::new(tokens);
            self.sampling.apply(engine, &mut request)?;
            request.rule = self.drafting.rule()?;
            expected.apply(engine.tokenizer(), &mut request)?;
            let id = engine.submit(request.clone())?;
            engine.cancel(id);
            jobs.push(Job { prompt, request });
        }
        Ok(jobs)
    }
}
