//! Flags of joint training (Medusa-2): `train medusa --joint`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use foretoken::{Checkpoint, ModelSource};
use foretoken_train::{JointOptions, Kept, LlamaShape, Ramp};

use crate::args::{parse_rate, parse_share};
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

    /// The shape of the model to train, if it is.
    pub(super) fn model(&self, checkpoint: &Checkpoint) -> Result<Option<LlamaShape>, Error> {
        if !self.joint {
            return Ok(None);
        }
        if let ModelSource::Gguf(_) = checkpoint.source() {
            let cause =
                "a model in a GGUF file cannot be written back; name its Hugging Face folder";
            return Err(Error::flag("--joint", cause));
        }
        Ok(Some(LlamaShape::of_spec(checkpoint.spec(), checkpoint.name())?))
    }

    /// What makes a run one of this method and these options.
    pub(super) fn identity(&self) -> Vec<(&'static str, String)> {
        if !self.joint {
            return vec![("method", "medusa".to_owned())];
        }
        let rate = self.backbone_rate.map_or("default".to_owned(), |rate| rate.to_string());
        vec![
            ("method", "medusa-2".to_owned()),
            ("loss that keeps the model", format!("{:?}", self.keep).to_lowercase()),
            ("share of stage one", self.stage_one.to_string()),
            ("model's learning rate", rate),
            ("lambda", format!("{} ({:?})", self.lambda, self.lambda_ramp).to_lowercase()),
        ]
    }
}
