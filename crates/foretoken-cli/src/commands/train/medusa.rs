//! `foretoken train medusa`: heads that draft for a model.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use foretoken::{
    Checkpoint, EngineOptions, MedusaHeads, ModelSource, ModelSpec, OpenOptions, WeightFormat,
};
use foretoken_train::data::Encoder;
use foretoken_train::{
    FrozenTarget, HeadExport, HeadLabels, HeadLayout, HeadPrecision, JointExport, Llama,
    LlamaShape, Medusa1, Medusa2, MedusaObjective, MedusaParameters, MedusaShape, OutputMatrices,
    StoredAs,
};

use super::calibrate;
use super::continuations::{Continuations, DistillArgs};
use super::joint::JointArgs;
use super::session::{Recipe, Session, check_memory, tokens_at_once};
use crate::args::{TrainArgs, formats};
use crate::engine;
use crate::error::Error;

const AFTER_HELP: &str = "\
The model stays as it is; use the heads with --drafter medusa --medusa-heads FOLDER. The folder
holds them in bf16, beside their history and checkpoint; the same command goes on where a run has
ended early. With --joint the folder holds the model too, and is both MODEL and HEADS.

Validation says per head how often its best guess, and one of its best five, is the token that
comes, and how many tokens a step would yield with the best tree of 63 guesses. With --joint it
also says the model's perplexity, and how far the model is from what it was (KL, nats per token).

Examples:
  foretoken train medusa demo --data corpus/ --tokens 10M --out heads
  foretoken train medusa model.gguf --data chats.jsonl --labels soft --steps 2000 --out heads
  foretoken train medusa demo --data corpus/ --self-distill 5000 --tokens 5M --out heads
  foretoken train medusa demo --from heads --data more.jsonl --tokens 5M --out more-heads
  foretoken train medusa ./model --joint --data chats.jsonl --tokens 5M --out both";

/// Highest rate of the heads unless the user says otherwise.
const LEARNING_RATE: f32 = 1e-3;
/// The flag that names heads to go on with.
const FROM: &str = "--from";

/// Flags of `train medusa`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
pub(super) struct Args {
    /// The model the heads are for
    model: String,

    #[command(flatten)]
    heads: HeadArgs,

    #[command(flatten)]
    joint: JointArgs,

    #[command(flatten)]
    distill: DistillArgs,

    #[command(flatten)]
    train: TrainArgs,
}

/// What the heads are.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Head options")]
struct HeadArgs {
    /// Heads; head K learns the token K + 1 places ahead
    #[arg(long, value_name = "N", default_value_t = const { NonZeroUsize::new(4).unwrap() })]
    heads: NonZeroUsize,

    /// Residual blocks per head
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    layers: NonZeroUsize,

    /// Use the model's output matrix for every head: files are much smaller, heads guess worse
    #[arg(long)]
    shared_output: bool,

    /// Go on with these heads: a folder, a .safetensors or .pt file, or a hub id in the local cache
    #[arg(long, value_name = "HEADS", conflicts_with_all = ["heads", "layers", "shared_output"])]
    from: Option<String>,

    /// What heads should say: the text's next tokens, the model's own distribution, or half of each
    #[arg(long, value_name = "LABELS", default_value = "text", value_parser = labels())]
    labels: HeadLabels,

    /// What each head's loss counts over that of the head before
    #[arg(long, value_name = "X", default_value_t = 0.8, value_parser = parse_decay)]
    decay: f32,

    /// Format the model runs in [default: as stored]
    #[arg(long, value_name = "FORMAT", env = "FORETOKEN_QUANT", value_parser = formats())]
    quant: Option<WeightFormat>,

    /// Names and configuration of the written heads: as the authors publish them, or as vLLM reads them
    #[arg(long, value_name = "LAYOUT", default_value = "published", value_parser = layouts())]
    layout: HeadLayout,

    /// Measure the heads on these prompts once they are trained, as `train calibrate` does
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
}

fn labels() -> impl TypedValueParser<Value = HeadLabels> {
    PossibleValuesParser::new(["text", "soft", "mixed"]).map(|name| match name.as_str() {
        "soft" => HeadLabels::Soft,
        "mixed" => HeadLabels::Mixed,
        _ => HeadLabels::Text,
    })
}

fn layouts() -> impl TypedValueParser<Value = HeadLayout> {
    PossibleValuesParser::new(["published", "vllm"]).map(|name| match name.as_str() {
        "vllm" => HeadLayout::Vllm,
        _ => HeadLayout::Published,
    })
}

fn parse_decay(text: &str) -> Result<f32, &'static str> {
    let decay = text.parse().ok().filter(|decay| (0.0..=1.0).contains(decay) && *decay > 0.0);
    decay.ok_or("write a number above 0 and at most 1, such as 0.8")
}

/// Trains the heads.
pub(super) fn run(args: Args) -> Result<(), Error> {
    let Args { model, heads, joint, distill, mut train } = args;
    let first = heads.first()?;
    heads.check(first.as_ref())?;
    distill.check()?;
    let mut session = Session::start(&train)?;
    let source = engine::resolve(&model)?;
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default())?;
    let shape = heads.shape(first.as_ref(), checkpoint.spec());
    train.check_length(checkpoint.spec().context)?;
    if train.length.get() <= shape.count {
        let cause = format!("head {} learns nothing from {} tokens", shape.count, train.length);
        return Err(Error::flag("--length", format!("{cause}; give more")));
    }
    let encoder = Encoder::of(&checkpoint)?;
    let prompts = heads.calibrate.as_deref();
    let calibration = prompts.map(|file| calibrate::defaults(file, &checkpoint)).transpose()?;
    let trained = joint.model(&checkpoint)?;
    let fits = |train: &TrainArgs| fits(train, shape, trained.as_ref());
    fits(&train)?;
    let mut plain = heads.engine(source.clone(), &train);
    if let Some(count) = distill.self_distill {
        let prompts = &session.read(&encoder, &train.data)?;
        let (options, model) = (plain.clone(), checkpoint.name());
        let made = Continuations { count, args: &distill, train: &train, prompts, options, model };
        train.data = vec![made.file()?];
    }
    let target = FrozenTarget::load(session.compute(), &checkpoint, heads.quant)?;
    fits(&train)?;
    // Files that are read are not kept open.
    let parameters = match first {
        Some(files) => MedusaParameters::read(&files, target.spec())
            .map_err(|cause| Error::from(cause).context(FROM))?,
        None => MedusaParameters::new(shape, target.head()),
    };
    let objective = MedusaObjective { labels: heads.labels, decay: heads.decay };
    let identity = [joint.identity(), heads.identity(checkpoint.name(), shape)].concat();
    if trained.is_some() {
        let model = Llama::open(&source)?;
        let options = joint.options(train.learning_rate.unwrap_or(LEARNING_RATE));
        let export = JointExport { stored: StoredAs::Bf16, source };
        let learner = Medusa2::new((model, target), parameters, objective, options, export);
        let recipe = Recipe { learner, identity, learning_rate: LEARNING_RATE };
        session.train(&train, &encoder, recipe)?;
        plain.model = ModelSource::Folder(train.out.clone());
    } else {
        let export = HeadExport {
            layout: heads.layout,
            precision: HeadPrecision::Bf16,
            base_model: checkpoint.name().to_owned(),
        };
        let learner = Medusa1::new(target, parameters, objective, export);
        let recipe = Recipe { learner, identity, learning_rate: LEARNING_RATE };
        session.train(&train, &encoder, recipe)?;
    }
    match calibration {
        Some(options) => calibrate::after_training(plain, &train.out, &options),
        None => Ok(()),
    }
}

/// Refuses heads, and a model that is trained with them, that do not fit in memory.
fn fits(train: &TrainArgs, heads: MedusaShape, model: Option<&LlamaShape>) -> Result<(), Error> {
    let parameters = model.map_or(0, LlamaShape::parameters).saturating_add(heads.parameters());
    let step = MedusaParameters::step_bytes(heads, model, tokens_at_once(train));
    check_memory(train, parameters, step)
}

impl HeadArgs {
    /// Refuses layouts that have no place for the heads, those to begin with or new ones.
    fn check(&self, first: Option<&MedusaHeads>) -> Result<(), Error> {
        let shares_output = first.map_or(self.shared_output, |first| first.vocab().is_none());
        if shares_output && self.layout == HeadLayout::Vllm {
            let cause = "vLLM reads no heads that share the output matrix; leave it out";
            return Err(Error::flag("--layout", cause));
        }
        Ok(())
    }

    /// The files of the heads to begin with, if they are not new.
    fn first(&self) -> Result<Option<MedusaHeads>, Error> {
        let open = |from: &String| Ok::<_, Error>(engine::resolve_heads(from)?.open()?);
        self.from.as_ref().map(open).transpose().map_err(|cause| cause.context(FROM))
    }

    /// What the heads are, those to begin with or new ones.
    fn shape(&self, first: Option<&MedusaHeads>, model: &ModelSpec) -> MedusaShape {
        let outputs = if self.shared_output { OutputMatrices::Shared } else { OutputMatrices::Own };
        let new = || {
            let size = (self.heads.get(), self.layers.get());
            MedusaParameters::shape_for(model, size, outputs)
        };
        first.map_or_else(new, MedusaHeads::shape)
    }

    /// The engine that runs the model undrafted.
    fn engine(&self, model: ModelSource, train: &TrainArgs) -> EngineOptions {
        EngineOptions {
            drafter: "none".to_owned(),
            format: self.quant,
            threads: train.threads,
            isa: train.isa,
            ..EngineOptions::new(model)
        }
    }

    /// What makes a run one of these heads.
    fn identity(&self, model: &str, shape: MedusaShape) -> Vec<(&'static str, String)> {
        let output = shape.vocab.map_or("the model's", |_| "their own");
        vec![
            ("model", model.to_owned()),
            ("weight format", self.quant.map_or("as stored", |format| format.name()).to_owned()),
            ("heads", format!("{} of {} blocks, output {output}", shape.count, shape.blocks)),
            ("first heads", self.from.clone().unwrap_or_else(|| "new".to_owned())),
            ("labels", format!("{:?}", self.labels).to_lowercase()),
            ("decay", self.decay.to_string()),
        ]
    }
}
