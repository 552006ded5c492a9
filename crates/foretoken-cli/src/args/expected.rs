//! Texts known before they are written: predictions to draft from, and texts to measure drafts on.

use std::path::{Path, PathBuf};

use clap::Args;
use foretoken::{Error as EngineError, Needs, Request, Rule, TokenId, Tokenizer};

use super::DraftArgs;
use super::prompt::read_text;
use crate::error::Error;

/// Most tokens to generate where neither a flag nor a forced text says.
const MAX_TOKENS: usize = 256;
/// The drafter that reads predictions.
const PREDICTION: &str = "prediction";

/// Flags of expected texts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drafting options")]
pub(crate) struct ExpectedArgs {
    /// File with what the text is expected to be, such as a file before its edit, or `-` for standard input:
    /// the drafter `prediction`, put in front of --drafter, follows it around its changes, and it never changes
    /// the text
    #[arg(long, value_name = "FILE")]
    prediction: Option<PathBuf>,

    /// For measuring only: emit the text of this file whatever the model says, and accept drafted tokens
    /// where they are the file's; passes run for real
    #[arg(long, value_name = "FILE")]
    force_text: Option<PathBuf>,

    /// Most tokens to generate [default: 256, or all of --force-text]
    #[arg(long, value_name = "N", env = "FORETOKEN_MAX_TOKENS", help_heading = "Sampling options")]
    max_tokens: Option<usize>,
}

/// What the flags name, read.
pub(crate) struct Expected {
    prediction: Option<String>,
    forced: Option<String>,
    max_tokens: Option<usize>,
}

impl ExpectedArgs {
    /// Reads the files.
    pub(crate) fn read(&self, rule: Rule) -> Result<Expected, Error> {
        if self.force_text.is_some() && rule != Rule::Coupled {
            return Err(EngineError::ForcedRule { rule: rule.name() }.into());
        }
        let is_input = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        if is_input(&self.prediction) && is_input(&self.force_text) {
            let cause = "standard input is read by --prediction; name a file";
            return Err(Error::flag("--force-text", cause));
        }
        let read = |file: &Option<PathBuf>| file.as_deref().map(read_some).transpose();
        Ok(Expected {
            prediction: read(&self.prediction)?,
            forced: read(&self.force_text)?,
            max_tokens: self.max_tokens,
        })
    }

    /// Puts the drafter that reads predictions in front of the others where there is a prediction; `none`
    /// stays alone.
    pub(crate) fn draft_with(&self, drafter: &mut String) {
        let is_named = drafter.split('+').any(|name| name == PREDICTION);
        if self.prediction.is_some() && !is_named && drafter != "none" {
            *drafter = format!("{PREDICTION}+{drafter}");
        }
    }

    /// Refuses a prediction that no drafter reads.
    pub(crate) fn check_reader(&self, drafting: &DraftArgs) -> Result<(), Error> {
        if self.prediction.is_some() && !drafting.needs(Needs::Prediction) {
            let cause = format!("no drafter of --drafter reads it; name `{PREDICTION}` there");
            return Err(Error::flag("--prediction", cause));
        }
        Ok(())
    }

    /// Whether there is a prediction.
    pub(crate) fn predicts(&self) -> bool {
        self.prediction.is_some()
    }
}

/// Reads a file that is not empty.
fn read_some(file: &Path) -> Result<String, Error> {
    let text = read_text(file)?;
    if text.is_empty() { Err(Error::read(file, "it is empty")) } else { Ok(text) }
}

impl Expected {
    /// Completes a request whose prompt is known.
    pub(crate) fn apply(&self, tokenizer: &Tokenizer, request: &mut Request) -> Result<(), Error> {
        let tokens = |text: &String| tokenizer.encode_after(&request.prompt, text);
        let prediction: Option<Vec<TokenId>> = self.prediction.as_ref().map(tokens).transpose()?;
        let forced: Option<Vec<TokenId>> = self.forced.as_ref().map(tokens).transpose()?;
        let most = forced.as_ref().map_or(MAX_TOKENS, Vec::len);
        request.max_tokens = Some(self.max_tokens.unwrap_or(most));
        request.prediction = prediction.unwrap_or_default();
        request.forced = forced;
        Ok(())
    }
}
