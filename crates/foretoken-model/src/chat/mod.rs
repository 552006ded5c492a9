//! Chat templates: one text of a conversation, as the model was trained to read it.
//!
//! Templates are Jinja programs that came with a model, so they are not trusted: a render has a
//! budget of work that also bounds its memory, and nothing but the conversation, two special tokens
//! and the date is in its reach. What they see and how they behave follows Hugging Face's
//! `apply_chat_template`. Tokens are not this module's business.

mod date;
mod guard;
mod json;

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use thiserror::Error;

use crate::gguf::{Gguf, GgufError};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::settings::Settings;

/// Work a render may do: one unit per instruction and per 64 bytes made, so at most 128 MiB are
/// made.
const FUEL: u64 = 2 << 20;
/// Depth to which macros may call each other.
const RECURSION: usize = 100;
/// Largest template, in bytes; the longest in use have about twenty thousand.
const MAX_TEMPLATE: usize = 1 << 20;
/// Longest conversation and longest prompt, in bytes.
const MAX_TEXT: usize = 16 << 20;
/// The name under which errors call the template.
const NAME: &str = "chat_template";

/// Why there is no prompt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The template is no Jinja that is understood.
    #[error("the chat template cannot be compiled: {0}")]
    Syntax(String),
    /// The template refused the conversation by its own `raise_exception`.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template failed.
    #[error("the chat template failed: {0}")]
    Render(String),
    /// The template took more work than any real one does.
    #[error("the chat template did not end within its budget of work; it may loop forever")]
    Endless,
    /// The template or a text is too long.
    #[error("the {what} has {bytes} bytes; at most {limit} are allowed")]
    TooLong {
        /// Which of them.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Several templates and none for plain conversations.
    #[error("tokenizer_config.json holds several chat templates, none of them called `default`")]
    Ambiguous,
    /// The files with the template are malformed.
    #[error(transparent)]
    Settings(#[from] TokenizerError),
    /// The metadata with the template are malformed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Whether the prompt ends with the header of the assistant's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// It does, so that the model answers.
    Add,
    /// It ends with the last message.
    Omit,
}

/// Special tokens that templates write, as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialTexts<'a> {
    /// `bos_token`; undefined where the model has none.
    pub bos: Option<&'a str>,
    /// `eos_token`.
    pub eos: Option<&'a str>,
}

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Compiles `source`.
    pub fn new(source: &str, special: SpecialTexts<'_>) -> Result<Self, ChatError> {
        check_length("chat template", source.len(), MAX_TEMPLATE)?;
        let prepared = guard::prepare(source).map_err(ChatError::Syntax)?;
        let environment = environment()
            .and_then(|mut environment| {
                environment.add_template_owned(NAME, prepared)?;
                Ok(environment)
            })
            .map_err(|error| ChatError::Syntax(describe(&error)))?;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let template = Self { environment, bos: owned(special.bos), eos: owned(special.eos) };
        Ok(template.at(SystemTime::now))
    }

    /// The template of a model folder: the file `chat_template.jinja`, else the entry in
    /// `tokenizer_config.json`, which also names the special tokens. None where neither has one.
    pub fn from_files(
        tokenizer_config: Option<&[u8]>,
        chat_template: Option<&[u8]>,
    ) -> Result<Option<Self>, ChatError> {
        let settings = Settings::parse(tokenizer_config)?;
        let special = SpecialTexts { bos: settings.bos(), eos: settings.eos() };
        let file =
            chat_template.map(String::from_utf8_lossy).filter(|text| !text.trim().is_empty());
        let source = match (&file, &settings.chat_template) {
            (Some(file), _) => file,
            (None, Some(templates)) => templates.plain().ok_or(ChatError::Ambiguous)?,
            (None, None) => return Ok(None),
        };
        Self::new(source, special).map(Some)
    }

    /// The template in a GGUF file's metadata, if it has one.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>, ChatError> {
        let Some(source) = gguf.str("tokenizer.chat_template")? else { return Ok(None) };
        let tokens = gguf.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        let piece = |key| -> Result<Option<&str>, GgufError> {
            let id = gguf.u64(key)?.and_then(|id| usize::try_from(id).ok());
            Ok(id.and_then(|id| tokens.get(id)).map(String::as_str))
        };
        let bos = piece("tokenizer.ggml.bos_token_id")?;
        let eos = piece("tokenizer.ggml.eos_token_id")?;
        Self::new(source, SpecialTexts { bos, eos }).map(Some)
    }

    /// Takes the date that some templates write from `clock` instead of the system's. Dates are in
    /// Coordinated Universal Time.
    #[must_use]
    pub fn at(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.environment.add_function("strftime_now", move |format: &str| {
            let now = clock().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            date::format(now, format)
                .map_err(|message| Error::new(ErrorKind::InvalidOperation, message))
        });
        self
    }

    /// The prompt of a conversation. It holds its special tokens as text, BOS included where the
    /// model wants one, so it is encoded with parsing of special tokens and without adding any.
    pub fn render(
        &self,
        messages: &[Message],
        generation_prompt: GenerationPrompt,
    ) -> Result<String, ChatError> {
        let bytes = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        check_length("conversation", bytes, MAX_TEXT)?;
        let turn = |message: &Message| {
            Value::from_pairs([("role", &message.role), ("content", &message.content)])
        };
        let mut context = vec![
            ("messages", messages.iter().map(turn).collect::<Value>()),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", (generation_prompt == GenerationPrompt::Add).into()),
        ];
        context.extend(self.bos.iter().map(|bos| ("bos_token", bos.into())));
        context.extend(self.eos.iter().map(|eos| ("eos_token", eos.into())));
        let prompt = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from_pairs(context)))
            .map_err(|error| failure(&error))?;
        check_length("prompt", prompt.len(), MAX_TEXT)?;
        Ok(prompt)
    }
}

/// What Hugging Face gives templates: whitespace rules, Python's methods, and four functions.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        if method == "format" {
            guard::check_format(value)?;
        }
        unknown_method_callback(state, value, method, arguments)
    });
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.add_filter(guard::FILTER, guard::bounded);
    environment.add_filter("tojson", json::to_json);
    // The engine reads none as an empty list; to Python it is not iterable.
    environment.add_test("iterable", |value: Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_function("raise_exception", |message: &str| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "refused")
            .with_source(Refusal(message.to_owned())))
    });
    Ok(environment)
}

/// The message of a template's `raise_exception`, told apart from other failures by its type.
#[derive(Debug, Error)]
#[error("{0}")]
struct Refusal(String);

fn failure(error: &Error) -> ChatError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Refusal(message)) = current.downcast_ref() {
            return ChatError::Refused(one_line(message));
        }
        if current.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::OutOfFuel) {
            return ChatError::Endless;
        }
        cause = current.source();
    }
    ChatError::Render(describe(error))
}

/// The error with its line in the template, on one line.
fn describe(error: &Error) -> String {
    one_line(&error.to_string())
}

/// The first kilobyte of `text` on one line.
fn one_line(text: &str) -> String {
    let short = text.chars().take(1024).map(|c| if c.is_control() { ' ' } else { c });
    short.collect::<String>().trim().to_owned()
}

fn check_length(what: &'static str, bytes: usize, limit: usize) -> Result<(), ChatError> {
    if bytes <= limit { Ok(()) } else { Err(ChatError::TooLong { what, bytes, limit }) }
}

#[cfg(test)]
mod tests;
