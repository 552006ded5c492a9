//! Opening heads for a loaded target.

use std::collections::HashSet;
use std::time::Instant;

use foretoken_core::TokenId;
use foretoken_cpu::CpuBackend;
use foretoken_model::{
    Checkpoint, Heads, MedusaCalibration, MedusaError, MedusaNetwork, Model, ModelError,
};

use super::{MedusaChoices, choices};
use crate::{Error, MedusaOptions};

/// Passes of which the shortest counts.
const ROUNDS: usize = 4;

/// Heads that are ready to run, and what is known of them.
pub(crate) struct LoadedHeads {
    pub(crate) heads: Box<dyn Heads>,
    pub(crate) calibration: Option<MedusaCalibration>,
    /// How long they take for one state, where costs are measured.
    pub(crate) seconds: Option<f64>,
    /// Where their files contradict each other, or the options.
    pub(crate) warnings: Vec<String>,
}

impl LoadedHeads {
    /// Opens and packs the heads that are named for `model`, which was loaded from `checkpoint`.
    pub(crate) fn load(
        model: &Model<CpuBackend>,
        checkpoint: &Checkpoint,
        options: &MedusaOptions,
    ) -> Result<Option<Self>, Error> {
        let Some(source) = &options.heads else { return Ok(None) };
        let mut files = source.open()?;
        let all = checkpoint.spec().vocab;
        let limit = options.vocab.filter(|&limit| limit < all);
        if let MedusaChoices::Tree(tree) = &options.choices {
            let tokens = files.token_map().map_or(limit.unwrap_or(all), <[TokenId]>::len);
            choices::check(tree, files.count(), tokens)?;
            files.truncate(tree.depth());
        }
        let ignored = (limit.is_some() && files.token_map().is_some()).then_some(
            "the heads leave out tokens already; a limit of their vocabulary is ignored",
        );
        let warnings = files.warnings().iter().map(String::as_str).chain(ignored);
        let warnings = warnings.map(|warning| format!("{}: {warning}", files.place())).collect();
        let frequent = files.calibration().map_or(&[][..], |known| &known.frequent);
        if let Some(token) = frequent.iter().find(|&&token| token as usize >= all) {
            let problem = format!("the frequent token {token} where the model has {all}");
            let cause = MedusaError::Calibration { problem };
            return Err(ModelError::Medusa { file: files.place().to_owned(), cause }.into());
        }
        let tokens = limit.map(|limit| most_frequent(frequent, limit));
        let heads = MedusaNetwork::load(model, checkpoint, &files, tokens.as_deref())?;
        let calibration = files.calibration().cloned();
        Ok(Some(Self { heads: Box::new(heads), calibration, seconds: None, warnings }))
    }

    /// Measures how long a pass takes for one state of a width.
    pub(crate) fn measure(&mut self, hidden: usize) {
        let state = vec![0.0; hidden];
        let time = |_| {
            let started = Instant::now();
            self.heads.start();
            self.heads.add(&state);
            self.heads.forward();
            started.elapsed().as_secs_f64()
        };
        self.seconds = (0..ROUNDS).map(time).reduce(f64::min);
    }
}

/// The `limit` most frequent tokens in the order of their ids; where fewer are known, the lowest ids fill up.
fn most_frequent(frequent: &[TokenId], limit: usize) -> Vec<TokenId> {
    let known: HashSet<TokenId> = frequent.iter().take(limit).copied().collect();
    let others = (0..).filter(|token| !known.contains(token)).take(limit - known.len());
    let mut tokens: Vec<TokenId> = others.collect();
    tokens.extend(&known);
    tokens.sort_unstable();
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_tokens_come_first_and_the_lowest_ids_fill_up() {
        assert_eq!(most_frequent(&[9, 0, 4, 7], 3), [0, 4, 9]);
        assert_eq!(most_frequent(&[9, 0], 5), [0, 1, 2, 3, 9]);
        assert_eq!(most_frequent(&[], 2), [0, 1]);
    }
}
