//! How often each rank of each head is right, as measured.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::export::replace;
use super::{CALIBRATION, MedusaError};
use crate::error::ModelError;

/// Rounding allowed in the sum of a head's rates.
const ROUNDING: f64 = 1e-6;

/// Measured rates of some heads, from which trees of drafts are chosen (section 2.3.3 of the paper). It is
/// kept beside the heads as `medusa_calibration.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MedusaCalibration {
    /// Per head and rank, how often the head's guess of that rank was the model's later token: from 0 to 1,
    /// and at most 1 in sum over a head's ranks.
    pub ranks: Vec<Vec<f64>>,
    /// Positions measured.
    pub positions: u64,
    /// The model measured with.
    pub model: String,
    /// What its text was, such as the name of a set of prompts.
    pub text: String,
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
        let refuse = |problem| Err(MedusaError::Calibration { problem });
        if self.ranks.len() != heads {
            return refuse(format!("rates of {} heads where there are {heads}", self.ranks.len()));
        }
        if self.positions == 0 {
            return refuse("no measured positions".to_owned());
        }
        for (head, rates) in self.ranks.iter().enumerate() {
            let wrong = |rate: &&f64| !(0.0..=1.0).contains(*rate);
            if let Some(rate) = rates.iter().find(wrong) {
                return refuse(format!("the rate {rate} in head {head}"));
            }
            let sum: f64 = rates.iter().sum();
            if rates.is_empty() || sum > 1.0 + ROUNDING {
                return refuse(format!("{} rates in head {head} that sum to {sum}", rates.len()));
            }
        }
        Ok(())
    }

    /// Checks the rates and writes them beside the heads in `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let file = folder.join(CALIBRATION);
        self.check(self.ranks.len())
            .map_err(|cause| ModelError::Medusa { file: file.display().to_string(), cause })?;
        replace(&file, |out| serde_json::to_writer_pretty(out, self).map_err(io::Error::from))
    }
}
