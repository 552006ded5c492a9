//! `foretoken train draft`: a small Llama that drafts for a model.

use std::path::PathBuf;

use foretoken::{Checkpoint, ModelSource, OpenOptions, WeightFormat};
use foretoken_train::data::Encoder;
use foretoken_train::{BaseModel, DraftModel, FrozenTarget, Llama, StoredAs};

use super::session::{Recipe, Session, check_memory, tokens_at_once};
use crate::args::{ShapeArgs, TrainArgs, formats, parse_share};
use crate::engine;
use crate::error::Error;

const AFTER_HELP: &str = "\
The model stays as it is, and the draft has its tokenizer; use it with --draft-model FOLDER. The folder
holds it beside its history and checkpoint; the same command goes on where a run has ended early.

Validation says how often both models have the same likeliest token (agreement) and how far the draft's
distribution is from the model's (divergence, in nats).

Examples:
  foretoken train draft demo --shape 128,2,4,2,384 --data corpus/ --tokens 10M --out draft
  foretoken train draft model.gguf --tokenizer model/ --shape 512,4,8,2,1536 \\
      --data chats.jsonl --steps 2000 --out draft";
/// Files one of which a tokenizer has.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "tokenizer.model", "vocab.json"];

/// Flags of `train draft`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
pub(super) struct Args {
    /// The model the draft is for
    model: String,

    #[command(flatten)]
    shape: ShapeArgs,

    /// What the divergence from the model's distribution counts, from 0 to 1; the rest is the loss of the text
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = parse_share)]
    #[arg(help_heading = "Model options")]
    soft: f32,

    /// Folder whose tokenizer files the draft gets [default: the model's own]
    #[arg(long, value_name = "FOLDER", help_heading = "Model options")]
    tokenizer: Option<PathBuf>,

    /// Format the model runs in [default: as stored]
    #[arg(long, value_name = "FORMAT", env = "FORETOKEN_QUANT", value_parser = formats())]
    #[arg(help_heading = "Model options")]
    quant: Option<WeightFormat>,

    #[command(flatten)]
    train: TrainArgs,
}

/// Trains the draft.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let train = &args.train;
    let session = Session::start(train)?;
    let source = engine::resolve(&args.model)?;
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default())?;
    let spec = checkpoint.spec();
    train.check_length(spec.context)?;
    let files = args.files(&source)?;
    let shape = args.shape.llama(spec.vocab, spec.context);
    let encoder = Encoder::of(&checkpoint)?;
    let target = FrozenTarget::load(session.compute(), &checkpoint, args.quant)?;
    let step = DraftModel::step_bytes_for(&shape, spec, tokens_at_once(train));
    check_memory(train, shape.parameters(), step)?;
    let identity = args.identity(checkpoint.name());
    let model = Llama::new(session.compute(), shape, train.seed)?;
    let draft = BaseModel { model, stored: StoredAs::Bf16, source: files };
    let learner = DraftModel::new(draft, target, args.soft);
    session.train(train, &encoder, Recipe { learner, identity, learning_rate: 1e-3 })
}

impl Args {
    /// Where the draft's tokenizer files come from.
    fn files(&self, source: &ModelSource) -> Result<ModelSource, Error> {
        let Some(folder) = &self.tokenizer else {
            for file in TOKENIZERS {
                if source.read(file)?.is_some() {
                    return Ok(source.clone());
                }
            }
            let cause = format!(
                "`{}` has no tokenizer files that a draft could get; name a folder with them",
                self.model
            );
            return Err(Error::flag("--tokenizer", cause));
        };
        let files = ModelSource::Folder(folder.clone());
        match files.tokenizer()?.difference(&source.tokenizer()?) {
            None => Ok(files),
            Some(difference) => Err(Error::failure(format!(
                "`{}` does not hold the model's tokenizer: {difference}",
                folder.display()
            ))),
        }
    }

    /// What makes a run one of this draft.
    fn identity(&self, model: &str) -> Vec<(&'static str, String)> {
        vec![
            ("method", "draft".to_owned()),
            ("model", model.to_owned()),
            ("format", self.quant.map_or("as stored", |format| format.name()).to_owned()),
            ("shape", self.shape.to_string()),
            ("share of the divergence", self.soft.to_string()),
        ]
    }
}
