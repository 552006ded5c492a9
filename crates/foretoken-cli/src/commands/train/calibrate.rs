//! Measuring how often heads are right, which chooses the trees they draft: `foretoken train calibrate`, and
//! `--calibrate` at the end of `train medusa`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use foretoken::{
    CalibrationOptions, Checkpoint, EngineOptions, MedusaCalibration, MedusaMeasurement,
    MedusaSource, ModelSource, OpenOptions, SamplingParams, calibrate_medusa,
};
use serde_json::{Value, json};

use crate::args::{LoadArgs, PromptSetArgs, medusa_heads};
use crate::error::Error;
use crate::progress::Bar;
use crate::{engine, output};

const AFTER_HELP: &str = "\
The model writes on from each prompt, undrafted, and the heads' guesses are compared with what it
writes, up to where a text begins to repeat itself. The rates go into medusa_calibration.json beside
the heads; --drafter medusa then drafts the best tree for the request's temperature. Measure on
prompts like those to come.

Examples:
  foretoken train calibrate demo --medusa-heads heads --prompts prompts.txt
  foretoken train calibrate ./model --medusa-heads heads --prompts chats.jsonl --chat --temperature 0,0.7,1";

/// Texts that are written at a time.
const TOGETHER: usize = 16;

/// Flags of `train calibrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
pub(super) struct Args {
    /// The model the heads are for
    #[arg(default_value = crate::demo::NAME, env = "FORETOKEN_MODEL")]
    model: String,

    /// The heads: a folder, or a .safetensors or .pt file in one
    #[arg(long, value_name = "HEADS", env = "FORETOKEN_MEDUSA_HEADS")]
    medusa_heads: String,

    #[command(flatten)]
    prompts: PromptSetArgs,

    #[command(flatten)]
    texts: TextArgs,

    #[command(flatten)]
    loading: LoadArgs,

    /// Print the rates as one JSON object
    #[arg(long, help_heading = "Output options")]
    json: bool,
}

/// What is written.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Calibration options")]
struct TextArgs {
    /// Temperatures to measure at
    #[arg(
        long,
        value_name = "T",
        env = "FORETOKEN_TEMPERATURE",
        value_delimiter = ',',
        default_values_t = TEMPERATURES
    )]
    temperature: Vec<f64>,

    /// Most tokens per prompt and temperature
    #[arg(long, value_name = "N", env = "FORETOKEN_MAX_TOKENS", default_value_t = TOKENS)]
    max_tokens: NonZeroUsize,

    /// Seed of the first prompt's text; each further prompt has the next
    #[arg(long, value_name = "S", env = "FORETOKEN_SEED", default_value_t = 0)]
    seed: u64,
}

const TEMPERATURES: [f64; 2] = [0.0, 0.8];
const TOKENS: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// Measures heads.
pub(super) fn run(args: Args) -> Result<(), Error> {
    let TextArgs { temperature: temperatures, max_tokens, seed } = args.texts;
    for &temperature in &temperatures {
        SamplingParams { temperature, ..<_>::default() }.validate(usize::MAX)?;
    }
    let engine = args.loading.options(engine::resolve(&args.model)?);
    let heads = medusa_heads(&args.medusa_heads)?;
    let open = OpenOptions { unknown_keys: engine.unknown_keys };
    let checkpoint = Checkpoint::open(&engine.model, &open)?;
    for warning in checkpoint.warnings() {
        output::warn(&format!("{}: {warning}", checkpoint.name()));
    }
    let prompts = tokens(&args.prompts, &checkpoint, engine.context)?;
    let text = args.prompts.name();
    let tokens = max_tokens.get();
    let options = CalibrationOptions { prompts, text, temperatures, tokens, seed };
    let calibration = measure(engine, heads, &options)?;
    if args.json {
        return output::print_json(&as_json(&calibration));
    }
    output::print(&calibration.measurements.iter().map(line).collect::<String>())
}

/// What heads of a model are to be measured on: a file of prompts, with the defaults of `train calibrate`.
pub(super) fn defaults(
    prompts: &Path,
    checkpoint: &Checkpoint,
) -> Result<CalibrationOptions, Error> {
    let set = PromptSetArgs::of_file(prompts);
    Ok(CalibrationOptions {
        prompts: tokens(&set, checkpoint, None)?,
        text: set.name(),
        temperatures: TEMPERATURES.to_vec(),
        tokens: TOKENS.get(),
        seed: 0,
    })
}

/// Measures the heads in a folder that training has written.
pub(super) fn after_training(
    engine: EngineOptions,
    heads: &Path,
    options: &CalibrationOptions,
) -> Result<(), Error> {
    let heads = MedusaSource::Folder(ModelSource::Folder(heads.to_owned()));
    let calibration = measure(engine, heads, options)?;
    calibration.measurements.iter().for_each(|measured| output::note(line(measured).trim_end()));
    Ok(())
}

/// Measures and writes the rates beside the heads.
fn measure(
    mut engine: EngineOptions,
    heads: MedusaSource,
    options: &CalibrationOptions,
) -> Result<MedusaCalibration, Error> {
    let folder = folder(&heads)?;
    engine.medusa.heads = Some(heads);
    engine.max_sequences = TOGETHER;
    let name = engine.model.name();
    let mut bar = Bar::new("calibrating");
    let calibration = calibrate_medusa(&engine, options, &mut |progress| {
        bar.update(&name, progress.done, progress.total);
    });
    bar.clear();
    let calibration = calibration?;
    calibration.write(&folder)?;
    Ok(calibration)
}

/// Where the rates belong.
fn folder(heads: &MedusaSource) -> Result<PathBuf, Error> {
    match heads {
        MedusaSource::Folder(ModelSource::Folder(folder)) => Ok(folder.clone()),
        MedusaSource::File(file) => Ok(file.parent().unwrap_or(Path::new("")).to_owned()),
        MedusaSource::Folder(_) => Err(Error::flag(
            "--medusa-heads",
            "these heads lie in no folder that can be written to; name a folder",
        )),
    }
}

/// The prompts that leave room to write; a warning for each of the others.
fn tokens(
    set: &PromptSetArgs,
    checkpoint: &Checkpoint,
    context: Option<usize>,
) -> Result<Vec<Vec<u32>>, Error> {
    let (source, context) = (checkpoint.source(), context.unwrap_or(checkpoint.spec().context));
    let (read, tokenizer) = (set.read()?, source.tokenizer()?);
    let template = set.template(&read, source)?;
    let model = (checkpoint.name(), &tokenizer);
    let prompts = set.fitting(read, model, template.as_ref(), context)?;
    Ok(prompts.into_iter().map(|(_, tokens)| tokens).collect())
}

/// A measurement for people.
fn line(measured: &MedusaMeasurement) -> String {
    let percent = |rate: f64| format!("{:.1}", 100.0 * rate);
    let heads = measured.ranks.iter().map(|ranks| {
        let best: f64 = ranks.iter().take(5).sum();
        format!("{} / {}", percent(ranks.first().copied().unwrap_or(0.0)), percent(best))
    });
    format!(
        "temperature {}: {} positions; best guess / best five right per head, in percent: {}\n",
        measured.temperature,
        measured.positions,
        heads.collect::<Vec<_>>().join(", ")
    )
}

fn as_json(calibration: &MedusaCalibration) -> Value {
    let measurements = calibration.measurements.iter().map(|measured| {
        json!({
            "temperature": measured.temperature,
            "positions": measured.positions,
            "ranks": measured.ranks,
        })
    });
    json!({
        "model": calibration.model,
        "text": calibration.text,
        "measurements": measurements.collect::<Vec<_>>(),
    })
}
