//! `foretoken train base`: a small Llama from nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use foretoken::ModelSource;
use foretoken_train::data::Encoder;
use foretoken_train::{BaseModel, Llama, LlamaShape, Start, StoredAs, train_tokenizer};

use super::session::{Recipe, Session, check_memory, tokens_at_once};
use crate::args::{ShapeArgs, TrainArgs};
use crate::error::Error;
use crate::output;

const AFTER_HELP: &str = "\
The folder holds a model that foretoken and transformers read, beside its history and checkpoint.
The same command goes on where a run has ended early, to the same model.

Examples:
  foretoken train base --shape 256,4,4,2,688 --data corpus/ --tokens 20M --out small
  foretoken train base --shape 256,4,4,2,688 --tokenizer models/foretoken-demo \\
      --data corpus/ --tokens 20M --out small";
/// Positions of the model; a longer sequence to learn from makes them more.
const CONTEXT: usize = 1024;
/// Where a new tokenizer is, in the output folder.
const TOKENIZER: &str = "tokenizer";

/// Flags of `train base`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
pub(super) struct Args {
    #[command(flatten)]
    shape: ShapeArgs,

    /// Model folder whose tokenizer and chat template are used [default: new ones, trained on the data]
    #[arg(long, value_name = "FOLDER", help_heading = "Model options")]
    tokenizer: Option<PathBuf>,

    /// Tokens of a new tokenizer
    #[arg(long, value_name = "N", default_value_t = const { NonZeroUsize::new(4096).unwrap() })]
    #[arg(conflicts_with = "tokenizer", help_heading = "Model options")]
    vocab: NonZeroUsize,

    #[command(flatten)]
    train: TrainArgs,
}

/// Trains the model.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let train = &args.train;
    let session = Session::start(train)?;
    let source = ModelSource::Folder(args.tokenizer(&session)?);
    let tokenizer = source.tokenizer()?;
    let shape = args.fitting(tokenizer.vocab_size())?;
    let encoder = Encoder::new(tokenizer, source.chat_template()?, shape.vocab);
    let vocabulary =
        if args.tokenizer.is_some() { "given".to_owned() } else { args.vocab.to_string() };
    let identity = vec![
        ("method", "base".to_owned()),
        ("shape", args.shape.to_string()),
        ("vocabulary", vocabulary),
    ];
    let model = Llama::new(session.compute(), shape, train.seed)?;
    let learner = BaseModel { model, stored: StoredAs::Bf16, source };
    session.train(train, &encoder, Recipe { learner, identity, learning_rate: 1e-3 })
}

impl Args {
    /// The shape of the model with so many tokens, if it fits in memory.
    fn fitting(&self, vocab: usize) -> Result<LlamaShape, Error> {
        let train = &self.train;
        let shape = self.shape.llama(vocab, CONTEXT.max(train.length.get()));
        check_memory(train, shape.parameters(), shape.step_bytes(tokens_at_once(train)))?;
        Ok(shape)
    }

    /// The folder with the tokenizer: the given one, that of the run that goes on, or a new one.
    fn tokenizer(&self, session: &Session) -> Result<PathBuf, Error> {
        if let Some(folder) = &self.tokenizer {
            return Ok(folder.clone());
        }
        let folder = self.train.out.join(TOKENIZER);
        if session.begins() == Start::Anew {
            self.fitting(self.vocab.get())?;
            output::note(&format!("training a tokenizer of {} tokens", self.vocab));
            train_tokenizer(self.vocab.get(), &self.train.data, &folder)?;
        }
        Ok(folder)
    }
}
