//! What went wrong, in one line that names the file or flag, and the exit code that goes with it.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use foretoken::{Error as EngineError, ModelError, PackError, ParamError, TokenizerError};
use foretoken_train::data::DataError;
use foretoken_train::{RunError, TrainError, VocabularyError};

/// Why a command ends.
#[derive(Debug)]
pub(crate) enum Error {
    /// A flag's value or the way the command was called: exit code 2.
    Usage(String),
    /// A file, a model or anything else: exit code 1.
    Failure(String),
    /// What was asked for is all that is to print, such as help.
    Text(String),
    /// Nobody reads the output any more.
    Closed,
}

impl Error {
    /// A mistake in the value of `flag`.
    pub(crate) fn flag(flag: &str, cause: impl Display) -> Self {
        Self::Usage(format!("{flag}: {cause}"))
    }

    /// Anything that is no mistake in the command line.
    pub(crate) fn failure(cause: impl Display) -> Self {
        Self::Failure(cause.to_string())
    }

    /// A file that cannot be read.
    pub(crate) fn read(file: &Path, cause: impl Display) -> Self {
        Self::Failure(format!("cannot read `{}`: {cause}", file.display()))
    }

    /// A file that cannot be written.
    pub(crate) fn write(file: &Path, cause: impl Display) -> Self {
        Self::Failure(format!("cannot write `{}`: {cause}", file.display()))
    }

    /// The same mistake, naming the flag or file that led to it.
    pub(crate) fn context(self, what: &str) -> Self {
        match self {
            Self::Usage(message) => Self::Usage(format!("{what}: {message}")),
            Self::Failure(message) => Self::Failure(format!("{what}: {message}")),
            other => other,
        }
    }

    /// Help and version are printed as they are; mistakes shrink to the line that says what is wrong.
    pub(crate) fn from_clap(error: &clap::Error) -> Self {
        if !error.use_stderr() {
            return Self::Text(error.render().to_string());
        }
        let text = error.render().to_string();
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            // The usage names the command up to its first placeholder.
            let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
            let words = usage.unwrap_or("foretoken").split(' ');
            let command: Vec<_> = words.take_while(|word| !word.starts_with(['[', '<'])).collect();
            let command = command.join(" ");
            return Self::Usage(format!("name a command; `{command} --help` lists them"));
        }
        let told = text.lines().map(str::trim).filter(|line| {
            !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more")
        });
        let line = told.collect::<Vec<_>>().join(" ");
        let line = line.strip_prefix("error: ").unwrap_or(&line).replace(" tip: ", "; ");
        Self::Usage(format!("{line}; see --help"))
    }

    /// Prints the line and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, ExitCode::from(2)),
            Self::Failure(message) => (message, ExitCode::FAILURE),
            Self::Text(text) => {
                let written = io::stdout().write_all(text.as_bytes());
                return written
                    .map_or_else(|cause| Self::from(cause).report(), |()| ExitCode::SUCCESS);
            }
            Self::Closed => return ExitCode::SUCCESS,
        };
        let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // Nothing is left to tell when stderr is gone as well.
        let _ = writeln!(io::stderr(), "error: {line}");
        code
    }
}

/// Failures of writing the result; those of reading say which file.
impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failure(format!("cannot write the output: {cause}")),
        }
    }
}

impl From<ModelError> for Error {
    fn from(cause: ModelError) -> Self {
        Self::failure(cause)
    }
}

impl From<DataError> for Error {
    fn from(cause: DataError) -> Self {
        Self::failure(cause)
    }
}

impl From<TrainError> for Error {
    fn from(cause: TrainError) -> Self {
        match cause {
            TrainError::Shape { .. } => Self::flag("--shape", cause),
            cause => Self::failure(cause),
        }
    }
}

impl From<VocabularyError> for Error {
    fn from(cause: VocabularyError) -> Self {
        match cause {
            VocabularyError::Few { .. } => Self::flag("--vocab", cause),
            VocabularyError::NoText => Self::failure(format!("{cause} by --tokenizer")),
            cause => Self::failure(cause),
        }
    }
}

impl From<RunError> for Error {
    fn from(cause: RunError) -> Self {
        match cause {
            RunError::OtherRun { .. } | RunError::Damaged { .. } => {
                Self::failure(format!("{cause} with --restart"))
            }
            RunError::Options(cause) => Self::Usage(cause.to_owned()),
            cause => Self::failure(cause),
        }
    }
}

impl From<TokenizerError> for Error {
    fn from(cause: TokenizerError) -> Self {
        Self::failure(cause)
    }
}

impl From<ParamError> for Error {
    fn from(cause: ParamError) -> Self {
        match param_flag(&cause) {
            Some(flag) => Self::flag(flag, cause),
            None => Self::Usage(cause.to_string()),
        }
    }
}

impl From<EngineError> for Error {
    fn from(cause: EngineError) -> Self {
        let flag = match &cause {
            EngineError::Params(cause) => return Self::from(*cause),
            EngineError::UnknownDrafter { .. }
            | EngineError::RepeatedDrafter { .. }
            | EngineError::MergedNone
            | EngineError::NoDraftModel { .. }
            | EngineError::NoMedusaHeads { .. } => "--drafter",
            EngineError::MedusaChoices { .. } => "--medusa-choices",
            EngineError::DraftHeads { .. } => "--draft-medusa-heads",
            EngineError::EmptyStop => "--stop",
            EngineError::EmptyForcedText | EngineError::ForcedRule { .. } => "--force-text",
            EngineError::ForcedTooLong { .. } => {
                return Self::failure(cause).context("--force-text");
            }
            EngineError::NoTokens => "--max-tokens",
            EngineError::Option { option, .. } => option_flag(option),
            EngineError::Depth { .. } => "--depth",
            EngineError::Model(ModelError::Pack(PackError::Block { .. })) => "--quant",
            EngineError::Vocabulary { .. }
            | EngineError::NoOverlap { .. }
            | EngineError::DraftHeadsVocabulary { .. } => {
                return Self::failure(cause).context("--draft-model");
            }
            _ => return Self::failure(cause),
        };
        Self::flag(flag, cause)
    }
}

fn param_flag(cause: &ParamError) -> Option<&'static str> {
    Some(match cause {
        ParamError::Temperature(_) => "--temperature",
        ParamError::TopK => "--top-k",
        ParamError::TopP(_) => "--top-p",
        ParamError::MinP(_) => "--min-p",
        ParamError::RepetitionPenalty(_) => "--repetition-penalty",
        ParamError::PresencePenalty(_) => "--presence-penalty",
        ParamError::FrequencyPenalty(_) => "--frequency-penalty",
        ParamError::BiasToken { .. } | ParamError::Bias { .. } | ParamError::BiasTwice(_) => {
            "--logit-bias"
        }
        _ => return None,
    })
}

/// The flag of an engine option, by the name the library gives it.
fn option_flag(option: &str) -> &'static str {
    match option {
        "draft tokens" => "--draft-tokens",
        "draft width" => "--draft-width",
        "draft probability" => "--draft-min-prob",
        "medusa vocab" => "--medusa-vocab",
        "lookahead" => "--lookahead",
        "typical acceptance" => "--typical-threshold and --typical-alpha",
        "context" => "--context",
        "threads" => "--threads",
        "rows" => "--rows",
        "rounds" => "--rounds",
        _ => "the command line",
    }
}
