//! Speculative decoding that never changes the text.
//!
//! An [`Engine`] loads a model and drafters, and generates: several tokens per pass of the model,
//! the same tokens as one by one. Greedy text, and under the default rule sampled text too, is bit
//! for bit what plain decoding writes, whatever the drafter, the tree, the batch or the threads.
//!
//! ```
//! use foretoken::{AddSpecial, Engine, EngineOptions, ModelSource, ParseSpecial, Request};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
//! let mut options = EngineOptions::new(ModelSource::Folder(format!("{models}/foretoken-demo").into()));
//! options.draft_model = Some(ModelSource::Folder(format!("{models}/foretoken-demo-draft").into()));
//! let mut engine = Engine::new(options)?;
//!
//! let prompt = engine.tokenizer().encode("def add(a, b):", AddSpecial::Yes, ParseSpecial::No)?;
//! let mut request = Request::new(prompt);
//! request.max_tokens = Some(24);
//! let mut generation = engine.generate(request)?;
//! for token in &mut generation {
//!     print!("{}", token.text);
//! }
//! let completion = generation.into_completion()?;
//! println!("\n{:.2} tokens per pass", completion.stats.mean_accepted_length());
//! # assert!(!completion.tokens.is_empty());
//! # Ok(())
//! # }
//! ```

mod builder;
mod calibrate;
mod cost;
pub mod drafters;
mod engine;
mod error;
mod generation;
mod looping;
mod options;
mod request;
mod score;
mod sequence;
mod session;
mod vocabularies;

pub use builder::LoadStep;
pub use calibrate::{CalibrationOptions, CalibrationProgress, calibrate_medusa};
pub use cost::{
    CostCache, CostCurve, DepthCost, ForwardBench, ForwardCost, ForwardOptions, MeasureCost,
    Passes, RowCost, SHAPES, Shape, Subject,
};
pub use drafters::{DRAFTERS, LookaheadShape, MedusaChoices, Needs, Sight};
pub use engine::Engine;
pub use error::Error;
pub use generation::Generation;
pub use looping::loop_free_len;
pub use options::{DraftOptions, EngineOptions, MedusaOptions};
pub use request::{
    Completion, Drafting, EndOfText, Event, FinishReason, Origin, Request, RequestId, Token,
};
pub use score::Score;
pub use session::SessionId;
pub use vocabularies::{DraftVocabulary, SampleOverlap, Vocabularies};

pub use foretoken_core::{ParamError, Rule, SamplingParams, SpecStats, TokenId};
pub use foretoken_cpu::{Isa, available_memory, machine_name};
pub use foretoken_model::{
    AddSpecial, ChatError, ChatTemplate, Checkpoint, CorpusIndex, CorpusIndexError, ForwardError,
    GenerationPrompt, HubEnvironment, LoadProgress, MedusaCalibration, MedusaHeads, MedusaLayout,
    MedusaMeasurement, MedusaSource, Message, ModelError, ModelSource, ModelSpec, OpenOptions,
    OutputHead, ParseSpecial, Rope, RopeScaling, Target, Tokenizer, TokenizerError, UnknownKeys,
};
pub use foretoken_tensor::{KvType, PackError, QUANTS, Reach, WeightFormat};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
