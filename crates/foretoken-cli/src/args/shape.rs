//! The shape of a small Llama.

use std::fmt;

use clap::Args;
use foretoken::OutputHead;
use foretoken_train::LlamaShape;

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
    pub(crate) fn llama(&self, vocab: usize, context: usize) -> LlamaShape {
        self.shape.llama(vocab, context)
    }
}

impl ShortShape {
    fn llama(self, vocab: usize, context: usize) -> LlamaShape {
        let Self { hidden, layers, heads, kv_heads, ffn } = self;
        LlamaShape {
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
        }
    }
}

impl fmt::Display for ShapeArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShortShape { hidden, layers, heads, kv_heads, ffn } = self.shape;
        write!(f, "{hidden},{layers},{heads},{kv_heads},{ffn}")
    }
}

fn parse_shape(text: &str) -> Result<ShortShape, String> {
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let shape = match numbers.as_deref() {
        Ok(&[hidden, layers, heads, kv_heads, ffn]) if heads > 0 => {
            ShortShape { hidden, layers, heads, kv_heads, ffn }
        }
        _ => return Err("write five numbers above 0, such as 256,4,4,2,688".to_owned()),
    };
    let ShortShape { hidden, heads, .. } = shape;
    if !hidden.is_multiple_of(heads) {
        return Err(format!("{heads} heads do not part a width of {hidden} evenly"));
    }
    // Vocabulary and context are those of the tokenizer and the text.
    shape.llama(1, 1).check().map_err(|cause| cause.to_string())?;
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_are_no_model_are_refused_with_what_to_do() {
        let five = "write five numbers above 0, such as 256,4,4,2,688";
        let cases = [
            ("32,1,2", five),
            ("32,1,0,1,48", five),
            ("32,1,3,1,48", "3 heads do not part a width of 32 evenly"),
            ("32,1,2,3,48", "2 heads are no multiple of 3 key heads; change either"),
            ("6,1,2,1,48", "a head of 3 values cannot rotate; choose an even size"),
            ("32,0,2,1,48", "layers is 0; give 1 to 4096"),
            ("32,5000,2,1,48", "layers is 5000; give 1 to 4096"),
            ("4611686018427387904,1,2,1,48", "hidden is 4611686018427387904; give 1 to 16777216"),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse_shape(text).expect_err(text), wanted);
        }
        let shape = ShapeArgs { shape: parse_shape("32,1,2,1,48").expect("a shape") };
        assert_eq!(
            (shape.llama(9, 7).head_size, shape.to_string()),
            (16, "32,1,2,1,48".to_owned())
        );
    }
}
