//! A trainable Llama: parameters, activations and the passes over its layers.
//!
//! A step is `forward`, `language_loss`, `backward`. Heads that are trained beside the model read
//! [`Llama::output`] between them and may add to the gradients there.

mod files;
mod initial;
mod layer;
mod shape;

use foretoken_model::{OutputHead, Rope as RopeSpec, RopeScaling};

pub(crate) use files::Beside;
pub use shape::LlamaShape;

use crate::batch::Batch;
use crate::compute::Compute;
use crate::error::TrainError;
use crate::loss::{HeadGradient, HeadLoss, LossScratch, Targets};
use crate::operators::{NormGradient, RmsNorm, Rope, gather, gather_backward};
use crate::parameters::{Parameter, Parameters};
use layer::{Layer, PARAMETERS, Saved, Scratch};

/// A Llama with all that training needs but the optimiser.
#[derive(Debug)]
pub struct Llama {
    shape: LlamaShape,
    /// Embedding, layers, final norm, head if it is the model's own; names of Hugging Face.
    pub parameters: Parameters,
    activations: Option<Activations>,
    loss: LossScratch,
}

/// What heads beside a model read of it, and where their gradients go.
#[derive(Debug)]
pub struct LlamaOutput<'a> {
    /// The hidden states of the last forward pass, `[tokens][hidden]`, behind the final norm.
    pub hidden: &'a [f32],
    /// The loss's gradient by them, which [`Llama::backward`] reads.
    pub d_hidden: &'a mut [f32],
    /// The output matrix, `[vocab][hidden]`.
    pub head: &'a mut Parameter,
}

/// Buffers of batches of one shape.
#[derive(Debug)]
struct Activations {
    rows: usize,
    rope: Rope,
    starts: Vec<u32>,
    /// The residual stream before each layer and behind the last.
    stream: Vec<Vec<f32>>,
    layers: Vec<Saved>,
    scratch: Scratch,
    /// What the output matrix reads.
    hidden: Vec<f32>,
    d_hidden: Vec<f32>,
    /// Gradient of the residual stream.
    d: Vec<f32>,
}

impl Llama {
    fn with_parameters(shape: LlamaShape, parameters: Parameters) -> Self {
        Self { shape, parameters, activations: None, loss: LossScratch::default() }
    }

    /// What the model is.
    pub fn shape(&self) -> &LlamaShape {
        &self.shape
    }

    /// Computes the loss of a batch and adds its gradients to the parameters'.
    ///
    /// # Errors
    /// If the batch is none of this model.
    pub fn step(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<f64, TrainError> {
        self.forward(compute, batch)?;
        let targets = Targets::Tokens(batch.targets);
        let loss = self.language_loss(compute, targets, batch.weights);
        self.backward(compute, batch);
        Ok(loss)
    }

    /// The loss of a batch, without gradients.
    ///
    /// # Errors
    /// If the batch is none of this model.
    pub fn evaluate(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
    ) -> Result<f64, TrainError> {
        self.forward(compute, batch)?;
        Ok(self.head_loss(compute, Targets::Tokens(batch.targets), batch.weights))
    }

    /// As [`Self::evaluate`], with the rank of each target that is not masked; see [`HeadLoss::ranks`].
    ///
    /// # Errors
    /// If the batch is none of this model.
    ///
    /// # Panics
    /// If there is not one rank per token.
    pub fn ranks(
        &mut self,
        compute: &mut Compute,
        batch: &Batch<'_>,
        ranks: &mut [u32],
    ) -> Result<f64, TrainError> {
        self.forward(compute, batch)?;
        Ok(self.head_ranks(compute, Targets::Tokens(batch.targets), batch.weights, ranks))
    }

    /// The loss of the batch of the last forward pass, without gradients.
    pub(crate) fn head_loss(
        &mut self,
        compute: &mut Compute,
        targets: Targets<'_>,
        weights: &[f32],
    ) -> f64 {
        let (loss, scratch) = self.of_head(targets, weights);
        loss.forward(compute, scratch)
    }

    /// As [`Self::head_loss`], with ranks; see [`HeadLoss::ranks`].
    pub(crate) fn head_ranks(
        &mut self,
        compute: &mut Compute,
        targets: Targets<'_>,
        weights: &[f32],
        ranks: &mut [u32],
    ) -> f64 {
        let (loss, scratch) = self.of_head(targets, weights);
        loss.ranks(compute, scratch, ranks)
    }

    fn of_head<'a>(
        &'a mut self,
        targets: Targets<'a>,
        weights: &'a [f32],
    ) -> (HeadLoss<'a>, &'a mut LossScratch) {
        let (head, width) = (self.head_index(), self.shape.hidden);
        let head = &self.parameters.as_slice()[head].values;
        let hidden = &self.activations.as_ref().expect("a forward pass has run").hidden;
        (HeadLoss { hidden, head, width, targets, weights }, &mut self.loss)
    }

    /// Computes the hidden states of a batch.
    ///
    /// # Errors
    /// If the batch is none of this model.
    pub fn forward(&mut self, compute: &mut Compute, batch: &Batch<'_>) -> Result<(), TrainError> {
        batch.check(self.shape.vocab, self.shape.context)?;
        let activations = match self.activations.take() {
            Some(kept) if kept.fits(batch) => kept,
            _ => Activations::new(&self.shape, batch),
        };
        let a = self.activations.insert(activations);
        match batch.starts {
            [] => a.starts.fill(0),
            starts => a.starts.copy_from_slice(starts),
        }
        let parameters = self.parameters.as_slice();
        let table = &parameters[0].values;
        gather(compute, table, self.shape.hidden, batch.tokens, &mut a.stream[0]);
        let layer = Layer { shape: &self.shape, rope: &a.rope, starts: &a.starts };
        let (of_layers, behind) = parameters[1..].split_at(self.shape.layers * PARAMETERS);
        let of_layers = of_layers.as_chunks::<PARAMETERS>().0.iter().zip(&mut a.layers);
        for (index, (parameters, saved)) in of_layers.enumerate() {
            let (before, after) = a.stream.split_at_mut(index + 1);
            let stream = (&before[index][..], &mut after[0][..]);
            layer.forward(compute, parameters, saved, &mut a.scratch, stream);
        }
        let norm = RmsNorm { gain: &behind[0].values, eps: self.shape.norm_eps };
        norm.forward(compute, &a.stream[self.shape.layers], &mut a.hidden);
        Ok(())
    }

    /// What heads read of the last forward pass.
    ///
    /// # Panics
    /// If there was no forward pass.
    pub fn output(&mut self) -> LlamaOutput<'_> {
        let head = self.head_index();
        let a = self.activations.as_mut().expect("a forward pass has run");
        let head = &mut self.parameters.as_mut_slice()[head];
        LlamaOutput { hidden: &a.hidden, d_hidden: &mut a.d_hidden, head }
    }

    /// The loss of the last forward pass by these targets and what they count, one per token. Adds the gradient of
    /// the output matrix, and writes that of the hidden states.
    ///
    /// # Panics
    /// If there was no forward pass of so many tokens.
    pub fn language_loss(
        &mut self,
        compute: &mut Compute,
        targets: Targets<'_>,
        weights: &[f32],
    ) -> f64 {
        let head = self.head_index();
        let a = self.activations.as_mut().expect("a forward pass has run");
        let head = &mut self.parameters.as_mut_slice()[head];
        let loss = HeadLoss {
            hidden: &a.hidden,
            head: &head.values,
            width: self.shape.hidden,
            targets,
            weights,
        };
        let to = HeadGradient { hidden: &mut a.d_hidden, head: Some(&mut head.gradient) };
        loss.backward(compute, &mut self.loss, to)
    }

    /// Adds the gradients of all parameters but the output matrix, from that of the hidden states; once per
    /// forward pass, whose activations it uses up.
    ///
    /// # Panics
    /// If there was no forward pass.
    pub fn backward(&mut self, compute: &mut Compute, batch: &Batch<'_>) {
        let (shape, a) = (&self.shape, self.activations.as_mut().expect("a forward pass has run"));
        let (embedding, rest) =
            self.parameters.as_mut_slice().split_first_mut().expect("a model has an embedding");
        let (of_layers, behind) = rest.split_at_mut(shape.layers * PARAMETERS);
        let norm = &mut behind[0];
        a.d.fill(0.0);
        let to = NormGradient { x: &mut a.d, gain: &mut norm.gradient };
        let norm = RmsNorm { gain: &norm.values, eps: shape.norm_eps };
        norm.backward(compute, &a.stream[shape.layers], &a.d_hidden, to);
        let layer = Layer { shape, rope: &a.rope, starts: &a.starts };
        let of_layers = of_layers.as_chunks_mut::<PARAMETERS>().0.iter_mut().zip(&mut a.layers);
        for ((parameters, saved), x) in of_layers.zip(&a.stream).rev() {
            layer.backward(compute, parameters, saved, &mut a.scratch, (x, &mut a.d));
        }
        gather_backward(compute, &mut embedding.gradient, shape.hidden, batch.tokens, &a.d);
    }

    fn head_index(&self) -> usize {
        match self.shape.output {
            OutputHead::Tied => 0,
            OutputHead::Own => 1 + PARAMETERS * self.shape.layers + 1,
        }
    }
}

impl Activations {
    fn new(shape: &LlamaShape, batch: &Batch<'_>) -> Self {
        let rows = batch.tokens.len();
        let rope =
            RopeSpec { theta: shape.rope_theta, dims: shape.head_size, scaling: RopeScaling::None };
        let stream = || vec![0.0; rows * shape.hidden];
        Self {
            rows,
            rope: Rope::new(&rope, batch.length),
            starts: vec![0; rows],
            stream: (0..=shape.layers).map(|_| stream()).collect(),
            layers: (0..shape.layers).map(|_| Saved::new(shape, rows)).collect(),
            scratch: Scratch::new(shape, rows),
            hidden: stream(),
            d_hidden: stream(),
            d: stream(),
        }
    }

    fn fits(&self, batch: &Batch<'_>) -> bool {
        self.rows == batch.tokens.len() && self.rope.length() == batch.length
    }
}
