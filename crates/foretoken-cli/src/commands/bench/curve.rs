//! `foretoken bench curve`: the curve an engine measures at load.

use std::fmt::Write;

use serde_json::json;

use crate::args::LoadArgs;
use crate::error::Error;
use crate::{demo, engine, output};

const AFTER_HELP: &str = "\
The curve is kept per machine, model, format, threads and build, as a small file in FORETOKEN_CACHE,
else in XDG_CACHE_HOME/foretoken, else in ~/.cache/foretoken. Delete the file to measure again.

Examples:
  foretoken bench curve
  foretoken bench curve model.gguf --threads 4 --json";

/// Flags of `bench curve`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Folder, .gguf file, hub id in the local cache, or `demo`
    #[arg(default_value = demo::NAME, env = "FORETOKEN_MODEL")]
    model: String,

    #[command(flatten)]
    load: LoadArgs,

    /// Print one JSON object
    #[arg(long, help_heading = "Output options")]
    json: bool,
}

/// Prints the curve.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let mut options = args.load.options(engine::resolve(&args.model)?);
    options.cost = engine::measure_cost();
    let engine = engine::load(&options)?;
    let Some(curve) = engine.cost_curve() else {
        return Err(Error::failure("the engine measured no curve; please report it"));
    };
    let points = curve.points().iter().map(|&(rows, seconds)| (rows, seconds, curve.ratio(rows)));
    if args.json {
        let rows = points.map(
            |(rows, seconds, ratio)| json!({ "rows": rows, "seconds": seconds, "ratio": ratio }),
        );
        return output::print_json(&json!({
            "model": engine.checkpoint().name(),
            "quant": engine.target().weight_format().name(),
            "threads": engine.threads(),
            "rows": rows.collect::<Vec<_>>(),
        }));
    }
    let mut table = format!("{:>5}  {:>9}  {:>6}\n", "rows", "ms", "ratio");
    for (rows, seconds, ratio) in points {
        // Writing to a string does not fail.
        let _ = writeln!(table, "{rows:>5}  {:>9.3}  {ratio:>6.2}", seconds * 1e3);
    }
    output::print(&table)
}
