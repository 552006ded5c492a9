//! What heads learn: which rows have labels for a head, its passes, and what it knows of held-out text.
//!
//! Only rows with a label are computed. The loss is `Σ_k decay^k loss_k` with `k` from 0, which is the paper's
//! `Σ_k 0.8^k` with `k` from 1 over a constant.

use foretoken_core::{PathCounts, SparseTree, TokenId};

use super::parameters::MedusaParameters;
use super::passes::BlockPasses;
use crate::batch::Batch;
use crate::compute::Compute;
use crate::learner::{Metrics, total};
use crate::loss::{HeadGradient, HeadLoss, LossScratch, Targets, Teacher};
use crate::operators::{gather, gather_backward};
use crate::parameters::Parameter;

/// Nodes of the tree whose tokens per step are reported, the root aside: those of the published trees.
const NODES: usize = 63;

/// What heads learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MedusaObjective {
    /// What a head should say.
    pub labels: HeadLabels,
    /// What a head counts over the head before it.
    pub decay: f32,
}

impl Default for MedusaObjective {
    /// That of the paper's first stage.
    fn default() -> Self {
        Self { labels: HeadLabels::Text, decay: 0.8 }
    }
}

/// What a head should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadLabels {
    /// The token that came; the loss is the cross-entropy.
    Text,
    /// What the model itself says there; the loss is the Kullback-Leibler divergence.
    Soft,
    /// Both, half each.
    Mixed,
}

/// What heads read and learn from, per token of a batch.
pub(super) struct HeadStates<'a> {
    /// `[tokens][width]`.
    pub(super) hidden: &'a [f32],
    /// The model's output matrix, for heads that have none.
    pub(super) head: &'a [f32],
    /// The distributions to learn.
    pub(super) teacher: Teacher<'a>,
    /// What the loss of all heads counts.
    pub(super) scale: f32,
    /// Of a model that is trained with its heads.
    pub(super) gradient: Option<StatesGradient<'a>>,
}

/// Where the gradients by what heads read go; both are added to.
pub(super) struct StatesGradient<'a> {
    /// `[tokens][width]`.
    pub(super) hidden: &'a mut [f32],
    /// Of the model's output matrix.
    pub(super) head: &'a mut [f32],
}

/// The loss of heads, with the memory of its passes.
#[derive(Debug, Default)]
pub(super) struct HeadsLoss {
    labelled: Labelled,
    passes: BlockPasses,
    /// The teacher's states at the labelled rows' labels.
    teacher: Vec<f32>,
    scratch: LossScratch,
    /// Of the evaluation under way: where all heads have a label, how far their guesses are right.
    counts: PathCounts,
}

impl HeadsLoss {
    /// Computes the loss and adds its gradients to the heads'.
    pub(super) fn step(
        &mut self,
        compute: &mut Compute,
        heads: &mut MedusaParameters,
        (objective, mut states): (MedusaObjective, HeadStates<'_>),
        batch: &Batch<'_>,
    ) -> f64 {
        let Self { labelled, passes, teacher, scratch, .. } = self;
        let width = heads.shape().hidden;
        let (mut sum, mut scale) = (0.0, states.scale);
        for index in 0..heads.shape().count {
            let mut head = heads.head_mut(index);
            labelled.select(batch, index, scale);
            scale *= objective.decay;
            passes.forward(compute, &mut head, (states.hidden, &labelled.rows));
            if objective.labels != HeadLabels::Text {
                let Teacher { hidden, width, .. } = states.teacher;
                teacher.resize(labelled.rows.len() * width, 0.0);
                gather(compute, hidden, width, &labelled.labels, teacher);
            }
            let from = Teacher { hidden: teacher, ..states.teacher };
            let targets = match objective.labels {
                HeadLabels::Text => Targets::Tokens(&labelled.tokens),
                HeadLabels::Soft => Targets::Teacher(from),
                HeadLabels::Mixed => Targets::Both(&labelled.tokens, from, 0.5),
            };
            let (output, gradient) = match &mut head.output {
                Some(Parameter { values, gradient, .. }) => (&values[..], Some(&mut gradient[..])),
                None => (states.head, states.gradient.as_mut().map(|to| &mut *to.head)),
            };
            let (hidden, d) = passes.output();
            let weights = &labelled.weights;
            let loss = HeadLoss { hidden, head: output, width, targets, weights };
            let to = HeadGradient { hidden: d, head: gradient };
            sum += loss.backward(compute, scratch, to);
            let d = passes.backward(compute, &mut head);
            if let Some(to) = &mut states.gradient {
                gather_backward(compute, to.hidden, width, &labelled.rows, d);
            }
        }
        sum
    }

    /// The teacher's own loss on the text.
    pub(super) fn of_teacher(
        &mut self,
        compute: &mut Compute,
        teacher: Teacher<'_>,
        batch: &Batch<'_>,
    ) -> f64 {
        let Teacher { hidden, head, width } = teacher;
        let (targets, weights) = (Targets::Tokens(batch.targets), batch.weights);
        HeadLoss { hidden, head, width, targets, weights }.forward(compute, &mut self.scratch)
    }

    /// Adds what each head knows of the text to `metrics`.
    pub(super) fn evaluate(
        &mut self,
        compute: &mut Compute,
        heads: &mut MedusaParameters,
        (objective, states): (MedusaObjective, HeadStates<'_>),
        batch: &Batch<'_>,
        metrics: &mut Metrics,
    ) {
        let Self { labelled, passes, scratch, counts, .. } = self;
        let (count, width) = (heads.shape().count, heads.shape().hidden);
        let mut scale = states.scale;
        metrics.add("loss", 0.0, total(batch.weights));
        let mut ranks = vec![Vec::with_capacity(count); batch.tokens.len()];
        for index in 0..count {
            let mut head = heads.head_mut(index);
            labelled.select(batch, index, 1.0);
            passes.forward(compute, &mut head, (states.hidden, &labelled.rows));
            let output = head.output.map_or(states.head, |output| &output.values);
            let (hidden, _) = passes.output();
            let (targets, weights) = (Targets::Tokens(&labelled.tokens), &labelled.weights);
            let of_head = HeadLoss { hidden, head: output, width, targets, weights };
            let mut found = vec![0; labelled.rows.len()];
            let entropy = of_head.ranks(compute, scratch, &mut found);
            metrics.add("loss", f64::from(scale) * entropy, 0.0);
            scale *= objective.decay;
            let name = |what| format!("head {} {what}", index + 1);
            metrics.add(&name("loss"), entropy, total(weights));
            for (what, most) in [("top1", 1), ("top5", 5)] {
                metrics.add_share(&name(what), weights, &found, most);
            }
            for (row, rank) in labelled.rows.iter().zip(found) {
                ranks[*row as usize].push(rank);
            }
        }
        for ranks in ranks.into_iter().filter(|ranks| ranks.len() == count) {
            counts.add(ranks);
        }
    }

    /// Ends the evaluation of so many heads, with what the best tree would yield.
    pub(super) fn end_evaluation(&mut self, count: usize, metrics: &mut Metrics) {
        let counts = std::mem::take(&mut self.counts);
        if counts.positions() > 0 {
            let rate = |path: &[u32]| counts.rate(path);
            let tree = SparseTree::best(&vec![PathCounts::RANKS; count], NODES, rate);
            metrics.set("tokens per step", tree.expected(rate));
        }
    }
}

/// The rows of a batch that have a label for some head.
#[derive(Debug, Default)]
struct Labelled {
    rows: Vec<u32>,
    /// Per row, the row whose target is its label, the label and what it counts.
    labels: Vec<u32>,
    tokens: Vec<TokenId>,
    weights: Vec<f32>,
}

impl Labelled {
    fn select(&mut self, batch: &Batch<'_>, head: usize, scale: f32) {
        let Self { rows, labels, tokens, weights } = self;
        for indices in [&mut *rows, labels, tokens] {
            indices.clear();
        }
        weights.clear();
        for (row, label) in (head + 1..batch.tokens.len()).enumerate() {
            if batch.document(row) == batch.document(label) && batch.weights[label] != 0.0 {
                rows.push(row as u32);
                labels.push(label as u32);
                tokens.push(batch.targets[label]);
                weights.push(batch.weights[label] * scale);
            }
        }
    }
}
