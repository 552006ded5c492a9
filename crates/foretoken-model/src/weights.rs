//! Where a model's weights come from: a checkpoint, or chance.
//!
//! [`RandomWeights`] is a model of a given shape without files, for benchmarks: what a pass costs
//! depends on shapes and formats, not on values. It knows no tokenizer and makes no text.

use foretoken_tensor::{MatrixView, PackError, RowOrder, WeightFormat};
use half::f16;

use crate::{Checkpoint, ModelError, ModelSpec, Tensor};

/// A model's weights as they are stored.
pub trait WeightSource {
    /// What the model is.
    fn spec(&self) -> &ModelSpec;

    /// The format of most of the weights' bytes.
    fn stored_format(&self) -> WeightFormat;

    /// A weight matrix as stored.
    ///
    /// # Panics
    /// If the tensor is no matrix.
    fn matrix(&self, tensor: Tensor) -> Result<MatrixView<'_>, ModelError>;

    /// A norm's gain or a bias, in the order the program counts it; every value is finite.
    fn vector(&self, tensor: Tensor) -> Result<Vec<f32>, ModelError>;
}

impl WeightSource for Checkpoint {
    fn spec(&self) -> &ModelSpec {
        self.spec()
    }

    fn stored_format(&self) -> WeightFormat {
        self.stored_format()
    }

    fn matrix(&self, tensor: Tensor) -> Result<MatrixView<'_>, ModelError> {
        self.matrix(tensor)
    }

    fn vector(&self, tensor: Tensor) -> Result<Vec<f32>, ModelError> {
        self.vector(tensor)
    }
}

/// Random weights for a model of any shape; the same on every run.
///
/// Every matrix is a view of the same bytes, as many as the largest needs.
#[derive(Debug)]
pub struct RandomWeights {
    spec: ModelSpec,
    format: WeightFormat,
    blocks: Vec<u8>,
}

/// Largest weights.
const SIZE: f32 = 0.05;
/// Values generated; longer matrices repeat them.
const DISTINCT: usize = 1 << 18;

impl RandomWeights {
    /// Weights of a model, every matrix stored in `format`; refuses a format whose blocks do not divide
    /// the rows.
    pub fn new(spec: ModelSpec, format: WeightFormat) -> Result<Self, PackError> {
        let mut most = 0;
        for tensor in Tensor::all(&spec) {
            let [rows, cols] = tensor.shape(&spec)[..] else { continue };
            let row = format.bytes_per_row(cols).ok_or_else(|| PackError::Block {
                name: tensor.hf_name(),
                cols,
                block: format.spec().block_values,
            })?;
            most = most.max(rows * row);
        }
        let distinct = random_blocks(format);
        let mut blocks = Vec::with_capacity(most);
        while blocks.len() < most {
            blocks.extend_from_slice(&distinct[..distinct.len().min(most - blocks.len())]);
        }
        Ok(Self { spec, format, blocks })
    }
}

impl WeightSource for RandomWeights {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn stored_format(&self) -> WeightFormat {
        self.format
    }

    fn matrix(&self, tensor: Tensor) -> Result<MatrixView<'_>, ModelError> {
        let shape = tensor.shape(&self.spec);
        assert!(shape.len() == 2, "{tensor:?} is a matrix");
        let (rows, cols) = (shape[0], shape[1]);
        let bytes = rows * self.format.bytes_per_row(cols).expect("blocks divide every row");
        Ok(MatrixView {
            name: "random",
            format: self.format,
            rows,
            cols,
            order: RowOrder::Natural,
            data: &self.blocks[..bytes],
        })
    }

    /// Ones: the gains of norms that keep activations of ordinary size.
    fn vector(&self, tensor: Tensor) -> Result<Vec<f32>, ModelError> {
        Ok(vec![1.0; tensor.shape(&self.spec).into_iter().product()])
    }
}

/// [`DISTINCT`] values as blocks of a format.
fn random_blocks(format: WeightFormat) -> Vec<u8> {
    let spec = format.spec();
    let mut state = 1u64;
    let mut draw = || {
        // Steele et al. 2014, SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    let mut blocks = vec![0; DISTINCT / spec.block_values * spec.block_bytes];
    if let Some(encoder) = spec.encoder {
        let values: Vec<f32> = (0..DISTINCT)
            .map(|_| ((draw() >> 40) as f32 / (1 << 23) as f32 - 1.0) * SIZE)
            .collect();
        (encoder.run)(&values, &mut blocks);
        return blocks;
    }
    blocks.fill_with(|| draw() as u8);
    for block in blocks.chunks_exact_mut(spec.block_bytes) {
        set_factors(format, block);
    }
    blocks
}

/// Makes the values of a random block that nothing encodes small, and zero on average.
fn set_factors(format: WeightFormat, block: &mut [u8]) {
    let mut set = |at: usize, factor: f32| {
        block[at..at + 2].copy_from_slice(&f16::from_f32(factor).to_le_bytes());
    };
    match format {
        // `d * scale * q - dmin * minimum`; both six-bit factors are alike.
        WeightFormat::Q4K | WeightFormat::Q5K => {
            let middle = if format == WeightFormat::Q4K { 7.5 } else { 15.5 };
            set(0, SIZE / (63.0 * middle));
            set(2, SIZE / 63.0);
        }
        // `d * scale * (q - 32)`, the scale a signed byte.
        WeightFormat::Q6K => set(208, SIZE / (128.0 * 32.0)),
        other => unreachable!("the registry has an encoder for {other}"),
    }
}

#[cfg(test)]
mod tests;
