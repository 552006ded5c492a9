//! Medusa-1: heads that are trained on a model that stays as it is.

use std::path::Path;

use super::loss::{HeadStates, HeadsLoss, MedusaObjective};
use super::parameters::{HeadExport, MedusaParameters};
use crate::batch::Batch;
use crate::compute::Compute;
use crate::error::TrainError;
use crate::learner::{Learner, Metrics};
use crate::parameters::Parameters;
use crate::teacher::FrozenTarget;

/// Heads and the model they are for.
pub struct Medusa1 {
    target: FrozenTarget,
    heads: MedusaParameters,
    objective: MedusaObjective,
    export: HeadExport,
    loss: HeadsLoss,
    hidden: Vec<f32>,
}

impl Medusa1 {
    /// Trains `heads`, which are for this target.
    pub fn new(
        target: FrozenTarget,
        heads: MedusaParameters,
        objective: MedusaObjective,
        export: HeadExport,
    ) -> Self {
        let (loss, hidden) = <_>::default();
        Self { target, heads, objective, export, loss, hidden }
    }

    /// The heads as they are now.
    pub fn heads(&self) -> &MedusaParameters {
        &self.heads
    }
}

/// What heads on this model read and learn from.
fn states<'a>(target: &'a FrozenTarget, hidden: &'a [f32]) -> HeadStates<'a> {
    let (head, teacher) = (target.head(), target.teacher(hidden));
    HeadStates { hidden, head, teacher, scale: 1.0, gradient: None }
}

impl Learner for Medusa1 {
    fn groups(&self) -> Vec<&Parameters> {
        vec![&self.heads.parameters]
    }

    fn groups_mut(&mut self) -> Vec<&mut Parameters> {
        vec![&mut self.heads.parameters]
    }

    fn begin_step(&mut self, _: u64, _: u64) {}

    fn step(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<f64, TrainError> {
        let Self { target, heads, objective, loss, hidden, .. } = self;
        target.hidden(batch, hidden)?;
        let states = states(target, hidden);
        Ok(loss.step(compute, heads, (*objective, states), batch))
    }

    fn evaluate(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
        metrics: &mut Metrics,
    ) -> Result<(), TrainError> {
        let Self { target, heads, objective, loss, hidden, .. } = self;
        target.hidden(batch, hidden)?;
        let states = states(target, hidden);
        loss.evaluate(compute, heads, (*objective, states), batch, metrics);
        Ok(())
    }

    fn end_evaluation(&mut self, metrics: &mut Metrics) {
        self.loss.end_evaluation(self.heads.shape().count, metrics);
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        self.heads.export(folder, &self.export)
    }

    fn step_bytes(&self, tokens: usize) -> usize {
        MedusaParameters::step_bytes(self.heads.shape(), None, tokens)
    }
}
