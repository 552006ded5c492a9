//! Finding models by the names users give them, and loading an engine with its progress shown.

use std::env;
use std::path::PathBuf;

use foretoken::{Engine, EngineOptions, HubEnvironment, ModelSource};

use crate::demo;
use crate::error::Error;
use crate::output::warn;
use crate::progress::LoadBar;

/// Finds a model: the demo, a folder, a GGUF file or a hub id in the local cache.
pub(crate) fn resolve(name: &str) -> Result<ModelSource, Error> {
    match name {
        demo::NAME => demo::target(),
        demo::DRAFT_NAME => demo::draft(),
        name => Ok(ModelSource::resolve(name, &hub())?),
    }
}

/// Where the Hugging Face hub keeps its downloads.
fn hub() -> HubEnvironment {
    let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    HubEnvironment { hub_cache: path("HF_HUB_CACHE"), hf_home: path("HF_HOME"), home: path("HOME") }
}

/// Loads the models; what was ignored in their files becomes warnings.
pub(crate) fn load(options: &EngineOptions) -> Result<Engine, Error> {
    let mut bar = LoadBar::new();
    let engine = Engine::load(options, &mut |name, step| bar.update(name, step));
    bar.clear();
    let engine = engine?;
    engine.warnings().iter().for_each(|warning| warn(warning));
    Ok(engine)
}
