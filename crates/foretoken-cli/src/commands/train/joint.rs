//! Flags of joint training (Medusa-2): `train medusa --joint`.

use std::iter;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use foretoken::{Checkpoint, ModelSource};
use foretoken_train::{JointOptions, Kept, Llama, LlamaShape, Ramp, check_memory};

use crate::error::Error;

/// The model's highest learning rate, as part of the heads', unless the user says otherwise.
const MODEL_RATE: f32 = 1.0 / 40.0;

/// How a model is trained with its heads.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Joint training options")]
pub(super) struct JointArgs {
    /// Train the model with its heads (Medusa-2): heads guess better, and the model changes a little
    #[arg(long, conflicts_with_all = ["quant", "layout"])]
    joint: bool,

    /// What holds the model to what it was: its own distribution before training (kl), or the text's next
    /// tokens (ce)
    #[arg(long, value_name = "LOSS", default_value = "kl", value_parser = kept(), requires = "joint")]
    keep: Kept,

    /// Share of the steps in which only the heads learn; without such a stage untrained heads spoil the
    /// model
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = parse_share, requires = "joint")]
    stage_one: f32,

    /// Highest learning rate of the model [default: a fortieth of --learning-rate]
    #[arg(long, value_name = "RATE", value_parser = parse_rate, requires = "joint")]
    backbone_rate: Option<f32>,

    /// What the heads' loss counts over that of the model
    #[arg(long, value_name = "X", default_value_t = 0.2, value_parser = parse_rate, requires = "joint")]
    lambda: f32,

    /// Keep --lambda constant, or let it rise from zero to the end of training
    #[arg(long, value_name = "RAMP", default_value = "constant", value_parser = ramps(), requires = "joint")]
    lambda_ramp: Ramp,
}

fn kept() -> impl TypedValueParser<Value = Kept> {
    PossibleValuesParser::new(["kl", "ce"]).map(|name| match name.as_str() {
        "ce" => Kept::Text,
        _ => Kept::Original,
    })
}

fn ramps() -> impl TypedValueParser<Value = Ramp> {
    PossibleValuesParser::new(["constant", "sine"]).map(|name| match name.as_str() {
        "sine" => Ramp::Sine,
        _ => Ramp::Constant,
    })
}

fn parse_share(text: &str) -> Result<f32, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("write a number from 0 to 1, such as 0.5")
}

fn parse_rate(text: &str) -> Result<f32, &'static str> {
    let rate = text.parse().ok().filter(|rate: &f32| rate.is_finite() && *rate > 0.0);
    rate.ok_or("write a number above 0, such as 0.2 or 1e-4")
}

impl JointArgs {
    /// What the flags say, with heads that learn at this rate.
    pub(super) fn options(&self, learning_rate: f32) -> JointOptions {
        JointOptions {
            kept: self.keep,
            lambda: self.lambda,
            ramp: self.lambda_ramp,
            stage_one: self.stage_one,
            model_rate: self.backbone_rate.map_or(MODEL_RATE, |rate| rate / learning_rate),
        }
    }

    /// The model to train, if it is.
    pub(super) fn model(&self, checkpoint: &Checkpoint) -> Result<Option<Llama>, Error> {
        if !self.joint {
            return Ok(None);
        }
        if let ModelSource::Gguf(_) = checkpoint.source() {
            let cause =
                "a model in a GGUF file cannot be written back; name its Hugging Face folder";
            return Err(Error::flag("--joint", cause));
        }
        let shape = LlamaShape::of_spec(checkpoint.spec(), checkpoint.name())?;
        check_memory(shape.parameters(), 0)?;
        Ok(Some(Llama::open(checkpoint.source())?))
    }

    /// What makes a run one of this method and these options.
    pub(super) fn identity(&self) -> Vec<(String, String)> {
        let method = |name: &str| ("method".to_owned(), name.to_owned());
        if !self.joint {
            return vec![method("medusa")];
        }
        let rate = self.backbone_rate.map_or("default".to_owned(), |rate| rate.to_string());
        let settings = [
            ("loss that keeps the model", format!("{:?}", self.keep).to_lowercase()),
            ("share of stage one", self.stage_one.to_string()),
            ("model's learning rate", rate),
            ("lambda", format!("{} ({:?})", self.lambda, self.lambda_ramp).to_lowercase()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        iter::once(method("medusa-2")).chain(settings).collect()
    }
}
