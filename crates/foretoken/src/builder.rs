//! Opening models and putting an engine together.

use std::sync::Arc;

use foretoken_core::MAX_NODES;
use foretoken_cpu::{CpuBackend, CpuOptions, default_threads};
use foretoken_model::{
    Checkpoint, LoadOptions, LoadProgress, Model, ModelError, ModelSource, OpenOptions, Target,
    Tokenizer,
};
use foretoken_tensor::WeightFormat;

use crate::drafters::{self, Drafter, Needs, Parts};
use crate::engine::State;
use crate::{Engine, EngineOptions, Error};

/// Told a model's name and how many of its matrices are packed.
type Progress<'a> = &'a mut dyn FnMut(&str, LoadProgress);

/// A model with everything around it.
struct Loaded {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    model: Box<dyn Target>,
}

impl Engine {
    /// Loads the models and builds the drafters.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for one engine")]
    pub fn new(options: EngineOptions) -> Result<Self, Error> {
        Self::load(&options, &mut |_, _| {})
    }

    /// As [`Engine::new`], telling `progress` a model's name and how many of its matrices are packed.
    pub fn load(
        options: &EngineOptions,
        progress: &mut dyn FnMut(&str, LoadProgress),
    ) -> Result<Self, Error> {
        options.validate()?;
        let name = match (options.drafter.as_str(), &options.draft_model) {
            ("auto", Some(_)) => "model",
            ("auto", None) => "lookup",
            (name, _) => name,
        };
        let methods = drafters::parse(name)?;
        let threads = options.threads.unwrap_or_else(default_threads);
        let cpu = CpuOptions { threads, isa: options.isa };
        let backend = Arc::new(CpuBackend::new(cpu));
        let Loaded { checkpoint, tokenizer, model: mut target } =
            open(&backend, options, &options.model, options.format, progress)?;
        let mut warnings = named_warnings(&checkpoint);
        let mut draft = match &options.draft_model {
            Some(source) if methods.iter().any(|method| method.needs == Needs::DraftModel) => {
                let draft = open(&backend, options, source, options.draft_format, progress)?;
                if let Some(difference) = tokenizer.difference(&draft.tokenizer) {
                    let (draft, difference) =
                        (draft.checkpoint.name().to_owned(), difference.to_string());
                    return Err(Error::Vocabulary { draft, difference });
                }
                warnings.extend(named_warnings(&draft.checkpoint));
                Some(draft.model)
            }
            _ => None,
        };
        let vocab = target.spec().vocab;
        let drafters = methods
            .iter()
            .map(|method| {
                let model = (method.needs == Needs::DraftModel).then(|| draft.take()).flatten();
                method.build(Parts { options: options.draft, model, vocab })
            })
            .collect::<Result<_, _>>()?;
        let threads = backend.threads();
        let cost = options.cost.curve(target.as_mut(), threads, checkpoint.weight_bytes())?;
        Ok(Self {
            threads,
            cost,
            target,
            checkpoint,
            tokenizer,
            drafters,
            drafter_name: name.to_owned(),
            warnings,
            draft_nodes: options.draft.tokens,
            max_sequences: options.max_sequences,
            state: State::default(),
        })
    }
}

/// Parts of the caller's own. Both are meant for an engine that has not run yet.
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
        self.drafters = change(self.drafters);
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
        progress(checkpoint.name(), step);
    })?;
    Ok(Loaded { checkpoint, tokenizer, model: Box::new(model) })
}
