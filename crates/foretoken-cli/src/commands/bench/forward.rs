//! `foretoken bench forward`: the cost of passes, beside what memory allows.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use foretoken::{
    ForwardBench, ForwardOptions, Isa, KvType, Passes, QUANTS, SHAPES, Shape, Subject, UnknownKeys,
    WeightFormat,
};
use serde_json::Value;

use super::plot;
use super::report::{self, Record};
use crate::args::{kv_types, levels};
use crate::error::Error;
use crate::output::{self, warn};
use crate::progress::Bar;
use crate::{demo, engine};

const AFTER_HELP: &str = "\
A pass computes the logits of all its rows, a chain behind `depth` positions. Numbers of rows and
depths take turns in every round, with a sweep that only reads memory; seconds are medians, the
sweep is the best. GB/s are bytes of the weights as stored, the output matrix once, per second;
share is what that is of the sweep. Of lists every combination is measured; several depths also tell
how fast keys and values are read.

Examples:
  foretoken bench forward --shape llama-1b --quant q8_0,q4_0,bf16 --plot cost.svg
  foretoken bench forward --shape llama-1b --quant q8_0 --depth 64,4096,16384 --rows 1,16,64
  foretoken bench forward model.gguf --threads 1,2 --json";

/// Flags of `bench forward`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Folder, .gguf file, hub id in the local cache, or `demo` [default: demo]
    model: Option<String>,

    /// Measure random weights of this shape instead
    #[arg(long, value_name = "SHAPE", value_parser = shapes(), conflicts_with = "model")]
    shape: Option<&'static Shape>,

    /// Formats the weights run in [default: as stored; bf16 for shapes]
    #[arg(
        long,
        value_name = "FORMAT,...",
        env = "FORETOKEN_QUANT",
        value_delimiter = ',',
        value_parser = formats()
    )]
    quant: Vec<WeightFormat>,

    /// Type of cached keys and values [default: f32 with f32 weights, else bf16]
    #[arg(long, value_name = "TYPE", env = "FORETOKEN_KV", value_parser = kv_types())]
    kv: Option<KvType>,

    /// Threads that compute [default: one per physical core]
    #[arg(long, value_name = "N,...", env = "FORETOKEN_THREADS", value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,

    /// Positions in the cache before a pass
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "64")]
    depth: Vec<usize>,

    /// New rows of a pass
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    rows: Vec<usize>,

    /// Times each pass is measured, after one to warm up
    #[arg(long, value_name = "N", default_value_t = 11)]
    rounds: usize,

    /// Best instruction set to use [default: the machine's best]
    #[arg(long, value_name = "LEVEL", env = "FORETOKEN_ISA", value_parser = levels())]
    isa: Option<Isa>,

    /// Run models with unknown configuration keys or tensors, with a warning for each
    #[arg(long, env = "FORETOKEN_ALLOW_UNKNOWN_CONFIG", value_parser = FalseyValueParser::new())]
    allow_unknown_config: bool,

    /// Draw the curves as an SVG file
    #[arg(long, value_name = "FILE", help_heading = "Output options")]
    plot: Option<PathBuf>,

    /// Print one JSON object, or an array of them for several combinations
    #[arg(long, help_heading = "Output options")]
    json: bool,
}

/// Prints and draws the costs.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let subject = match args.shape {
        Some(shape) => Subject::Shape(shape),
        None => Subject::Model(engine::resolve(args.model.as_deref().unwrap_or(demo::NAME))?),
    };
    check_formats(&subject, &args.quant)?;
    if let Some(file) = &args.plot {
        // Found out now rather than after minutes of measuring.
        check_writable(file).map_err(|cause| Error::write(file, cause))?;
    }
    let mut records = Vec::new();
    for format in asked_for(&args.quant) {
        for threads in asked_for(&args.threads) {
            let subject = subject.clone();
            records.extend(measure(&args.options(subject, format, threads))?);
        }
    }
    if let Some(file) = &args.plot {
        let svg = plot::svg(&records).map_err(|cause| Error::write(file, cause))?;
        fs::write(file, svg).map_err(|cause| Error::write(file, cause))?;
    }
    match (args.json, records.as_slice()) {
        (true, [record]) => output::print_json(&report::object(record)),
        (true, records) => {
            output::print_json(&records.iter().map(report::object).collect::<Value>())
        }
        (false, records) => output::print(&report::table(records)),
    }
}

impl Args {
    fn options(
        &self,
        subject: Subject,
        format: Option<WeightFormat>,
        threads: Option<NonZeroUsize>,
    ) -> ForwardOptions {
        let sorted = |values: &[usize]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values.dedup();
            values
        };
        let unknown_keys =
            if self.allow_unknown_config { UnknownKeys::Warn } else { UnknownKeys::Refuse };
        let (depths, rows) = (sorted(&self.depth), sorted(&self.rows));
        let passes = Passes { depths, rows, rounds: self.rounds };
        let (kv_type, isa) = (self.kv, self.isa);
        ForwardOptions { subject, format, kv_type, threads, isa, unknown_keys, passes }
    }
}

/// One combination of format and threads, at every depth.
fn measure(options: &ForwardOptions) -> Result<Vec<Record>, Error> {
    let mut bar = Bar::new("loading");
    let bench =
        ForwardBench::load(options, &mut |name, step| bar.update(name, step.done, step.total));
    bar.clear();
    let mut bench = bench?;
    bench.warnings().iter().for_each(|warning| warn(warning));
    let name = bench.name().to_owned();
    let mut bar = Bar::new("measuring");
    let cost = bench.run(&mut |done, total| bar.update(&name, done, total));
    bar.clear();
    let cost = cost?;
    let record = |depth| Record {
        name: name.clone(),
        quant: bench.format().name(),
        threads: bench.threads(),
        isa: bench.isa(),
        weight_bytes: bench.weight_bytes(),
        read_rate: cost.read_rate,
        cost: depth,
    };
    Ok(cost.depths.into_iter().map(record).collect())
}

/// Weights of a model are converted while they are packed; those of a shape are made.
fn check_formats(subject: &Subject, formats: &[WeightFormat]) -> Result<(), Error> {
    let made = matches!(subject, Subject::Shape(_));
    match formats.iter().find(|format| format.spec().encoder.is_none()) {
        Some(format) if !made => {
            let names = QUANTS.iter().filter(|spec| spec.encoder.is_some()).map(|spec| spec.name);
            let names = names.collect::<Vec<_>>().join(", ");
            let cause = format!("a model's weights cannot be packed as {format}; choose {names}");
            Err(Error::flag("--quant", cause))
        }
        _ => Ok(()),
    }
}

/// Tries whether a file can be written, and leaves everything as it was.
fn check_writable(file: &Path) -> io::Result<()> {
    match File::create_new(file) {
        Ok(_) => fs::remove_file(file),
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
        Err(_) => File::options().append(true).open(file).map(drop),
    }
}

/// Each value once, or none where none was given.
fn asked_for<T: Copy + PartialEq>(values: &[T]) -> Vec<Option<T>> {
    let mut once: Vec<Option<T>> = Vec::new();
    for &value in values {
        if !once.contains(&Some(value)) {
            once.push(Some(value));
        }
    }
    if once.is_empty() { vec![None] } else { once }
}

fn shapes() -> impl TypedValueParser<Value = &'static Shape> {
    let names = SHAPES.iter().map(|shape| shape.name);
    PossibleValuesParser::new(names).try_map(|name| Shape::parse(&name).ok_or("unknown shape"))
}

/// Every weight format, by name.
fn formats() -> impl TypedValueParser<Value = WeightFormat> {
    let names = QUANTS.iter().map(|spec| spec.name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<WeightFormat>())
}
