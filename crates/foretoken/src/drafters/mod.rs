//! Drafting methods: who proposes the tokens that the target verifies.
//!
//! A [`Drafter`] sees the text of a sequence and its sampler, and fills a [`DraftTree`]; the engine
//! verifies the tree and shows the drafter what became of it. A drafter can never change the text,
//! only how many tokens a pass of the target yields. None of them touches the target's cache, and
//! neither the engine nor the models know one from another: a method is a file here and a line in
//! [`DRAFTERS`].

mod choices;
mod confidence;
mod jacobi;
mod lookahead;
mod lookup;
mod medusa;
mod merged;
mod model;
mod none;
mod places;
mod prediction;
mod recency;
mod recycle;
mod scatter;
mod suffix;
#[cfg(test)]
mod verifying;

use std::path::Path;

use foretoken_core::{Accepted, DraftTree, Rule, Sampler, TokenId};
use foretoken_model::{Target, Tokenizer};

pub use choices::Choices;
pub use lookahead::LookaheadShape;
pub use lookup::LookupDrafter;
pub(crate) use medusa::{Guesser, Lists, LoadedHeads};
pub use medusa::{MedusaChoices, MedusaDrafter, MedusaTrees};
pub use merged::Merged;
pub(crate) use model::Bridge;
pub use model::ModelDrafter;
pub(crate) use places::shared_prefix;
pub use suffix::SuffixDrafter;

use crate::{CostCurve, DraftOptions, Error, MedusaOptions};

/// A sequence as its drafters see it. Its number is unique while the sequence is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceKey(pub(crate) u64);

impl SequenceKey {
    /// A key for a drafter that is driven without an engine.
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

/// How large a draft may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Nodes besides the root. With 0 the sequence is not drafting in this step.
    pub nodes: usize,
    /// Depth of the deepest node: what may be emitted before the text must end, less the token that
    /// the target adds.
    pub depth: usize,
}

impl Room {
    /// Whether anything can be drafted.
    pub fn fits_a_node(self) -> bool {
        self.nodes > 0 && self.depth > 0
    }
}

/// One sequence's part of a drafting round.
pub struct DraftTask {
    /// Which sequence.
    pub key: SequenceKey,
    /// Prompt and output so far; the last token is the draft's root.
    pub text: Vec<TokenId>,
    /// What the caller expects the output to be; empty where nothing is.
    pub prediction: Vec<TokenId>,
    /// The target's hidden state `[hidden]` behind its final norm at the last token before the root, which
    /// is the state that chose the root; empty where none is known, as in the first step of a request, and
    /// where no drafter of the engine wants it.
    pub hidden: Vec<f32>,
    /// What the target would write behind each node of the verified draft, when [`Drafter::observe`] is
    /// called; only what a drafter of the engine wants.
    pub choices: Choices,
    /// How the target will choose: drafters that have logits rank by the same scores.
    pub sampler: Sampler,
    /// How the draft will be accepted.
    pub rule: Rule,
    /// Index of the step.
    pub step: u64,
    /// How large the draft may be.
    pub room: Room,
    /// The draft, only its root on entry to [`Drafter::propose`].
    pub tree: DraftTree,
    /// What became of the draft, when [`Drafter::observe`] is called.
    pub accepted: Accepted,
}

impl DraftTask {
    /// A task before its first step: nothing is known but the text, and there is no room to draft.
    pub fn new(key: SequenceKey, text: Vec<TokenId>, sampler: Sampler, rule: Rule) -> Self {
        let root = text.last().copied().unwrap_or_default();
        Self {
            key,
            text,
            prediction: Vec::new(),
            hidden: Vec::new(),
            choices: Choices::default(),
            sampler,
            rule,
            step: 0,
            room: Room::default(),
            tree: DraftTree::single(root),
            accepted: Accepted::new(),
        }
    }

    /// Index in the text of the token that follows the root.
    pub fn position(&self) -> u32 {
        self.text.len() as u32
    }
}

/// A drafting method.
///
/// Every call is about all sequences of a step, so that a method with a model of its own runs them in
/// one pass. A drafter that cannot propose leaves the tree as it is: that is never an error. A tree
/// that leaves its room, its root or the target's vocabulary is not sent.
pub trait Drafter: Send {
    /// A sequence begins, or continues with a new prompt: what `prompt` shares with the text known
    /// under `key` still holds.
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]);

    /// Fills the trees of the tasks that have room.
    fn propose(&mut self, tasks: &mut [DraftTask]);

    /// The tasks' drafts were verified: `text` has grown by the accepted tokens, and `tree` is what
    /// was verified (the union, when several drafters proposed).
    fn observe(&mut self, tasks: &[DraftTask]);

    /// The sequence is over.
    fn end(&mut self, key: SequenceKey);
}

/// What a method needs besides the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A smaller model.
    DraftModel,
    /// Medusa heads trained for the target.
    MedusaHeads,
    /// A text that the caller expects, with each request.
    Prediction,
}

/// What a method sees of the target besides the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    hidden: bool,
    choices: bool,
    likeliest: usize,
}

impl Sight {
    /// Nothing but the text.
    pub const TEXT: Self = Self { hidden: false, choices: false, likeliest: 0 };
    /// The hidden state ([`DraftTask::hidden`]).
    pub const HIDDEN: Self = Self { hidden: true, ..Self::TEXT };
    /// What would follow each node of its draft ([`Choices::get`]).
    pub const CHOICES: Self = Self { choices: true, ..Self::TEXT };

    /// The `count` likeliest tokens behind each node of its draft ([`Choices::likeliest`]).
    pub const fn likeliest(count: usize) -> Self {
        Self { likeliest: count, ..Self::TEXT }
    }

    /// What is to be shown where both are wanted.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            hidden: self.hidden || other.hidden,
            choices: self.choices || other.choices,
            likeliest: self.likeliest.max(other.likeliest),
        }
    }

    pub(crate) fn shows_hidden(self) -> bool {
        self.hidden
    }
}

/// An entry of the registry.
pub struct DrafterInfo {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for help and documentation.
    pub summary: &'static str,
    /// Where the method comes from.
    pub source: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// What it sees.
    pub sight: Sight,
    /// Most nodes of a draft unless the options or what is built say otherwise; merged methods have the
    /// largest of their budgets together.
    pub nodes: usize,
    build: fn(Parts<'_>) -> Result<Built, Error>,
}

/// A method that is ready to draft.
pub(crate) struct Built {
    pub(crate) drafter: Box<dyn Drafter>,
    /// Most nodes of its drafts; the budget of all methods is the largest of theirs unless the caller chose
    /// one.
    pub(crate) nodes: usize,
}

impl Built {
    fn new(drafter: impl Drafter + 'static, nodes: usize) -> Self {
        Self { drafter: Box::new(drafter), nodes }
    }
}

/// What a method is built from.
pub(crate) struct Parts<'a> {
    /// Ceilings of a draft.
    pub(crate) ceilings: Ceilings,
    /// Most drafted tokens, where the caller chose.
    pub(crate) tokens: Option<usize>,
    /// The draft model, where one is needed.
    pub(crate) model: Option<DraftModel>,
    /// The heads, where they are needed.
    pub(crate) heads: Option<LoadedHeads>,
    /// How heads are used.
    pub(crate) medusa: &'a MedusaOptions,
    /// How wide `lookahead` looks, where the caller chose.
    pub(crate) lookahead: Option<LookaheadShape>,
    /// An index of a corpus that `suffix` searches, where the caller has one.
    pub(crate) suffix_corpus: Option<&'a Path>,
    /// The target's tokenizer.
    pub(crate) tokenizer: &'a Tokenizer,
    /// Tokens that end a text.
    pub(crate) eos: &'a [TokenId],
    /// What a pass of the target costs, where it was measured.
    pub(crate) cost: Option<&'a CostCurve>,
    /// Tokens the target knows; no other may be proposed.
    pub(crate) vocab: usize,
}

/// A model that drafts.
pub(crate) struct DraftModel {
    pub(crate) model: Box<dyn Target>,
    /// Medusa heads of its own.
    pub(crate) heads: Option<LoadedHeads>,
    /// From its vocabulary to the target's.
    pub(crate) bridge: Bridge,
}

/// Ceilings of a method's drafts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceilings {
    /// Most drafted tokens per step.
    pub(crate) nodes: usize,
    /// Most children of a node.
    pub(crate) width: usize,
    /// Least estimated probability of acceptance at which a token is drafted.
    pub(crate) min_probability: f64,
}

/// Every drafting method.
pub const DRAFTERS: &[DrafterInfo] = &[
    none::INFO,
    model::INFO,
    lookup::INFO,
    suffix::INFO,
    prediction::INFO,
    medusa::INFO,
    lookahead::INFO,
    jacobi::INFO,
    recycle::INFO,
];

/// Looks up the methods of a `+`-separated list.
pub(crate) fn parse(names: &str) -> Result<Vec<&'static DrafterInfo>, Error> {
    let mut found: Vec<&'static DrafterInfo> = Vec::new();
    for name in names.split('+') {
        let info = DRAFTERS.iter().find(|info| info.name == name).ok_or_else(|| {
            let known = DRAFTERS.iter().map(|info| info.name).chain(["auto"]);
            let known = known.collect::<Vec<_>>().join(", ");
            Error::UnknownDrafter { name: name.to_owned(), known }
        })?;
        if found.iter().any(|other| other.name == info.name) {
            return Err(Error::RepeatedDrafter { name: name.to_owned() });
        }
        found.push(info);
    }
    if found.len() > 1 && found.iter().any(|info| info.name == none::INFO.name) {
        return Err(Error::MergedNone);
    }
    Ok(found)
}

impl DrafterInfo {
    /// Builds the method.
    pub(crate) fn build(&self, parts: Parts<'_>) -> Result<Built, Error> {
        (self.build)(parts)
    }

    /// The ceilings of its drafts under some options.
    pub(crate) fn ceilings(&self, options: DraftOptions) -> Ceilings {
        let DraftOptions { tokens, width, min_probability } = options;
        Ceilings { nodes: tokens.unwrap_or(self.nodes), width, min_probability }
    }
}
