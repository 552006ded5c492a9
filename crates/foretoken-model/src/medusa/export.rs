//! Writes heads in the layouts that others read.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use foretoken_tensor::WeightFormat;
use serde_json::{Map, Value, json};

use super::{HeadBias, HeadTensor, MedusaError, MedusaLayout, MedusaShape, names};
use crate::aside::replace;
use crate::error::{ModelError, TensorError};

/// What written weights are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadPrecision {
    /// Nothing: f32 as they are.
    F32,
    /// bf16, to nearest and ties to even.
    Bf16,
}

/// Heads to be written.
#[derive(Debug, Clone, Copy)]
pub struct MedusaExport<'a> {
    /// How many, and how large.
    pub shape: MedusaShape,
    /// What the weights are rounded to.
    pub precision: HeadPrecision,
    /// The model they are for: its hub id or name.
    pub base_model: &'a str,
}

impl MedusaExport<'_> {
    /// Writes `medusa_lm_head.safetensors` and its `config.json` into an existing folder, as the authors'
    /// code and text-generation-inference read them. `values` hands out each tensor once, row-major.
    ///
    /// # Panics
    /// If a tensor has another number of values than the shape says.
    pub fn write_published<'v>(
        &self,
        folder: &Path,
        values: impl FnMut(HeadTensor) -> Cow<'v, [f32]>,
    ) -> Result<(), ModelError> {
        let MedusaShape { count, blocks, vocab, .. } = self.shape;
        // No `architectures`: text-generation-inference takes a configuration with it for another kind.
        let mut config = json!({
            "base_model_name_or_path": self.base_model,
            "medusa_num_heads": count,
            "medusa_num_layers": blocks,
        });
        if vocab.is_none() {
            config["version"] = json!("2");
        }
        let file = folder.join("medusa_lm_head.safetensors");
        self.write_weights(&file, MedusaLayout::Published, values)?;
        write_config(folder, &config)
    }

    /// Writes `model.safetensors` and its `config.json` into an existing folder, as vLLM reads them, for a
    /// model of the heads' vocabulary.
    ///
    /// # Panics
    /// As [`Self::write_published`].
    pub fn write_vllm<'v>(
        &self,
        folder: &Path,
        values: impl FnMut(HeadTensor) -> Cow<'v, [f32]>,
    ) -> Result<(), ModelError> {
        let MedusaShape { count, blocks, hidden, vocab, bias } = self.shape;
        let file = folder.join("model.safetensors");
        let Some(vocab) = vocab else {
            let file = file.display().to_string();
            return Err(ModelError::Medusa { file, cause: MedusaError::NoOutput });
        };
        // Every key with `num` and `heads` or `layers` in it is taken for one of these two.
        let config = json!({
            "architectures": ["MedusaModel"],
            "model_type": "medusa",
            "base_model_name_or_path": self.base_model,
            "hidden_size": hidden,
            "vocab_size": vocab,
            "truncated_vocab_size": vocab,
            "num_heads": count,
            "num_hidden_layers": blocks,
            "medusa_fc_bias": bias == HeadBias::All,
            "torch_dtype": match self.precision {
                HeadPrecision::F32 => "float32",
                HeadPrecision::Bf16 => "bfloat16",
            },
        });
        self.write_weights(&file, MedusaLayout::Vllm, values)?;
        write_config(folder, &config)
    }

    fn write_weights<'v>(
        &self,
        file: &Path,
        layout: MedusaLayout,
        mut values: impl FnMut(HeadTensor) -> Cow<'v, [f32]>,
    ) -> Result<(), ModelError> {
        let (format, dtype) = match self.precision {
            HeadPrecision::F32 => (WeightFormat::F32, "F32"),
            HeadPrecision::Bf16 => (WeightFormat::Bf16, "BF16"),
        };
        let width = format.spec().block_bytes;
        let name = |tensor| names::name(layout, tensor, self.shape.blocks);
        let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
        let mut end = 0;
        for tensor in self.shape.tensors() {
            let dims = self.shape.dims(tensor);
            let start = end;
            end += dims.iter().product::<usize>() * width;
            let entry = json!({ "dtype": dtype, "shape": dims, "data_offsets": [start, end] });
            header.insert(name(tensor), entry);
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut refused = None;
        let written = replace(file, |out| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            for tensor in self.shape.tensors() {
                let values = values(tensor);
                let wanted = self.shape.dims(tensor).iter().product::<usize>();
                assert_eq!(values.len(), wanted, "{tensor:?} has the values of its shape");
                if let Some((index, value)) = unfit(&values, format) {
                    let name = name(tensor);
                    refused = Some(TensorError::NotFinite { name, index, value });
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                write_values(out, &values, format)?;
            }
            Ok(())
        });
        match refused {
            Some(cause) => Err(ModelError::Tensor { file: file.display().to_string(), cause }),
            None => written,
        }
    }
}

/// The first value that the format cannot hold.
fn unfit(values: &[f32], format: WeightFormat) -> Option<(usize, f32)> {
    let largest = format.spec().encoder.map_or(f32::MAX, |encoder| encoder.largest);
    let fits = |value: &f32| value.abs() <= largest;
    values.iter().position(|value| !fits(value)).map(|index| (index, values[index]))
}

fn write_values(out: &mut dyn Write, values: &[f32], format: WeightFormat) -> io::Result<()> {
    for part in values.chunks(1 << 16) {
        let mut bytes = vec![0; part.len() * format.spec().block_bytes];
        match format.spec().encoder {
            Some(encoder) => (encoder.run)(part, &mut bytes),
            None => bytes.copy_from_slice(bytemuck::cast_slice(part)),
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn write_config(folder: &Path, config: &Value) -> Result<(), ModelError> {
    replace(&folder.join("config.json"), |out| Ok(serde_json::to_writer_pretty(out, config)?))
}
