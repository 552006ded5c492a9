//! The one decoder: records the program of a [`ModelSpec`] and packs its weights.
//!
//! Every family runs through the same straight line of operators; what differs (biases, norms of
//! queries and keys, the reach of attention, the output matrix) is read off the spec. There is no
//! second decoder for quantised weights, for trees or for drafting: formats live in the weights, and
//! topology travels with each pass.

use std::sync::Arc;

use foretoken_tensor::{
    Affine, Backend, BufferId, MatrixId, Op, Program, Projection, RowSet, VectorId, WeightFormat,
    Weights, Write,
};

use crate::{
    AttentionBias, FfnBias, ModelError, ModelSpec, OutputHead, QkNorm, Tensor, WeightSource,
};

/// What a pass computes for the rows that are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PassOutput {
    /// Hidden states and the logits of the tokens behind them.
    #[default]
    Logits,
    /// Hidden states, for those who have no use for logits of every row.
    Hidden,
}

/// A recorded forward pass: inputs are tokens, the results are buffers of hidden states and logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    /// What a pass computes.
    pub program: Program,
    /// What the output matrix is applied to, `[wanted, hidden]`: the residual behind the final norm.
    pub hidden: BufferId,
    /// The output matrix, `[vocab, hidden]`, and its logits, `[wanted, vocab]`; none where a pass makes none.
    pub head: Option<(MatrixId, BufferId)>,
    /// Tensors of the weight matrices, by [`MatrixId`].
    matrices: Vec<Tensor>,
    /// Tensors of the weight vectors, by [`VectorId`].
    vectors: Vec<Tensor>,
}

/// Progress of [`Decoder::load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Weight matrices packed so far.
    pub done: usize,
    /// Weight matrices in all.
    pub total: usize,
}

struct Layer {
    residual: BufferId,
    normed: BufferId,
    queries: BufferId,
    keys: BufferId,
    values: BufferId,
    mixed: BufferId,
    gated: BufferId,
}

impl Decoder {
    /// Records the program of a model.
    pub fn record(spec: &ModelSpec, output: PassOutput) -> Self {
        let mut program = Program::new();
        let all = |program: &mut Program, width| program.buffer(width, RowSet::All);
        let layer = Layer {
            residual: all(&mut program, spec.hidden),
            normed: all(&mut program, spec.hidden),
            queries: all(&mut program, spec.heads * spec.head_size),
            keys: all(&mut program, spec.kv_heads * spec.head_size),
            values: all(&mut program, spec.kv_heads * spec.head_size),
            mixed: all(&mut program, spec.heads * spec.head_size),
            gated: all(&mut program, spec.ffn),
        };
        let wanted = program.buffer(spec.hidden, RowSet::Wanted);
        let hidden = program.buffer(spec.hidden, RowSet::Wanted);
        let (matrices, vectors) = (Vec::new(), Vec::new());
        let mut decoder = Self { program, hidden, head: None, matrices, vectors };

        let table = decoder.matrix(Tensor::Embedding);
        decoder.program.push(Op::Embed { table, out: layer.residual });
        for index in 0..spec.layers.len() {
            decoder.record_attention(spec, &layer, index);
            decoder.record_ffn(spec, &layer, index);
        }
        decoder.program.push(Op::Select { input: layer.residual, out: wanted });
        decoder.record_norm(spec, wanted, Tensor::FinalNorm, hidden);
        if output == PassOutput::Logits {
            let weight = match spec.output {
                OutputHead::Tied => table,
                OutputHead::Own => decoder.matrix(Tensor::Head),
            };
            let out = decoder.program.buffer(spec.vocab, RowSet::Wanted);
            let map = Affine { weight, bias: None };
            let parts = vec![Projection { map, out, write: Write::Store }];
            decoder.program.push(Op::Linear { input: hidden, parts });
            decoder.head = Some((weight, out));
        }
        decoder
    }

    fn record_attention(&mut self, spec: &ModelSpec, layer: &Layer, index: usize) {
        let bias = |tensor| (spec.attention_bias != AttentionBias::None).then_some(tensor);
        self.record_norm(spec, layer.residual, Tensor::AttentionNorm(index), layer.normed);
        let parts = vec![
            self.projection(Tensor::Query(index), bias(Tensor::QueryBias(index)), layer.queries),
            self.projection(Tensor::Key(index), bias(Tensor::KeyBias(index)), layer.keys),
            self.projection(Tensor::Value(index), bias(Tensor::ValueBias(index)), layer.values),
        ];
        self.program.push(Op::Linear { input: layer.normed, parts });
        if spec.qk_norm == QkNorm::PerHead {
            for (buffer, gain) in
                [(layer.queries, Tensor::QueryNorm(index)), (layer.keys, Tensor::KeyNorm(index))]
            {
                let weight = self.vector(gain);
                self.program.push(Op::HeadNorm { buffer, weight, eps: spec.norm_eps });
            }
        }
        for buffer in [layer.queries, layer.keys] {
            self.program.push(Op::Rotate { buffer, head_size: spec.head_size });
        }
        self.program.push(Op::StoreKv { keys: layer.keys, values: layer.values, layer: index });
        self.program.push(Op::Attention {
            queries: layer.queries,
            layer: index,
            reach: spec.layers[index],
            scale: 1.0 / (spec.head_size as f32).sqrt(),
            out: layer.mixed,
        });
        let bias =
            (spec.attention_bias == AttentionBias::QkvOutput).then_some(Tensor::OutputBias(index));
        self.record_residual(layer.mixed, Tensor::Output(index), bias, layer.residual);
    }

    fn record_ffn(&mut self, spec: &ModelSpec, layer: &Layer, index: usize) {
        let bias = |tensor| (spec.ffn_bias == FfnBias::All).then_some(tensor);
        self.record_norm(spec, layer.residual, Tensor::FfnNorm(index), layer.normed);
        let gate = self.map(Tensor::Gate(index), bias(Tensor::GateBias(index)));
        let up = self.map(Tensor::Up(index), bias(Tensor::UpBias(index)));
        self.program.push(Op::SwiGlu { input: layer.normed, gate, up, out: layer.gated });
        let bias = bias(Tensor::DownBias(index));
        self.record_residual(layer.gated, Tensor::Down(index), bias, layer.residual);
    }

    fn record_norm(&mut self, spec: &ModelSpec, input: BufferId, gain: Tensor, out: BufferId) {
        let weight = self.vector(gain);
        self.program.push(Op::RmsNorm { input, weight, eps: spec.norm_eps, out });
    }

    fn record_residual(
        &mut self,
        input: BufferId,
        weight: Tensor,
        bias: Option<Tensor>,
        residual: BufferId,
    ) {
        let part = Projection { write: Write::Add, ..self.projection(weight, bias, residual) };
        self.program.push(Op::Linear { input, parts: vec![part] });
    }

    fn projection(&mut self, weight: Tensor, bias: Option<Tensor>, out: BufferId) -> Projection {
        Projection { map: self.map(weight, bias), out, write: Write::Store }
    }

    fn map(&mut self, weight: Tensor, bias: Option<Tensor>) -> Affine {
        let bias = bias.map(|tensor| self.vector(tensor));
        Affine { weight: self.matrix(weight), bias }
    }

    fn matrix(&mut self, tensor: Tensor) -> MatrixId {
        self.matrices.push(tensor);
        MatrixId(self.matrices.len() as u32 - 1)
    }

    fn vector(&mut self, tensor: Tensor) -> VectorId {
        self.vectors.push(tensor);
        VectorId(self.vectors.len() as u32 - 1)
    }

    /// Packs the weights the program names, in `format` or each as it is stored.
    pub fn load<B: Backend>(
        &self,
        backend: &B,
        source: &dyn WeightSource,
        format: Option<WeightFormat>,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Weights<B>, ModelError> {
        let total = self.matrices.len();
        let mut matrices = Vec::with_capacity(total);
        for &tensor in &self.matrices {
            progress(LoadProgress { done: matrices.len(), total });
            let view = source.matrix(tensor)?;
            let target = format.unwrap_or(view.format);
            matrices.push(Arc::new(backend.pack(&view, target)?));
        }
        progress(LoadProgress { done: total, total });
        let vectors = self
            .vectors
            .iter()
            .map(|&tensor| Ok(backend.vector(&source.vector(tensor)?)))
            .collect::<Result<_, ModelError>>()?;
        Ok(Weights { matrices, vectors })
    }
}
