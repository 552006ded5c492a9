//! Where a text comes from: a flag, a file, standard input, or token ids.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use foretoken::{AddSpecial, Error as EngineError, ParseSpecial, TokenId, Tokenizer};

use crate::error::Error;

/// Longest text that is read, in bytes: the most that is tokenized at once.
const MAX_TEXT: u64 = 16 << 20;

/// The prompt of `generate`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// Text to continue
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// File with the text to continue; - is standard input
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,

    /// Token ids to continue; nothing is added to them
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    tokens: Option<Vec<TokenId>>,
}

/// The text of `score`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Text")]
pub(crate) struct TextArgs {
    /// Text to score
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,

    /// File with the text; - is standard input
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,

    /// Token ids to score; nothing is added to them
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    tokens: Option<Vec<TokenId>>,
}

/// A text with where it came from.
#[derive(Debug)]
pub(crate) struct Prompt {
    content: Content,
    source: Source,
}

#[derive(Debug)]
enum Content {
    Text(String),
    Tokens(Vec<TokenId>),
}

#[derive(Debug)]
enum Source {
    Flag(&'static str),
    File(PathBuf),
}

impl PromptArgs {
    /// Reads the prompt.
    pub(crate) fn read(self) -> Result<Prompt, Error> {
        Prompt::read(("--prompt", self.prompt), self.prompt_file, self.tokens)
    }
}

impl TextArgs {
    /// Reads the text.
    pub(crate) fn read(self) -> Result<Prompt, Error> {
        Prompt::read(("--text", self.text), self.text_file, self.tokens)
    }
}

impl Prompt {
    /// Takes the one that is given; clap has checked that there is one.
    fn read(
        (flag, text): (&'static str, Option<String>),
        file: Option<PathBuf>,
        tokens: Option<Vec<TokenId>>,
    ) -> Result<Self, Error> {
        if let Some(tokens) = tokens {
            return Ok(Self { content: Content::Tokens(tokens), source: Source::Flag("--tokens") });
        }
        if let Some(file) = file {
            let content = Content::Text(read_text(&file)?);
            return Ok(Self { content, source: Source::File(file) });
        }
        let content = Content::Text(text.unwrap_or_default());
        Ok(Self { content, source: Source::Flag(flag) })
    }

    /// The tokens, with those that the model expects around a text.
    pub(crate) fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<TokenId>, Error> {
        match &self.content {
            Content::Tokens(tokens) => Ok(tokens.clone()),
            Content::Text(text) => {
                Ok(tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes)?)
            }
        }
    }

    /// The text as a chat message.
    pub(crate) fn message(&self) -> Result<&str, Error> {
        match &self.content {
            Content::Text(text) => Ok(text),
            Content::Tokens(_) => {
                Err(Error::flag("--chat", "a chat message is a text; use --prompt, not --tokens"))
            }
        }
    }

    /// What the engine says to a request with this prompt, naming where the prompt came from.
    pub(crate) fn refused(&self, cause: EngineError) -> Error {
        let about_prompt = matches!(
            cause,
            EngineError::EmptyPrompt
                | EngineError::PromptTooLong { .. }
                | EngineError::TokenOutOfRange { .. }
        );
        match &self.source {
            _ if !about_prompt => cause.into(),
            Source::Flag(flag) => Error::flag(flag, cause),
            Source::File(file) => Error::failure(format!("`{}`: {cause}", file.display())),
        }
    }
}

/// Reads a text file, or standard input for `-`.
pub(super) fn read_text(file: &Path) -> Result<String, Error> {
    let refuse = |cause: &dyn std::fmt::Display| Error::read(file, cause);
    let reader: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).map_err(|cause| refuse(&cause))?),
    };
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|cause| refuse(&cause))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(refuse(&format!("it is longer than {MAX_TEXT} bytes; shorten it")));
    }
    String::from_utf8(bytes).map_err(|_| refuse(&"it is no UTF-8 text; convert it first"))
}
