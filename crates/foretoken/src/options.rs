//! How an engine is built: which models, on how many threads, with which drafter.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use foretoken_cpu::Isa;
use foretoken_model::{MedusaSource, ModelSource, UnknownKeys};
use foretoken_tensor::{KvType, WeightFormat};

use crate::drafters::{LookaheadShape, MedusaChoices};
use crate::{DraftVocabulary, Error, MeasureCost};

/// What an engine loads and how it runs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The target model.
    pub model: ModelSource,
    /// Drafting methods, joined by `+`; `auto` is `model` where a draft model is given and `lookup`
    /// otherwise.
    pub drafter: String,
    /// The draft model.
    pub draft_model: Option<ModelSource>,
    /// How the draft model's vocabulary meets the target's.
    pub draft_vocabulary: DraftVocabulary,
    /// Medusa heads of the draft model, by which it drafts the same chains in fewer passes; only for drafts of
    /// width 1.
    pub draft_heads: Option<MedusaSource>,
    /// Ceilings of a draft.
    pub draft: DraftOptions,
    /// Medusa heads and how they are used.
    pub medusa: MedusaOptions,
    /// How wide `lookahead` looks; by default what the measured cost of rows allows, or a small shape.
    pub lookahead: Option<LookaheadShape>,
    /// An index of a corpus ([`CorpusIndex`](crate::CorpusIndex)) that `suffix` searches besides the
    /// session's texts. All sequences share it.
    pub suffix_corpus: Option<PathBuf>,
    /// Weight format of the draft model; as stored by default.
    pub draft_format: Option<WeightFormat>,
    /// Weight format of the target; as stored by default.
    pub format: Option<WeightFormat>,
    /// Type of stored keys and values; f32 with f32 weights and bf16 otherwise by default.
    pub kv_type: Option<KvType>,
    /// Longest text in tokens; the model's context by default.
    pub context: Option<usize>,
    /// Worker threads; one per physical core the process may use by default.
    pub threads: Option<NonZeroUsize>,
    /// Best instruction set to use; the best one found by default.
    pub isa: Option<Isa>,
    /// What to do about configuration keys the family does not know.
    pub unknown_keys: UnknownKeys,
    /// Sequences that run together; further requests wait.
    pub max_sequences: usize,
    /// Whether what a pass costs is measured at load, for [`Engine::cost_curve`](crate::Engine::cost_curve).
    pub cost: MeasureCost,
}

impl EngineOptions {
    /// Plain defaults for a model.
    pub fn new(model: ModelSource) -> Self {
        Self {
            model,
            drafter: "auto".to_owned(),
            draft_model: None,
            draft_vocabulary: DraftVocabulary::default(),
            draft_heads: None,
            draft: DraftOptions::default(),
            medusa: MedusaOptions::default(),
            lookahead: None,
            suffix_corpus: None,
            draft_format: None,
            format: None,
            kv_type: None,
            context: None,
            threads: None,
            isa: None,
            unknown_keys: UnknownKeys::default(),
            max_sequences: 1,
            cost: MeasureCost::Never,
        }
    }
}

impl EngineOptions {
    /// Longest context that can be asked for.
    pub const MAX_CONTEXT: usize = 1 << 30;
    /// Most worker threads.
    pub const MAX_THREADS: usize = 1024;

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let out_of = |option, value: usize, bound| {
            Err(Error::Option { option, value: value.to_string(), bound })
        };
        match (self.context, self.threads, self.max_sequences) {
            (Some(context), _, _) if !(2..=Self::MAX_CONTEXT).contains(&context) => {
                out_of("context", context, "between 2 and 2^30 tokens")
            }
            (_, Some(threads), _) if threads.get() > Self::MAX_THREADS => {
                out_of("threads", threads.get(), "between 1 and 1024")
            }
            (_, _, 0) => out_of("max sequences", 0, "at least 1"),
            _ if self.medusa.vocab == Some(0) => out_of("medusa vocab", 0, "at least 1"),
            _ if self.draft_heads.is_some() && self.draft.width > 1 => {
                Err(Error::DraftHeads { width: self.draft.width })
            }
            _ => self.draft.validate(),
        }
    }
}

/// Medusa heads and how they are used.
#[derive(Debug, Clone, Default)]
pub struct MedusaOptions {
    /// Where the heads are; they must be trained for the target.
    pub heads: Option<MedusaSource>,
    /// Which of their guesses are sent.
    pub choices: MedusaChoices,
    /// How many tokens the heads choose among: the most frequent ones by their calibration, then those of the
    /// lowest ids. All by default. Fewer make the heads cheaper; the text may hold any token all the same.
    pub vocab: Option<usize>,
}

/// Ceilings of a draft; drafters stay below them as confidence falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DraftOptions {
    /// Most drafted tokens per step; what the methods ask for by default
    /// ([`DrafterInfo::nodes`](crate::drafters::DrafterInfo::nodes)), or as many as a chosen tree has.
    pub tokens: Option<usize>,
    /// Most children of a node; 1 drafts chains.
    pub width: usize,
    /// Tokens whose estimated probability of acceptance is lower are not drafted.
    pub min_probability: f64,
}

impl Default for DraftOptions {
    fn default() -> Self {
        Self { tokens: None, width: 1, min_probability: 0.1 }
    }
}

impl DraftOptions {
    /// Most tokens a draft may have.
    pub const MAX_TOKENS: usize = 512;

    pub(crate) fn validate(self) -> Result<(), Error> {
        let out_of = |option, value: String, bound| Err(Error::Option { option, value, bound });
        if let Some(tokens) = self.tokens.filter(|n| !(1..=Self::MAX_TOKENS).contains(n)) {
            return out_of("draft tokens", tokens.to_string(), "between 1 and 512");
        }
        if !(1..=64).contains(&self.width) {
            return out_of("draft width", self.width.to_string(), "between 1 and 64");
        }
        if !(0.0..=1.0).contains(&self.min_probability) {
            return out_of(
                "draft probability",
                self.min_probability.to_string(),
                "between 0 and 1",
            );
        }
        Ok(())
    }
}
