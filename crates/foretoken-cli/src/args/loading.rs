//! How a model is loaded and run.

use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use foretoken::{EngineOptions, Isa, KvType, ModelSource, QUANTS, UnknownKeys, WeightFormat};

/// Flags of every command that computes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model options")]
pub(crate) struct LoadArgs {
    /// Format the weights run in [default: as stored]
    #[arg(long, value_name = "FORMAT", env = "FORETOKEN_QUANT", value_parser = formats())]
    pub(crate) quant: Option<WeightFormat>,

    /// Type of cached keys and values [default: f32 with f32 weights, else bf16]
    #[arg(long, value_name = "TYPE", env = "FORETOKEN_KV", value_parser = kv_types())]
    pub(crate) kv: Option<KvType>,

    /// Longest text in tokens [default: what the model is made for]
    #[arg(long, value_name = "N", env = "FORETOKEN_CONTEXT")]
    pub(crate) context: Option<usize>,

    /// Threads that compute [default: one per physical core]
    #[arg(long, value_name = "N", env = "FORETOKEN_THREADS")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Best instruction set to use [default: the machine's best]
    #[arg(long, value_name = "LEVEL", env = "FORETOKEN_ISA", value_parser = levels())]
    pub(crate) isa: Option<Isa>,

    /// Run models with unknown configuration keys or tensors, with a warning for each
    #[arg(long, env = "FORETOKEN_ALLOW_UNKNOWN_CONFIG", value_parser = FalseyValueParser::new())]
    pub(crate) allow_unknown_config: bool,
}

impl LoadArgs {
    /// The options of an engine without drafting.
    pub(crate) fn options(&self, model: ModelSource) -> EngineOptions {
        let unknown_keys =
            if self.allow_unknown_config { UnknownKeys::Warn } else { UnknownKeys::Refuse };
        EngineOptions {
            drafter: "none".to_owned(),
            format: self.quant,
            kv_type: self.kv,
            context: self.context,
            threads: self.threads,
            isa: self.isa,
            unknown_keys,
            ..EngineOptions::new(model)
        }
    }
}

/// Weight formats that matrices can be packed in, by name.
pub(crate) fn formats() -> impl TypedValueParser<Value = WeightFormat> {
    let names = QUANTS.iter().filter(|spec| spec.encoder.is_some()).map(|spec| spec.name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<WeightFormat>())
}

/// Types of keys and values, by name.
pub(crate) fn kv_types() -> impl TypedValueParser<Value = KvType> {
    let names = KvType::ALL.iter().map(|kv_type| kv_type.name());
    PossibleValuesParser::new(names).try_map(|name| KvType::parse(&name).ok_or("unknown type"))
}

/// Instruction set levels, by name.
pub(crate) fn levels() -> impl TypedValueParser<Value = Isa> {
    let names = Isa::ALL.iter().map(|isa| isa.name());
    PossibleValuesParser::new(names).try_map(|name| Isa::parse(&name).ok_or("unknown level"))
}
