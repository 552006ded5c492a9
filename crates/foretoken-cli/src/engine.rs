//! Finding models by the names users give them, and loading an engine with its progress shown.

use std::env;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use foretoken::{
    CostCache, Engine, EngineOptions, HubEnvironment, LoadProgress, LoadStep, MeasureCost,
    MedusaSource, ModelSource,
};

use crate::demo;
use crate::error::Error;
use crate::output::warn;
use crate::progress::Bar;

/// Finds a model: the demo, a folder, a GGUF file or a hub id in the local cache.
pub(crate) fn resolve(name: &str) -> Result<ModelSource, Error> {
    match name {
        demo::NAME => demo::target(),
        demo::DRAFT_NAME => demo::draft(),
        name => Ok(ModelSource::resolve(name, &hub())?),
    }
}

/// Finds Medusa heads: a folder, a file or a hub id in the local cache.
pub(crate) fn resolve_heads(name: &str) -> Result<MedusaSource, Error> {
    Ok(MedusaSource::resolve(name, &hub())?)
}

/// Where the Hugging Face hub keeps its downloads.
fn hub() -> HubEnvironment {
    HubEnvironment { hub_cache: path("HF_HUB_CACHE"), hf_home: path("HF_HOME"), home: path("HOME") }
}

/// What the environment says a path is, if anything.
fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// How the cost of a pass becomes known: measured once per build and kept in the user's cache folder, or on
/// every load where there is none.
pub(crate) fn measure_cost() -> MeasureCost {
    let folder = path("FORETOKEN_CACHE")
        .or_else(|| Some(path("XDG_CACHE_HOME")?.join("foretoken")))
        .or_else(|| Some(path("HOME")?.join(".cache/foretoken")));
    let built = env::current_exe().and_then(|binary| binary.metadata()).ok().and_then(|file| {
        let since = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(format!(
            "{} of {} ns and {} bytes",
            env!("CARGO_PKG_VERSION"),
            since.as_nanos(),
            file.len()
        ))
    });
    match (folder, built) {
        (Some(folder), Some(build)) => MeasureCost::Cached(CostCache { folder, build }),
        _ => MeasureCost::Always,
    }
}

/// Loads the models; what was ignored in their files becomes warnings.
pub(crate) fn load(options: &EngineOptions) -> Result<Engine, Error> {
    let mut bar = Bar::new("loading");
    let engine = Engine::load(options, &mut |name, step| match step {
        LoadStep::Packed(LoadProgress { done, total }) => bar.update(name, done, total),
        LoadStep::Measured { spent, budget } => {
            bar.turn_to("measuring passes of");
            bar.update(name, spent.as_millis() as usize, budget.as_millis() as usize);
        }
    });
    bar.clear();
    let engine = engine?;
    engine.warnings().iter().for_each(|warning| warn(warning));
    Ok(engine)
}
