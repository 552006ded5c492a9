//! The course of a run: one line of JSON per step.

use serde_json::{Map, Value, json};

use crate::learner::Metrics;

/// Lines as they are in `history.jsonl`. They are kept as text, so that what a resumed run writes again is
/// what it has read, to the last digit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    text: String,
}

impl History {
    pub(super) fn from_text(text: String) -> Self {
        Self { text }
    }

    /// All lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines as points, oldest first; what is no line of a history is left out.
    pub fn points(&self) -> impl Iterator<Item = HistoryPoint> {
        self.text.lines().filter_map(HistoryPoint::parse)
    }

    pub(super) fn push(&mut self, point: &HistoryPoint) {
        let HistoryPoint { step, tokens, loss, rate, .. } = point;
        let mut line = json!({ "step": step, "tokens": tokens, "loss": loss, "rate": rate });
        if !point.validation.is_empty() {
            let means = point.validation.iter();
            let means: Map<_, _> = means.map(|(name, mean)| (name.clone(), json!(mean))).collect();
            line["validation"] = Value::Object(means);
        }
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPoint {
    /// The step, from 1.
    pub step: u64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Mean loss of the learned tokens, before the step's update.
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// What held-out text said after the step, if it was asked; by name.
    pub validation: Vec<(String, f64)>,
}

impl HistoryPoint {
    pub(super) fn validated(mut self, metrics: &Metrics) -> Self {
        self.validation = metrics.means().map(|(name, mean)| (name.to_owned(), mean)).collect();
        self
    }

    fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let validation = line.get("validation").and_then(Value::as_object);
        let means = validation.into_iter().flatten();
        Some(Self {
            step: line["step"].as_u64()?,
            tokens: line["tokens"].as_u64()?,
            loss: line["loss"].as_f64()?,
            rate: line["rate"].as_f64()?,
            validation: means
                .filter_map(|(name, mean)| Some((name.clone(), mean.as_f64()?)))
                .collect(),
        })
    }
}
