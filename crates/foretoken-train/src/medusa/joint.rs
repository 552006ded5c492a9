//! Medusa-2: heads and their model, trained together.
//!
//! The loss is `L_kept + λ L_heads`: what holds the model to what it was, and the heads' loss, whose gradient flows
//! into the model. A first stage leaves the model as it is, so that heads that know nothing do not spoil it.

use std::f64::consts::FRAC_PI_2;
use std::path::Path;

use foretoken_model::ModelSource;

use super::loss::{HeadStates, HeadsLoss, MedusaObjective, StatesGradient};
use super::parameters::MedusaParameters;
use crate::batch::Batch;
use crate::compute::Compute;
use crate::error::TrainError;
use crate::learner::{Learner, Metrics, total};
use crate::llama::{Llama, LlamaOutput};
use crate::loss::{Targets, Teacher};
use crate::medusa::HeadLabels;
use crate::parameters::{Parameter, Parameters};
use crate::teacher::FrozenTarget;
use crate::weights::StoredAs;

/// How heads and their model are trained together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JointOptions {
    /// What holds the model to what it was.
    pub kept: Kept,
    /// What the heads' loss counts over the model's, `λ`.
    pub lambda: f32,
    /// How it gets there.
    pub ramp: Ramp,
    /// The share of the steps in which the model stays as it is.
    pub stage_one: f32,
    /// Multiplies the learning rate for the model's parameters.
    pub model_rate: f32,
}

/// What holds a model to what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The text: the loss is the cross-entropy of its next tokens.
    Text,
    /// The model before training: the loss is the Kullback-Leibler divergence from it.
    Original,
}

/// What `λ` does over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ramp {
    /// Nothing.
    Constant,
    /// It rises to its value with the last step, along a quarter of a sine.
    Sine,
}

impl JointOptions {
    /// `λ` of the step after `done` of so many.
    fn lambda(&self, done: u64, steps: u64) -> f32 {
        match self.ramp {
            Ramp::Constant => self.lambda,
            Ramp::Sine => {
                let part = (done + 1) as f64 / steps as f64;
                (f64::from(self.lambda) * libm::sin(FRAC_PI_2 * part)) as f32
            }
        }
    }

    /// The stage of the step after `done` of so many.
    fn stage(&self, done: u64, steps: u64) -> Stage {
        let first = f64::from(self.stage_one) * steps as f64;
        if (done as f64) < first.round() { Stage::Heads } else { Stage::Joint }
    }
}

/// What learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The heads alone.
    Heads,
    /// All.
    Joint,
}

/// How a model is written with its heads.
#[derive(Debug)]
pub struct JointExport {
    /// What weights are rounded to.
    pub stored: StoredAs,
    /// Where its tokenizer is, and a `config.json` that names special tokens.
    pub source: ModelSource,
}

/// A model, its heads, and the model as it was.
pub struct Medusa2 {
    /// The model.
    pub model: Llama,
    original: FrozenTarget,
    heads: MedusaParameters,
    objective: MedusaObjective,
    options: JointOptions,
    export: JointExport,
    stage: Stage,
    lambda: f32,
    loss: HeadsLoss,
    /// States of the model as it was.
    states: Vec<f32>,
}

impl Medusa2 {
    /// Trains `heads` with `model`, which was `original` before.
    pub fn new(
        (model, original): (Llama, FrozenTarget),
        heads: MedusaParameters,
        objective: MedusaObjective,
        options: JointOptions,
        export: JointExport,
    ) -> Self {
        let (stage, lambda) = (Stage::Joint, options.lambda);
        let (loss, states) = <_>::default();
        Self { model, original, heads, objective, options, export, stage, lambda, loss, states }
    }

    /// The heads as they are now.
    pub fn heads(&self) -> &MedusaParameters {
        &self.heads
    }

    /// Whether the step under way asks what the original says.
    fn asks_original(&self) -> bool {
        let is_kept = self.stage == Stage::Joint && self.options.kept == Kept::Original;
        is_kept || self.objective.labels != HeadLabels::Text
    }
}

impl Learner for Medusa2 {
    /// The model's parameters, then the heads'.
    fn groups(&self) -> Vec<&Parameters> {
        vec![&self.model.parameters, &self.heads.parameters]
    }

    fn groups_mut(&mut self) -> Vec<&mut Parameters> {
        vec![&mut self.model.parameters, &mut self.heads.parameters]
    }

    fn begin_step(&mut self, done: u64, steps: u64) {
        self.lambda = self.options.lambda(done, steps);
        self.stage = self.options.stage(done, steps);
        let rate = match self.stage {
            Stage::Heads => 0.0,
            Stage::Joint => self.options.model_rate,
        };
        self.model.parameters.as_mut_slice().iter_mut().for_each(|p| p.rate = rate);
    }

    /// In the first stage the loss is that of the heads alone.
    fn step(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<f64, TrainError> {
        self.model.forward(compute, batch)?;
        if self.asks_original() {
            self.original.hidden(batch, &mut self.states)?;
        }
        let Self { model, original, heads, objective, options, loss, states, .. } = self;
        let (stage, scale) = (self.stage, self.lambda);
        let teacher = original.teacher(states);
        let mut sum = 0.0;
        if stage == Stage::Joint {
            let targets = targets(options.kept, batch, teacher);
            sum += model.language_loss(compute, targets, batch.weights);
        }
        let LlamaOutput { hidden, d_hidden, head } = model.output();
        let Parameter { values: head, gradient, .. } = head;
        let to = StatesGradient { hidden: d_hidden, head: gradient };
        let gradient = (stage == Stage::Joint).then_some(to);
        let states = HeadStates { hidden, head, teacher, scale, gradient };
        sum += loss.step(compute, heads, (*objective, states), batch);
        if stage == Stage::Joint {
            model.backward(compute, batch);
        }
        Ok(sum)
    }

    /// Beside what heads know, `base perplexity` is that of the model, `original perplexity` what it was, and
    /// `base KL` the Kullback-Leibler divergence from that, in nats per token. `loss` is that of the second stage.
    fn evaluate(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
        metrics: &mut Metrics,
    ) -> Result<(), TrainError> {
        let Self { model, original, heads, objective, options, loss, states, .. } = self;
        original.hidden(batch, states)?;
        let teacher = original.teacher(states);
        let entropy = model.evaluate(compute, batch)?;
        let divergence = model.head_loss(compute, Targets::Teacher(teacher), batch.weights);
        let LlamaOutput { hidden, head, .. } = model.output();
        let (head, scale) = (&head.values, self.lambda);
        let states = HeadStates { hidden, head, teacher, scale, gradient: None };
        loss.evaluate(compute, heads, (*objective, states), batch, metrics);
        let kept = match options.kept {
            Kept::Text => entropy,
            Kept::Original => divergence,
        };
        metrics.add("loss", kept, 0.0);
        let weight = total(batch.weights);
        let was = loss.of_teacher(compute, teacher, batch);
        for (name, entropy) in [("base", entropy), ("original", was)] {
            let loss = format!("{name} loss");
            metrics.add(&loss, entropy, weight);
            if let Some(mean) = metrics.mean(&loss) {
                metrics.set(&format!("{name} perplexity"), mean.exp());
            }
        }
        metrics.add("base KL", divergence, weight);
        Ok(())
    }

    fn end_evaluation(&mut self, metrics: &mut Metrics) {
        self.loss.end_evaluation(self.heads.shape().count, metrics);
    }

    /// The model with its heads among its tensors, as the authors publish what they trained so.
    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        let JointExport { stored, source } = &self.export;
        self.model.save_with(folder, *stored, Some(source), &self.heads.in_model())
    }

    fn step_bytes(&self, tokens: usize) -> usize {
        MedusaParameters::step_bytes(self.heads.shape(), Some(self.model.shape()), tokens)
    }
}

fn targets<'a>(kept: Kept, batch: &Batch<'a>, teacher: Teacher<'a>) -> Targets<'a> {
    match kept {
        Kept::Text => Targets::Tokens(batch.targets),
        Kept::Original => Targets::Teacher(teacher),
    }
}
