//! What a caller asks for and what comes back.

use foretoken_core::{Rule, SamplingParams, SpecStats, TokenId};

use crate::{Error, SessionId};

/// One completion to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The prompt's tokens, beginning of text included.
    pub prompt: Vec<TokenId>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// How drafted tokens are accepted.
    pub rule: Rule,
    /// Seed of the noise; one is drawn and reported when absent.
    pub seed: Option<u64>,
    /// Index among the completions of one prompt; 0 is what a single completion uses.
    pub choice: u32,
    /// Texts that end the completion; they are no part of it.
    pub stop: Vec<String>,
    /// What an end-of-text token does.
    pub end_of_text: EndOfText,
    /// Most tokens to generate; without it, up to the end of text or of the context.
    pub max_tokens: Option<usize>,
    /// A session to continue: what its text shares with `prompt` is not computed again.
    pub session: Option<SessionId>,
    /// Whether the engine's drafters work for it.
    pub drafting: Drafting,
    /// What the output is expected to be, such as a file before its edit: shown to drafters that read it
    /// (`prediction`). Whatever it says, the text is the same.
    pub prediction: Vec<TokenId>,
    /// **A measuring instrument**: these tokens are emitted whatever the target says, up to the last of
    /// them. Its passes run for real and drafted tokens are accepted where they are these.
    pub forced: Option<Vec<TokenId>>,
}

impl Request {
    /// A greedy completion of `prompt` of at most 256 tokens.
    pub fn new(prompt: Vec<TokenId>) -> Self {
        Self {
            prompt,
            sampling: SamplingParams::default(),
            rule: Rule::default(),
            seed: None,
            choice: 0,
            stop: Vec::new(),
            end_of_text: EndOfText::Ends,
            max_tokens: Some(256),
            session: None,
            drafting: Drafting::On,
            prediction: Vec::new(),
            forced: None,
        }
    }

    /// Most tokens it can emit, if anything but the end of text and the context limits them.
    pub(crate) fn limit(&self) -> Option<usize> {
        let forced = self.forced.as_ref().map(Vec::len);
        [self.max_tokens, forced].into_iter().flatten().min()
    }
}

/// Whether the engine's drafters work for a request. The text is the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drafting {
    /// They do.
    On,
    /// Plain decoding, one token per pass: what drafting is measured against.
    Off,
}

/// What an end-of-text token does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfText {
    /// Ends the completion.
    Ends,
    /// Is a token like any other.
    Ignored,
}

/// Why a completion ended. At one token, earlier variants take precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop string was completed.
    Stop,
    /// The model ended its text.
    Eos,
    /// The token limit or the end of the context was reached.
    Length,
}

impl FinishReason {
    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Eos => "eos",
            Self::Length => "length",
        }
    }
}

/// A generated token as it streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The text that became certain with it; empty inside a character, and while a stop string may
    /// be under way.
    pub text: String,
    /// Who proposed it.
    pub origin: Origin,
}

/// Who proposed a generated token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A drafter did, and the target agreed.
    Drafted,
    /// The target chose it.
    Target,
}

/// A finished completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Every token emitted, the ending one included.
    pub tokens: Vec<TokenId>,
    /// Their text, without end-of-text tokens and up to the stop string.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The seed of its noise.
    pub seed: u64,
    /// What drafting achieved.
    pub stats: SpecStats,
}

/// A request in an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

/// Something that happened to a request.
#[derive(Debug)]
pub enum Event {
    /// A token was generated.
    Token(RequestId, Token),
    /// The completion is over; nothing follows.
    Finished(RequestId, Completion),
    /// The request failed; nothing follows. Other requests are not affected.
    Failed(RequestId, Error),
}

impl Event {
    /// The request it belongs to.
    pub fn request(&self) -> RequestId {
        match self {
            Self::Token(id, _) | Self::Finished(id, _) | Self::Failed(id, _) => *id,
        }
    }
}
