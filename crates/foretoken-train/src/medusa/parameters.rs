//! The parameters of heads: where they begin, and their files.

use std::borrow::Cow;
use std::num::Saturating;
use std::path::Path;

use foretoken_model::{
    HeadBias, HeadPrecision, HeadTensor, MedusaExport, MedusaHeads, MedusaLayout, MedusaShape,
    ModelError, ModelSpec,
};
use serde_json::json;

use crate::error::TrainError;
use crate::llama::{Beside, LlamaShape};
use crate::loss::LossScratch;
use crate::parameters::{Parameter, Parameters};

/// Heads that are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct MedusaParameters {
    shape: MedusaShape,
    /// Head by head: each block's matrix and bias, then the output matrix; names of the published layout.
    pub parameters: Parameters,
}

/// Whose the heads' output matrices are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMatrices {
    /// Each head has its own, which begins as the model's.
    Own,
    /// All use the model's, as in the published "version 2".
    Shared,
}

/// How heads are written.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadExport {
    /// The names and the configuration.
    pub layout: HeadLayout,
    /// What weights are rounded to.
    pub precision: HeadPrecision,
    /// The model they are for: its hub id or name.
    pub base_model: String,
}

/// The layouts of heads in a folder of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadLayout {
    /// As the authors publish them.
    Published,
    /// As vLLM reads them.
    Vllm,
}

impl MedusaParameters {
    /// The shape of so many heads of so many blocks each, for a model of this spec.
    pub fn shape_for(
        spec: &ModelSpec,
        (count, blocks): (usize, usize),
        outputs: OutputMatrices,
    ) -> MedusaShape {
        let vocab = (outputs == OutputMatrices::Own).then_some(spec.vocab);
        MedusaShape { count, blocks, hidden: spec.hidden, vocab, bias: HeadBias::All }
    }

    /// Heads of this shape, for a model with the output matrix `head`, `[vocab][hidden]`.
    ///
    /// Blocks are zero, so that every head begins as the model's own output. The authors' code leaves biases
    /// at a linear layer's random default, which is worth nothing and makes the start depend on a seed.
    ///
    /// # Panics
    /// If the shape has output matrices of another size.
    pub fn new(shape: MedusaShape, head: &[f32]) -> Self {
        let mut parameters = Parameters::default();
        for tensor in shape.tensors() {
            let sizes = shape.dims(tensor);
            let values = match tensor {
                HeadTensor::Output { .. } => head.to_vec(),
                _ => vec![0.0; sizes.iter().product()],
            };
            parameters.push(Parameter::new(name(shape, tensor), &sizes, values));
        }
        Self { shape, parameters }
    }

    /// Heads that were trained before, for a model of this spec.
    ///
    /// # Errors
    /// If they are heads of another model, leave tokens out, or a value cannot be read.
    pub fn read(heads: &MedusaHeads, spec: &ModelSpec) -> Result<Self, TrainError> {
        heads.check(spec)?;
        if heads.token_map().is_some() {
            return Err(TrainError::TokenMap);
        }
        let shape = heads.shape();
        let mut parameters = Parameters::default();
        for tensor in shape.tensors() {
            let sizes = shape.dims(tensor);
            let values = match tensor {
                HeadTensor::BlockBias { .. } => heads.vector(tensor)?,
                _ => heads.matrix(tensor).decode().map_err(ModelError::from)?,
            };
            parameters.push(Parameter::new(name(shape, tensor), &sizes, values));
        }
        Ok(Self { shape, parameters })
    }

    /// How many heads there are, and how large.
    pub fn shape(&self) -> MedusaShape {
        self.shape
    }

    /// Writes the heads into an existing folder.
    ///
    /// # Errors
    /// If a file cannot be written, a value is not finite, or the layout has no place for what they are.
    pub fn export(&self, folder: &Path, export: &HeadExport) -> Result<(), TrainError> {
        let HeadExport { layout, precision, base_model } = export;
        let (shape, precision) = (self.shape, *precision);
        let files = MedusaExport { shape, precision, base_model };
        let values = |tensor| {
            let parameter = self.parameters.get(&name(shape, tensor));
            Cow::Borrowed(&parameter.expect("every tensor has its parameter").values[..])
        };
        Ok(match layout {
            HeadLayout::Published => files.write_published(folder, values),
            HeadLayout::Vllm => files.write_vllm(folder, values),
        }?)
    }

    /// The heads as a model's folder holds them among its tensors (Medusa-2).
    pub(super) fn in_model(&self) -> Beside<'_> {
        let MedusaShape { count, blocks, .. } = self.shape;
        let config = vec![("medusa_num_heads", json!(count)), ("medusa_num_layers", json!(blocks))];
        let names =
            self.shape.tensors().map(|tensor| self.shape.name(MedusaLayout::InModel, tensor));
        Beside { config, tensors: names.zip(self.parameters.as_slice()).collect() }
    }

    /// Bytes of memory that steps on so many tokens need beside the parameters of heads of this shape, and of the
    /// model if it is trained with them.
    pub fn step_bytes(shape: MedusaShape, model: Option<&LlamaShape>, tokens: usize) -> usize {
        // The original's logits, beside the model's own.
        let with_model =
            |model: &LlamaShape| model.step_bytes(tokens).saturating_add(LossScratch::BLOCK);
        let of_model = model.map_or(0, with_model);
        let [tokens, blocks, hidden] = [tokens, shape.blocks, shape.hidden].map(Saturating);
        // The model's states, those gathered for a head and for its labels, two gradients, and the stream.
        let rows = Saturating(5) + Saturating(2) * blocks;
        (tokens * rows * hidden * Saturating(size_of::<f32>()))
            .0
            .saturating_add(2 * LossScratch::BLOCK)
            .saturating_add(of_model)
    }

    /// Parameters of a block.
    fn per_block(&self) -> usize {
        match self.shape.bias {
            HeadBias::None => 1,
            HeadBias::All => 2,
        }
    }

    /// The parameters of a head: its blocks, and its output matrix where it has one.
    pub(super) fn head_mut(&mut self, head: usize) -> HeadParameters<'_> {
        let (per_block, blocks) = (self.per_block(), self.shape.blocks);
        let len = self.shape.tensors().count() / self.shape.count;
        let tensors = &mut self.parameters.as_mut_slice()[head * len..][..len];
        let (blocks, output) = tensors.split_at_mut(per_block * blocks);
        HeadParameters { blocks, per_block, width: self.shape.hidden, output: output.first_mut() }
    }
}

/// One head of [`MedusaParameters`].
pub(super) struct HeadParameters<'a> {
    blocks: &'a mut [Parameter],
    per_block: usize,
    /// Of the states.
    pub(super) width: usize,
    pub(super) output: Option<&'a mut Parameter>,
}

impl HeadParameters<'_> {
    /// The blocks from the input, as matrix and bias.
    pub(super) fn blocks(
        &mut self,
    ) -> impl DoubleEndedIterator<Item = (&mut Parameter, Option<&mut Parameter>)> + ExactSizeIterator
    {
        self.blocks.chunks_exact_mut(self.per_block).map(|block| {
            let (weight, bias) = block.split_at_mut(1);
            (&mut weight[0], bias.first_mut())
        })
    }
}

fn name(shape: MedusaShape, tensor: HeadTensor) -> String {
    shape.name(MedusaLayout::Published, tensor)
}
