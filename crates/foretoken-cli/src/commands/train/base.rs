//! `foretoken train base`: a small Llama from nothing.

use std::path::PathBuf;

use foretoken::ModelSource;
use foretoken_train::data::Encoder;
use foretoken_train::{BaseModel, Llama, StoredAs, check_memory};

use super::session::{Recipe, Session, tokens_at_once};
use crate::args::{ShapeArgs, TrainArgs};
use crate::error::Error;

const AFTER_HELP: &str = "\
The folder holds a model that foretoken and transformers read, beside its history and checkpoint.
The same command goes on where a run has ended early, to the same model.

Examples:
  foretoken train base --shape 256,4,4,2,688 --tokenizer models/foretoken-demo \\
      --data corpus/ --tokens 20M --out small";

/// Flags of `train base`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    shape: ShapeArgs,

    /// Model folder whose tokenizer and chat template are used
    #[arg(long, value_name = "FOLDER")]
    tokenizer: PathBuf,

    #[command(flatten)]
    train: TrainArgs,
}

/// Trains the model.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let train = &args.train;
    let session = Session::start(train);
    let source = ModelSource::Folder(args.tokenizer.clone());
    let tokenizer = source.tokenizer()?;
    let shape = args.shape.llama(tokenizer.vocab_size(), train.length.get())?;
    let step_bytes = shape.step_bytes(tokens_at_once(train));
    check_memory(shape.parameters(), step_bytes)?;
    let encoder = Encoder::new(tokenizer, source.chat_template()?, shape.vocab);
    let identity = vec![
        ("method".to_owned(), "base".to_owned()),
        ("shape".to_owned(), args.shape.to_string()),
    ];
    let model = Llama::new(session.compute(), shape, train.seed)?;
    let learner = BaseModel { model, stored: StoredAs::Bf16, source };
    session.train(train, &encoder, Recipe { learner, identity, learning_rate: 1e-3 })
}
