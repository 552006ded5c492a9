//! Opening models and putting an engine together.

use std::sync::Arc;
use std::time::Duration;

use foretoken_core::MAX_NODES;
use foretoken_cpu::{CpuBackend, CpuOptions, default_threads};
use foretoken_model::{
    Checkpoint, LoadOptions, LoadProgress, Model, ModelError, ModelSource, OpenOptions, Target,
    Tokenizer,
};
use foretoken_tensor::WeightFormat;

use crate::drafters::{
    self, Bridge, Built, DraftModel, Drafter, DrafterInfo, LoadedHeads, Merged, Needs, Parts, Sight,
};
use crate::engine::State;
use crate::{CostCurve, DraftVocabulary, Engine, EngineOptions, Error, MedusaOptions};

/// What [`Engine::load`] has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadStep {
    /// Of the matrices of a model.
    Packed(LoadProgress),
    /// Of the passes of the target that are timed, see [`MeasureCost`](crate::MeasureCost).
    Measured {
        /// Time that they took.
        spent: Duration,
        /// Time that they may take.
        budget: Duration,
    },
}

/// Told a model's name and what is done with it.
type Progress<'a> = &'a mut dyn FnMut(&str, LoadStep);

/// A model with everything around it.
struct Loaded {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    model: Model<CpuBackend>,
}

impl Engine {
    /// Loads the models and builds the drafters.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for one engine")]
    pub fn new(options: EngineOptions) -> Result<Self, Error> {
        Self::load(&options, &mut |_, _| {})
    }

    /// As [`Engine::new`], telling `progress` a model's name and what is done with it.
    pub fn load(
        options: &EngineOptions,
        progress: &mut dyn FnMut(&str, LoadStep),
    ) -> Result<Self, Error> {
        options.validate()?;
        let auto = if options.draft_model.is_some() { "model" } else { "lookup" };
        let names = options.drafter.split('+').map(|name| if name == "auto" { auto } else { name });
        let name = names.collect::<Vec<_>>().join("+");
        let methods = drafters::parse(&name)?;
        let needs: Vec<Needs> = methods.iter().map(|method| method.needs).collect();
        let mut opened = Opened::open(options, &needs, progress)?;
        let built = methods.iter().map(|method| method.build(opened.parts(method, options)));
        let built = built.collect::<Result<Vec<Built>, _>>()?;
        let most = built.iter().map(|built| built.nodes).max().unwrap_or(0);
        let engine = Self {
            draft_nodes: options.draft.tokens.unwrap_or(most),
            drafters: Merged::new(built.into_iter().map(|built| built.drafter).collect()),
            drafter_name: name,
            sight: methods.iter().fold(Sight::TEXT, |sight, method| sight.and(method.sight)),
            ..opened.engine(options)
        };
        Ok(engine)
    }
}

/// Everything an engine is made of but its drafters.
pub(crate) struct Opened {
    threads: usize,
    target: Box<dyn Target>,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    draft: Option<DraftModel>,
    pub(crate) heads: Option<LoadedHeads>,
    cost: Option<CostCurve>,
    warnings: Vec<String>,
}

impl Opened {
    /// Opens the target and what else is needed and there.
    pub(crate) fn open(
        options: &EngineOptions,
        needs: &[Needs],
        progress: Progress<'_>,
    ) -> Result<Self, Error> {
        let threads = options.threads.unwrap_or_else(default_threads);
        let cpu = CpuOptions { threads, isa: options.isa };
        let backend = Arc::new(CpuBackend::new(cpu));
        let target = open(&backend, options, &options.model, options.format, progress)?;
        let mut warnings = named_warnings(&target.checkpoint);
        let mut draft = None;
        if let Some(source) = &options.draft_model
            && needs.contains(&Needs::DraftModel)
        {
            let opened = open(&backend, options, source, options.draft_format, progress)?;
            warnings.extend(named_warnings(&opened.checkpoint));
            let mut loaded = draft_model(options, &target, opened)?;
            let heads = loaded.heads.iter_mut();
            warnings.extend(heads.flat_map(|heads| heads.warnings.drain(..)));
            draft = Some(loaded);
        }
        let mut heads = if needs.contains(&Needs::MedusaHeads) {
            LoadedHeads::load(&target.model, &target.checkpoint, &options.medusa)?
        } else {
            None
        };
        let Loaded { checkpoint, tokenizer, mut model } = target;
        let threads = backend.threads();
        let mut timed = |spent, budget| {
            progress(checkpoint.name(), LoadStep::Measured { spent, budget });
        };
        let bytes = checkpoint.weight_bytes();
        let cost = options.cost.curve(&mut model, threads, bytes, &mut timed)?;
        if let Some(heads) = &mut heads {
            warnings.append(&mut heads.warnings);
            if cost.is_some() {
                heads.measure(checkpoint.spec().hidden);
            }
        }
        let target = Box::new(model);
        Ok(Self { threads, target, checkpoint, tokenizer, draft, heads, cost, warnings })
    }

    /// What a method is built from; what only one can have goes to the first that asks.
    fn parts<'a>(&'a mut self, method: &DrafterInfo, options: &'a EngineOptions) -> Parts<'a> {
        let needs = |what| method.needs == what;
        Parts {
            ceilings: method.ceilings(options.draft),
            tokens: options.draft.tokens,
            model: needs(Needs::DraftModel).then(|| self.draft.take()).flatten(),
            heads: needs(Needs::MedusaHeads).then(|| self.heads.take()).flatten(),
            medusa: &options.medusa,
            lookahead: options.lookahead,
            suffix_corpus: options.suffix_corpus.as_deref(),
            tokenizer: &self.tokenizer,
            eos: self.checkpoint.eos(),
            cost: self.cost.as_ref(),
            vocab: self.target.spec().vocab,
        }
    }

    /// An engine that drafts nothing.
    pub(crate) fn engine(self, options: &EngineOptions) -> Engine {
        let Self { threads, target, checkpoint, tokenizer, cost, warnings, .. } = self;
        Engine {
            threads,
            cost,
            target,
            checkpoint,
            tokenizer,
            drafters: Merged::default(),
            drafter_name: String::new(),
            warnings,
            draft_nodes: 0,
            sight: Sight::TEXT,
            max_sequences: options.max_sequences,
            state: State::default(),
        }
    }
}

/// Parts of the caller's own. All are meant for an engine that has not run yet.
impl Engine {
    /// Replaces the drafters by what `change` makes of them: methods of one's own, or the engine's
    /// with something around them. Several are merged, in order. The text stays what it is.
    #[must_use]
    pub fn with_drafters(
        mut self,
        name: &str,
        change: impl FnOnce(Vec<Box<dyn Drafter>>) -> Vec<Box<dyn Drafter>>,
    ) -> Self {
        name.clone_into(&mut self.drafter_name);
        self.drafters = Merged::new(change(self.drafters.into_drafters()));
        self
    }

    /// Shows drafters so much of the target, besides what the engine's own asked for: those given by
    /// [`Engine::with_drafters`] may want it.
    #[must_use]
    pub fn with_sight(mut self, sight: Sight) -> Self {
        self.sight = self.sight.and(sight);
        self
    }

    /// Replaces the target by what `change` makes of it, for instance one that shows its rows to
    /// somebody else.
    #[must_use]
    pub fn with_target(mut self, change: impl FnOnce(Box<dyn Target>) -> Box<dyn Target>) -> Self {
        self.target = change(self.target);
        self
    }
}

/// The draft model with its heads and what leads from its vocabulary to the target's.
fn draft_model(
    options: &EngineOptions,
    target: &Loaded,
    draft: Loaded,
) -> Result<DraftModel, Error> {
    let name = draft.checkpoint.name();
    let way = options.draft_vocabulary.between(&target.tokenizer, &draft.tokenizer, name)?;
    let medusa = MedusaOptions { heads: options.draft_heads.clone(), ..MedusaOptions::default() };
    let heads = LoadedHeads::load(&draft.model, &draft.checkpoint, &medusa)?;
    if heads.is_some() && way != DraftVocabulary::Same {
        return Err(Error::DraftHeadsVocabulary { draft: name.to_owned() });
    }
    let ours = (&target.tokenizer, target.model.spec().vocab);
    let theirs = (&draft.tokenizer, draft.model.spec().vocab);
    let bridge = match way {
        DraftVocabulary::Tokens => Bridge::tokens(ours, theirs),
        DraftVocabulary::Text => Bridge::text(ours, theirs),
        DraftVocabulary::Auto | DraftVocabulary::Same => Bridge::Same { vocab: ours.1 },
    };
    Ok(DraftModel { model: Box::new(draft.model), heads, bridge })
}

/// What was ignored on opening, with the model's name.
fn named_warnings(checkpoint: &Checkpoint) -> Vec<String> {
    let name = checkpoint.name();
    checkpoint.warnings().iter().map(|warning| format!("{name}: {warning}")).collect()
}

/// Opens and packs a model.
fn open(
    backend: &Arc<CpuBackend>,
    options: &EngineOptions,
    source: &ModelSource,
    format: Option<WeightFormat>,
    progress: Progress<'_>,
) -> Result<Loaded, Error> {
    let open = OpenOptions { unknown_keys: options.unknown_keys };
    let checkpoint = Checkpoint::open(source, &open)?;
    let tokenizer = source.tokenizer()?;
    tokenizer.check_fits(checkpoint.spec().vocab).map_err(|cause| {
        let file = checkpoint.name().to_owned();
        ModelError::Tokenizer { file, cause }
    })?;
    let context = options.context.unwrap_or(checkpoint.spec().context);
    let positions = context.saturating_add(MAX_NODES).saturating_mul(options.max_sequences);
    let load = LoadOptions {
        format,
        kv_type: options.kv_type,
        context: Some(context),
        cache_positions: Some(positions),
        ..LoadOptions::default()
    };
    let model = Model::load(Arc::clone(backend), &checkpoint, load, &mut |step| {
        progress(checkpoint.name(), LoadStep::Packed(step));
    })?;
    Ok(Loaded { checkpoint, tokenizer, model })
}
