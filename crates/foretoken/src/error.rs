//! What can go wrong, as the caller's mistake where it is one.

use foretoken_core::{ParamError, SampleError, TokenId};
use foretoken_model::{ForwardError, ModelError};
use thiserror::Error;

/// Why an engine or a request failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A model could not be opened or loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A sampling parameter is out of its range.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// A pass was refused.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// No token could be drawn.
    #[error("no token can be drawn at position {position}: {reason}")]
    Sample {
        /// Index in the text of the token that failed.
        position: usize,
        /// What is wrong with the row.
        reason: SampleError,
    },
    /// No such drafter.
    #[error("unknown drafter `{name}`; known are {known}")]
    UnknownDrafter {
        /// The name asked for.
        name: String,
        /// The registry's names.
        known: String,
    },
    /// A drafter was named more than once.
    #[error("drafter `{name}` is named twice; each can be merged once")]
    RepeatedDrafter {
        /// The name.
        name: String,
    },
    /// Plain decoding among others.
    #[error(
        "drafter `none` drafts nothing, so it is merged with no other; leave it or the others out"
    )]
    MergedNone,
    /// A drafter needs a model of its own.
    #[error("drafter `{drafter}` needs a draft model; name one with --draft-model")]
    NoDraftModel {
        /// The drafter.
        drafter: &'static str,
    },
    /// A drafter needs Medusa heads.
    #[error("drafter `{drafter}` needs Medusa heads; name them with --medusa-heads")]
    NoMedusaHeads {
        /// The drafter.
        drafter: &'static str,
    },
    /// Medusa heads of a draft model that drafts trees.
    #[error(
        "heads of a draft model help with chains, not with trees of width {width}; leave them out, or draft with \
         --draft-width 1"
    )]
    DraftHeads {
        /// Most children of a node.
        width: usize,
    },
    /// A choice of guesses that is no tree, or not one of the heads.
    #[error("`{choices}` cannot be drafted: {problem}")]
    MedusaChoices {
        /// The choice, or a path of it.
        choices: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No text was long enough to measure heads on.
    #[error(
        "no text at temperature {temperature} is longer than {heads} heads guess ahead; ask for more \
         tokens, or give other prompts"
    )]
    Unmeasured {
        /// The temperature.
        temperature: f64,
        /// Heads measured.
        heads: usize,
    },
    /// The draft's vocabulary is another one, and the same was asked for.
    #[error(
        "draft model `{draft}` does not share the target's vocabulary: {difference}; draft across vocabularies \
         with --draft-vocab auto"
    )]
    Vocabulary {
        /// The draft's name.
        draft: String,
        /// The first difference.
        difference: String,
    },
    /// The draft's vocabulary has nothing in common with the target's.
    #[error(
        "draft model `{draft}` has no token in common with the target, so it can propose none; name another one"
    )]
    NoOverlap {
        /// The draft's name.
        draft: String,
    },
    /// Medusa heads of a draft model of another vocabulary.
    #[error(
        "heads of draft model `{draft}` guess its own tokens, and the target's are others; leave them out"
    )]
    DraftHeadsVocabulary {
        /// The draft's name.
        draft: String,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty; give at least one token")]
    EmptyPrompt,
    /// The prompt leaves no room to generate.
    #[error(
        "the prompt has {tokens} tokens and the context holds {context}; shorten it or raise --context"
    )]
    PromptTooLong {
        /// Prompt length.
        tokens: usize,
        /// Context length.
        context: usize,
    },
    /// A token of a prompt, prediction or forced text has no embedding.
    #[error("token id {token} is outside the vocabulary of {vocab}")]
    TokenOutOfRange {
        /// The id.
        token: TokenId,
        /// Vocabulary size.
        vocab: usize,
    },
    /// Nothing may be generated.
    #[error("max_tokens is 0; ask for at least one token")]
    NoTokens,
    /// The text to emit has no tokens.
    #[error("the forced text is empty; give at least one token")]
    EmptyForcedText,
    /// The text to emit leaves the context.
    #[error(
        "the forced text has {tokens} tokens behind a prompt of {prompt}, and the context holds {context}; shorten \
         them or raise --context"
    )]
    ForcedTooLong {
        /// Tokens to emit.
        tokens: usize,
        /// Prompt length.
        prompt: usize,
        /// Context length.
        context: usize,
    },
    /// The text to emit is given, so that no rule can choose it.
    #[error("a forced text leaves nothing to {rule} acceptance; measure with coupled")]
    ForcedRule {
        /// The rule asked for.
        rule: &'static str,
    },
    /// A stop string is empty.
    #[error("a stop string is empty; every text would end at once")]
    EmptyStop,
    /// A bound of an option was crossed.
    #[error("{option} is {value}; it must be {bound}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        bound: &'static str,
    },
    /// A measurement leaves the context.
    #[error("{depth} positions and {rows} rows do not fit the context of {context}; choose fewer")]
    Depth {
        /// Positions in the cache.
        depth: usize,
        /// New rows.
        rows: usize,
        /// Context length.
        context: usize,
    },
    /// Something would not fit into memory.
    #[error(
        "about {} MB of memory are needed and {} MB are left; choose a smaller model, format or depth",
        needed >> 20,
        left >> 20
    )]
    Memory {
        /// Bytes needed.
        needed: usize,
        /// Bytes left.
        left: usize,
    },
    /// The session is generating already, or was closed.
    #[error("the session is {state}; {remedy}")]
    Session {
        /// Its state.
        state: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Text could not be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] foretoken_model::TokenizerError),
}
