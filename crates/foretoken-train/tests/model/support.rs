//! Golden cases and small models.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use foretoken_model::{ModelSource, OutputHead};
use foretoken_train::{Batch, Compute, CpuOptions, Llama, LlamaShape, Precision};
use safetensors::SafeTensors;

pub(crate) fn compute(threads: usize, precision: Precision) -> Compute {
    let threads = NonZeroUsize::new(threads).expect("one or more");
    Compute::new(CpuOptions { threads, isa: None }, precision)
}

/// A case of `testdata/make_training_goldens.py`.
pub(crate) struct Golden {
    pub(crate) folder: PathBuf,
    bytes: Vec<u8>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) targets: Vec<u32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) starts: Vec<u32>,
}

impl Golden {
    pub(crate) fn open(case: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("../../testdata/training").join(case);
        let bytes = std::fs::read(folder.join("golden.safetensors")).expect("the case exists");
        let words = |name: &str| {
            let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
            let data = tensors.tensor(name).expect("the golden exists").data().to_vec();
            data.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>()
        };
        let (tokens, targets, starts) = (words("tokens"), words("targets"), words("starts"));
        let weights = words("weights").into_iter().map(f32::from_bits).collect();
        Self { folder, bytes, tokens, targets, weights, starts }
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let tensor = tensors.tensor(name).expect("the golden exists");
        tensor.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    pub(crate) fn model(&self) -> Llama {
        Llama::open(&ModelSource::Folder(self.folder.clone())).expect("the case's model opens")
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        let Self { tokens, targets, weights, starts, .. } = self;
        Batch { tokens, length: 21, targets, weights, starts }
    }
}

/// A shape for quick tests.
pub(crate) fn shape(output: OutputHead) -> LlamaShape {
    LlamaShape {
        vocab: 61,
        hidden: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_size: 8,
        ffn: 48,
        output,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        context: 96,
    }
}

/// The largest difference, over the largest value.
pub(crate) fn distance(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let size = wanted.iter().fold(0.0f32, |size, value| size.max(value.abs()));
    let error = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    error / size
}
