//! How often heads and their guesses are right, as measured on text of the model.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use foretoken_core::{PathRates, TokenId};
use serde::{Deserialize, Serialize};

use super::{CALIBRATION, MedusaError};
use crate::aside::replace;
use crate::error::ModelError;

/// Rounding allowed in sums of rates and between a path and its beginning.
const ROUNDING: f64 = 1e-6;

/// What was measured of some heads: from it trees of drafts are chosen (section 2.3.3 of the paper) and the
/// tokens whose logits are worth computing. It is kept beside the heads as `medusa_calibration.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MedusaCalibration {
    /// The model measured with.
    pub model: String,
    /// What its text was, such as the name of a set of prompts.
    pub text: String,
    /// One per temperature, at least one.
    pub measurements: Vec<MedusaMeasurement>,
    /// Tokens of the model's text, the most frequent first.
    pub frequent: Vec<TokenId>,
}

/// How often guesses are right in text of one temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MedusaMeasurement {
    /// The temperature; the guesses were ranked under the noise of their positions, as drafts are.
    pub temperature: f64,
    /// Positions measured, at least one: those where steps of drafting begin, which are harder than others.
    pub positions: u64,
    /// Per head and rank, how often the head's guess of that rank was the model's later token: from 0 to 1,
    /// and at most 1 in sum over a head's ranks.
    pub ranks: Vec<Vec<f64>>,
    /// How often all guesses of a path were right together, for the paths most often right. A path is right
    /// no more often than its beginnings, which are listed with it.
    pub paths: Vec<MedusaPath>,
}

/// A path of guesses and how often it is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MedusaPath {
    /// Per depth, the rank of the guess.
    pub path: Vec<u32>,
    /// How often every one of them is right.
    pub rate: f64,
}

impl MedusaCalibration {
    /// Reads and checks the contents of `file` for so many heads.
    pub(crate) fn parse(bytes: &[u8], heads: usize, file: &str) -> Result<Self, ModelError> {
        let calibration: Self = serde_json::from_slice(bytes)
            .map_err(|cause| ModelError::Json { file: file.to_owned(), cause })?;
        calibration
            .check(heads)
            .map_err(|cause| ModelError::Medusa { file: file.to_owned(), cause })?;
        Ok(calibration)
    }

    /// Whether these are rates of so many heads.
    pub fn check(&self, heads: usize) -> Result<(), MedusaError> {
        if self.measurements.is_empty() {
            return refuse("no measurement".to_owned());
        }
        for measurement in &self.measurements {
            measurement.check(heads)?;
        }
        let mut seen = HashSet::new();
        match self.frequent.iter().find(|&&token| !seen.insert(token)) {
            Some(token) => refuse(format!("the frequent token {token} twice")),
            None => Ok(()),
        }
    }

    /// Checks the rates and writes them beside the heads in `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let file = folder.join(CALIBRATION);
        let heads = self.measurements.first().map_or(0, |measurement| measurement.ranks.len());
        self.check(heads)
            .map_err(|cause| ModelError::Medusa { file: file.display().to_string(), cause })?;
        replace(&file, |out| serde_json::to_writer(out, self).map_err(io::Error::from))
    }
}

impl MedusaMeasurement {
    /// The rates, as trees are chosen by them.
    pub fn rates(&self) -> PathRates {
        let paths = self.paths.iter().map(|listed| (listed.path.clone(), listed.rate));
        PathRates::new(self.ranks.clone(), paths)
    }

    fn check(&self, heads: usize) -> Result<(), MedusaError> {
        if self.ranks.len() != heads {
            return refuse(format!("rates of {} heads where there are {heads}", self.ranks.len()));
        }
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse(format!("the temperature {}", self.temperature));
        }
        if self.positions == 0 {
            return refuse("no measured positions".to_owned());
        }
        for (head, rates) in self.ranks.iter().enumerate() {
            if let Some(rate) = rates.iter().find(|&&rate| !is_rate(rate)) {
                return refuse(format!("the rate {rate} in head {head}"));
            }
            let sum: f64 = rates.iter().sum();
            if rates.is_empty() || sum > 1.0 + ROUNDING {
                return refuse(format!("{} rates in head {head} that sum to {sum}", rates.len()));
            }
        }
        self.check_paths(heads)
    }

    fn check_paths(&self, heads: usize) -> Result<(), MedusaError> {
        let mut rates: HashMap<&[u32], f64> = HashMap::new();
        for MedusaPath { path, rate } in &self.paths {
            if !(1..=heads).contains(&path.len()) {
                return refuse(format!("the path {path:?} for {heads} heads"));
            }
            if !is_rate(*rate) {
                return refuse(format!("the rate {rate} of the path {path:?}"));
            }
            if rates.insert(path, *rate).is_some() {
                return refuse(format!("the path {path:?} twice"));
            }
        }
        for MedusaPath { path, rate } in self.paths.iter().filter(|listed| listed.path.len() > 1) {
            let above = rates.get(&path[..path.len() - 1]);
            if above.is_none_or(|&above| *rate > above + ROUNDING) {
                return refuse(format!("a path {path:?} more often right than its beginning"));
            }
        }
        Ok(())
    }
}

fn is_rate(rate: f64) -> bool {
    (0.0..=1.0).contains(&rate)
}

fn refuse<T>(problem: String) -> Result<T, MedusaError> {
    Err(MedusaError::Calibration { problem })
}
