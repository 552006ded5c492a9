//! `foretoken inspect`: what a model's files say, without loading weights.

use std::fmt::Write;

use foretoken::{
    Checkpoint, DraftVocabulary, KvType, MedusaCalibration, MedusaHeads, MedusaLayout,
    MedusaMeasurement, ModelSource, ModelSpec, OpenOptions, OutputHead, Reach, RopeScaling,
    UnknownKeys, Vocabularies,
};
use serde_json::{Value, json};

use crate::args::medusa_heads;
use crate::error::Error;
use crate::{engine, output};

const AFTER_HELP: &str = "\
Examples:
  foretoken inspect demo
  foretoken inspect model.gguf --json
  foretoken inspect ./vicuna-7b --medusa-heads FasterDecoding/medusa-vicuna-7b-v1.3
  foretoken inspect ./llama-8b --draft-model ./qwen-0.5b";

/// Most fields of an object that are shown in one line.
const IN_A_LINE: usize = 4;

/// Flags of `inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The model
    model: String,

    /// Say what these Medusa heads are, too, and whether they fit the model
    #[arg(long, value_name = "HEADS", env = "FORETOKEN_MEDUSA_HEADS")]
    medusa_heads: Option<String>,

    /// Say how much of the vocabulary this draft model shares, and what acceptance that allows
    #[arg(long, value_name = "MODEL", env = "FORETOKEN_DRAFT_MODEL")]
    draft_model: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints what the files say.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let source = engine::resolve(&args.model)?;
    let options = OpenOptions { unknown_keys: UnknownKeys::Warn };
    let checkpoint = Checkpoint::open(&source, &options)?;
    let mut object = describe(&source, &checkpoint)?;
    if let Some(heads) = &args.medusa_heads {
        let opened = medusa_heads(heads)?.open()?;
        object["medusa_heads"] = describe_heads(&opened, checkpoint.spec());
    }
    if let Some(draft) = &args.draft_model {
        object["draft_vocabulary"] = describe_draft(&source, draft)?;
    }
    if args.json { output::print_json(&object) } else { output::print(&table(&object)) }
}

/// Everything as one object; the table shows the same.
fn describe(source: &ModelSource, checkpoint: &Checkpoint) -> Result<Value, Error> {
    let spec = checkpoint.spec();
    let values = 2 * spec.layers.len() * spec.kv_heads * spec.head_size;
    let window = spec.layers.iter().find_map(|reach| match reach {
        Reach::Window(size) => Some(*size),
        Reach::Full => None,
    });
    let tokenizer = source.tokenizer()?;
    let piece = |id: u32| json!({ "id": id, "piece": tokenizer.piece(id) });
    Ok(json!({
        "model": checkpoint.name(),
        "family": spec.family,
        "parameters": checkpoint.parameters(),
        "layers": spec.layers.len(),
        "hidden": spec.hidden,
        "ffn": spec.ffn,
        "heads": spec.heads,
        "kv_heads": spec.kv_heads,
        "head_size": spec.head_size,
        "output": match spec.output { OutputHead::Tied => "tied", OutputHead::Own => "own" },
        "context": spec.context,
        "sliding_window": window,
        "rope": {
            "theta": spec.rope.theta,
            "dims": spec.rope.dims,
            "scaling": scaling(&spec.rope.scaling),
        },
        "vocab": spec.vocab,
        "tokenizer": { "algorithm": tokenizer.algorithm(), "pieces": tokenizer.vocab_size() },
        "bos": checkpoint.bos().or(tokenizer.bos()).map(piece),
        "eos": checkpoint.eos().iter().map(|&id| piece(id)).collect::<Vec<_>>(),
        "chat_template": source.chat_template()?.is_some(),
        "formats": formats(checkpoint),
        "weight_bytes": checkpoint.weight_bytes(),
        "kv_bytes_per_token": {
            "f32": values * KvType::F32.bytes(),
            "bf16": values * KvType::Bf16.bytes(),
        },
        "unknown": checkpoint.warnings(),
    }))
}

/// What files of heads say, and what keeps them from fitting the model.
fn describe_heads(heads: &MedusaHeads, model: &ModelSpec) -> Value {
    let layout = match heads.layout() {
        MedusaLayout::Published => "as published",
        MedusaLayout::InModel => "in a whole model",
        MedusaLayout::Vllm => "as vLLM reads them",
    };
    let measured = |known: &MedusaCalibration| {
        let rates = |measurement: &MedusaMeasurement| json!({ "temperature": measurement.temperature, "positions": measurement.positions });
        known.measurements.iter().map(rates).collect::<Vec<_>>()
    };
    json!({
        "heads": heads.count(),
        "blocks": heads.blocks(),
        "hidden": heads.hidden(),
        "vocab": heads.vocab().map_or(json!("that of the model"), |rows| json!(rows)),
        "layout": layout,
        "base_model": heads.base_model(),
        "calibration": heads.calibration().map(measured),
        "misfit": heads.check(model).err().map(|cause| cause.to_string()),
        "warnings": heads.warnings(),
    })
}

/// How the vocabulary of the model named `draft` meets that of the target. Rates are those of a draft that is right:
/// by tokens wherever it can be, by text in its tokenizer's own spelling.
fn describe_draft(target: &ModelSource, draft: &str) -> Result<Value, Error> {
    let source = engine::resolve(draft).map_err(|cause| cause.context("--draft-model"))?;
    let (ours, theirs) = (target.tokenizer()?, source.tokenizer()?);
    let vocabularies = Vocabularies::compare(&ours, &theirs);
    let way = vocabularies.choose().map(DraftVocabulary::name);
    let Vocabularies { target, draft, difference, shared, sample } = vocabularies;
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    Ok(json!({
        "target_tokens": target,
        "draft_tokens": draft,
        "difference": difference.map(|difference| difference.to_string()),
        "shared": shared,
        "share_of_target": rounded(shared as f64 / target as f64),
        "share_of_draft": rounded(shared as f64 / draft as f64),
        "sample": {
            "tokens": sample.tokens,
            "share_drafted_by_tokens": rounded(sample.share()),
            "tokens_per_pass_if_right": {
                "by_tokens": rounded(sample.by_tokens),
                "by_text": rounded(sample.by_text),
            },
        },
        "auto": way,
    }))
}

fn scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::None => json!("none"),
        RopeScaling::Linear { factor } => json!(format!("linear, factor {factor}")),
        RopeScaling::Dynamic { factor, .. } => json!(format!("dynamic, factor {factor}")),
        RopeScaling::Llama3 { factor, .. } => json!(format!("llama3, factor {factor}")),
        RopeScaling::Yarn { factor, .. } => json!(format!("yarn, factor {factor}")),
        RopeScaling::PerFrequency { .. } => json!("one factor per frequency"),
    }
}

/// Tensors and bytes per stored format, the largest share first.
fn formats(checkpoint: &Checkpoint) -> Value {
    let mut formats: Vec<(&str, usize, usize)> = Vec::new();
    for tensor in checkpoint.tensors() {
        let name = tensor.format.map_or_else(|other| other, |format| format.name());
        match formats.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, tensors, bytes)) => {
                *tensors += 1;
                *bytes += tensor.bytes;
            }
            None => formats.push((name, 1, tensor.bytes)),
        }
    }
    formats.sort_by_key(|&(name, _, bytes)| (std::cmp::Reverse(bytes), name));
    let entries = formats.into_iter().map(
        |(format, tensors, bytes)| json!({ "format": format, "tensors": tensors, "bytes": bytes }),
    );
    entries.collect()
}

/// The object as lines; lists and objects within it on the line of their key.
fn table(object: &Value) -> String {
    let mut table = String::new();
    write_rows(&mut table, object, "");
    table
}

/// Writes a line per field, and those of a field that has many below it.
fn write_rows(table: &mut String, object: &Value, indent: &str) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let name = format!("{indent}{}", key.replace('_', " "));
        let has_many = value.as_object().is_some_and(|fields| fields.len() > IN_A_LINE);
        // Writing to a string does not fail.
        if has_many {
            let _ = writeln!(table, "{name}");
            write_rows(table, value, "  ");
        } else {
            let _ = writeln!(table, "{name:<20} {}", in_words(value));
        }
    }
}

fn in_words(value: &Value) -> String {
    let joined = |parts: Vec<String>, by: &str| {
        if parts.is_empty() { "none".to_owned() } else { parts.join(by) }
    };
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => joined(items.iter().map(in_words).collect(), "; "),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), in_words(value)));
            joined(fields.collect(), ", ")
        }
    }
}
