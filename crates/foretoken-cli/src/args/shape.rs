//! The shape of a small Llama.

use std::fmt;

use clap::Args;
use foretoken::OutputHead;
use foretoken_train::LlamaShape;

use crate::error::Error;

/// Flags of commands that make a model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model options")]
pub(crate) struct ShapeArgs {
    /// Width of the residual stream, layers, heads, key heads, width of the feed-forward layers
    #[arg(long, value_name = "HIDDEN,LAYERS,HEADS,KV_HEADS,FFN", value_parser = parse_shape)]
    shape: ShortShape,
}

/// What `--shape` says.
#[derive(Debug, Clone, Copy)]
struct ShortShape {
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    ffn: usize,
}

impl ShapeArgs {
    /// The shape of a model of `vocab` tokens and `context` positions: embedding and output matrix are one.
    pub(crate) fn llama(&self, vocab: usize, context: usize) -> Result<LlamaShape, Error> {
        let ShortShape { hidden, layers, heads, kv_heads, ffn } = self.shape;
        if !hidden.is_multiple_of(heads) {
            let mistake = format!("{heads} heads do not part a width of {hidden} evenly");
            return Err(Error::flag("--shape", mistake));
        }
        Ok(LlamaShape {
            vocab,
            hidden,
            layers,
            heads,
            kv_heads,
            head_size: hidden / heads,
            ffn,
            output: OutputHead::Tied,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            context,
        })
    }
}

impl fmt::Display for ShapeArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShortShape { hidden, layers, heads, kv_heads, ffn } = self.shape;
        write!(f, "{hidden},{layers},{heads},{kv_heads},{ffn}")
    }
}

fn parse_shape(text: &str) -> Result<ShortShape, &'static str> {
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match numbers.as_deref() {
        Ok(&[hidden, layers, heads, kv_heads, ffn]) if ![hidden, heads, kv_heads].contains(&0) => {
            Ok(ShortShape { hidden, layers, heads, kv_heads, ffn })
        }
        _ => Err("write five numbers above 0, such as 256,4,4,2,688"),
    }
}
