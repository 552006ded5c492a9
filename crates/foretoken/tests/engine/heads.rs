//! Medusa heads under test: random ones for any model, and ones that know the text.

use std::borrow::Cow;
use std::collections::HashMap;

use foretoken::{Checkpoint, MedusaSource, ModelSource, OpenOptions, TokenId};
use foretoken_model::{HeadBias, HeadPrecision, Heads, MedusaExport, MedusaShape};
use tempfile::TempDir;

use crate::oracle::Dice;

/// Where the logits of heads come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// A matrix per head.
    Own,
    /// The model's.
    Shared,
}

/// Random heads for a model, in a folder of their own.
pub(crate) fn random_heads(model: &ModelSource, output: Output, seed: u64) -> TempDir {
    let checkpoint = Checkpoint::open(model, &OpenOptions::default()).unwrap();
    let (spec, mut dice) = (checkpoint.spec(), Dice(seed));
    let vocab = (output == Output::Own).then_some(spec.vocab);
    let shape =
        MedusaShape { count: 3, blocks: 1, hidden: spec.hidden, vocab, bias: HeadBias::All };
    let folder = tempfile::tempdir().unwrap();
    let export = MedusaExport { shape, precision: HeadPrecision::Bf16, base_model: "tiny" };
    let mut value = || dice.roll(2001) as f32 / 1000.0 - 1.0;
    export
        .write_published(folder.path(), |tensor| {
            let count = shape.dims(tensor).iter().product();
            Cow::Owned((0..count).map(|_| value()).collect())
        })
        .unwrap();
    folder
}

/// The heads in a folder.
pub(crate) fn source(folder: &TempDir) -> MedusaSource {
    MedusaSource::Folder(ModelSource::Folder(folder.path().to_owned()))
}
