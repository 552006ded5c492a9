//! The built-in demo: a small model, and a smaller one and Medusa heads that draft for it.
//!
//! With the feature `demo` all are part of the binary. Without it they are looked for as folders, in
//! `models` beside the binary and in `./models`.

use foretoken::{MedusaSource, ModelSource};

use crate::error::Error;

/// Name of the model on the command line.
pub(crate) const NAME: &str = "demo";
/// Name of its draft model on the command line.
pub(crate) const DRAFT_NAME: &str = "demo-draft";

const TARGET: &str = "foretoken-demo";
const DRAFT: &str = "foretoken-demo-draft";
const HEADS: &str = "foretoken-demo-medusa";

/// The model.
pub(crate) fn target() -> Result<ModelSource, Error> {
    source(TARGET)
}

/// The model that drafts for it.
pub(crate) fn draft() -> Result<ModelSource, Error> {
    source(DRAFT)
}

/// The heads that draft for it.
pub(crate) fn heads() -> Result<MedusaSource, Error> {
    source(HEADS).map(MedusaSource::Folder)
}

#[cfg(feature = "demo")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature the models may be missing")]
fn source(name: &'static str) -> Result<ModelSource, Error> {
    /// A folder's files with their contents.
    macro_rules! files {
        ($folder:literal: $($file:literal),+) => {
            &[$((
                $file,
                include_bytes!(concat!("../../../models/", $folder, "/", $file)).as_slice(),
            )),+]
        };
    }
    const TARGET_FILES: &[(&str, &[u8])] = files!("foretoken-demo":
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json");
    const DRAFT_FILES: &[(&str, &[u8])] = files!("foretoken-demo-draft":
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json");
    const HEAD_FILES: &[(&str, &[u8])] = files!("foretoken-demo-medusa":
        "config.json", "medusa_calibration.json", "medusa_lm_head.safetensors");
    let files = match name {
        TARGET => TARGET_FILES,
        DRAFT => DRAFT_FILES,
        _ => HEAD_FILES,
    };
    Ok(ModelSource::Embedded { name, files })
}

#[cfg(not(feature = "demo"))]
fn source(name: &'static str) -> Result<ModelSource, Error> {
    let beside =
        std::env::current_exe().ok().and_then(|binary| Some(binary.parent()?.join("models")));
    let places = beside.into_iter().chain(["models".into()]);
    let mut folders = places.map(|models| models.join(name));
    let found = folders.find(|folder| folder.join("config.json").is_file());
    found.map(ModelSource::Folder).ok_or_else(|| {
        Error::failure(format!(
            "the built-in `{name}` is not in this binary, nor in `models` beside it or here; build with \
             the feature `demo`, or name another model"
        ))
    })
}
