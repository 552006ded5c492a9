//! How tokens are chosen and when a text ends.

use clap::Args;
use clap::builder::FalseyValueParser;
use foretoken::{EndOfText, Engine, Request, SamplingParams, TokenId};

use crate::error::Error;

/// Flags of sampling.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling options")]
pub(crate) struct SamplingArgs {
    /// Divides the logits; 0 takes the most likely token [default: the model's, else 0]
    #[arg(long, value_name = "T", env = "FORETOKEN_TEMPERATURE", allow_hyphen_values = true)]
    temperature: Option<f64>,

    /// Keep the K most likely tokens; 0 keeps all [default: the model's, else 0]
    #[arg(long, value_name = "K", env = "FORETOKEN_TOP_K")]
    top_k: Option<u32>,

    /// Keep the most likely tokens that reach probability P together [default: the model's, else 1]
    #[arg(long, value_name = "P", env = "FORETOKEN_TOP_P", allow_hyphen_values = true)]
    top_p: Option<f64>,

    /// Keep tokens at least P times as likely as the most likely one [default: the model's, else 0]
    #[arg(long, value_name = "P", env = "FORETOKEN_MIN_P", allow_hyphen_values = true)]
    min_p: Option<f64>,

    /// Divides the logits of tokens seen in prompt and output [default: the model's, else 1]
    #[arg(
        long,
        value_name = "X",
        env = "FORETOKEN_REPETITION_PENALTY",
        allow_hyphen_values = true
    )]
    repetition_penalty: Option<f64>,

    /// Subtracted from the logits of tokens seen in the output [default: 0]
    #[arg(long, value_name = "X", env = "FORETOKEN_PRESENCE_PENALTY", allow_hyphen_values = true)]
    presence_penalty: Option<f64>,

    /// Subtracted once per occurrence in the output [default: 0]
    #[arg(long, value_name = "X", env = "FORETOKEN_FREQUENCY_PENALTY", allow_hyphen_values = true)]
    frequency_penalty: Option<f64>,

    /// Added to a token's logit; -inf bans the token. May be repeated
    #[arg(
        long,
        value_name = "ID:BIAS",
        env = "FORETOKEN_LOGIT_BIAS",
        value_delimiter = ',',
        value_parser = parse_bias
    )]
    logit_bias: Vec<(TokenId, f32)>,

    /// Seed of the random choices; with it the text can be had again [default: drawn and reported]
    #[arg(long, value_name = "S", env = "FORETOKEN_SEED")]
    seed: Option<u64>,

    /// End the text before this string. May be repeated
    #[arg(long, value_name = "TEXT", env = "FORETOKEN_STOP", allow_hyphen_values = true)]
    stop: Vec<String>,

    /// Go on after end-of-text tokens
    #[arg(long, env = "FORETOKEN_IGNORE_EOS", value_parser = FalseyValueParser::new())]
    ignore_eos: bool,
}

impl SamplingArgs {
    /// Finds values out of range before a model is loaded.
    pub(crate) fn check(&self) -> Result<(), Error> {
        Ok(self.over(&SamplingParams::default()).validate(usize::MAX)?)
    }

    /// Completes a request; what no flag sets is as the model's authors recommend.
    pub(crate) fn apply(&self, engine: &Engine, request: &mut Request) -> Result<(), Error> {
        let defaults = engine.default_sampling();
        defaults.validate(usize::MAX).map_err(|cause| {
            let file = format!("`{}/generation_config.json`", engine.checkpoint().name());
            Error::failure(cause).context(&file)
        })?;
        request.sampling = self.over(&defaults);
        request.seed = self.seed;
        request.stop.clone_from(&self.stop);
        request.end_of_text = if self.ignore_eos { EndOfText::Ignored } else { EndOfText::Ends };
        Ok(())
    }

    /// The parameters that flags set, over others.
    fn over(&self, defaults: &SamplingParams) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.map_or(defaults.top_k, |k| Some(k).filter(|&k| k > 0)),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            logit_bias: self.logit_bias.clone(),
        }
    }
}

fn parse_bias(text: &str) -> Result<(TokenId, f32), &'static str> {
    let parsed = text
        .split_once(':')
        .and_then(|(id, bias)| Some((id.trim().parse().ok()?, bias.trim().parse().ok()?)));
    parsed.ok_or("write a token id and its bias, such as 42:-1.5 or 42:-inf")
}
