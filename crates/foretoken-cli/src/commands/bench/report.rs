//! What was measured, as a table and as JSON.

use std::fmt::Write;

use foretoken::{DepthCost, Isa, RowCost, machine_name};
use serde_json::{Value, json};

/// Passes of one format on some threads at one depth.
pub(super) struct Record {
    /// The shape or model.
    pub(super) name: String,
    /// Source format of the weights.
    pub(super) quant: &'static str,
    pub(super) threads: usize,
    pub(super) isa: Isa,
    /// Of the weights a pass reads, in their source format.
    pub(super) weight_bytes: usize,
    /// Bytes per second that the same threads read at best.
    pub(super) read_rate: f64,
    pub(super) cost: DepthCost,
}

impl Record {
    /// Bytes of weights per second of a pass.
    fn rate(&self, row: &RowCost) -> f64 {
        self.weight_bytes as f64 / row.seconds
    }

    /// A pass of one row that takes as long as reading its weights, in units of one row's real time.
    pub(super) fn floor(&self) -> Option<f64> {
        let row = self.cost.rows.first()?;
        Some(self.weight_bytes as f64 / self.read_rate / (row.seconds / row.ratio))
    }
}

/// The object of `--json`.
pub(super) fn object(record: &Record) -> Value {
    let row = |row: &RowCost| {
        let rate = record.rate(row);
        json!({
            "rows": row.rows,
            "seconds": row.seconds,
            "ratio": row.ratio,
            "gb_per_s": rate / 1e9,
            "share": rate / record.read_rate,
        })
    };
    let mut object = json!({
        "shape": record.name,
        "quant": record.quant,
        "threads": record.threads,
        "depth": record.cost.depth,
        "weight_bytes": record.weight_bytes,
        "read_gb_per_s": record.read_rate / 1e9,
        "rows": record.cost.rows.iter().map(row).collect::<Vec<_>>(),
    });
    if let Some(rate) = record.cost.kv_rate {
        object["kv_gb_per_s"] = json!(rate / 1e9);
    }
    object
}

/// Where and what was measured.
pub(super) fn heading(records: &[Record]) -> String {
    let Some(record) = records.first() else { return String::new() };
    format!("{} on {}, {}", record.name, machine_name(), record.isa)
}

/// A line per pass, then one per depth where the reading of keys and values was measured.
pub(super) fn table(records: &[Record]) -> String {
    let mut table = heading(records);
    table.push('\n');
    // Writing to a string does not fail.
    let _ = writeln!(
        table,
        "{:<6}  {:>7}  {:>6}  {:>5}  {:>10}  {:>6}  {:>6}  {:>6}  {:>5}",
        "quant", "threads", "depth", "rows", "ms", "ratio", "GB/s", "read", "share"
    );
    for record in records {
        for row in &record.cost.rows {
            let rate = record.rate(row);
            let _ = writeln!(
                table,
                "{:<6}  {:>7}  {:>6}  {:>5}  {:>10.3}  {:>6.2}  {:>6.1}  {:>6.1}  {:>3.0} %",
                record.quant,
                record.threads,
                record.cost.depth,
                row.rows,
                row.seconds * 1e3,
                row.ratio,
                rate / 1e9,
                record.read_rate / 1e9,
                100.0 * rate / record.read_rate,
            );
        }
    }
    for record in records {
        let Some(rate) = record.cost.kv_rate else { continue };
        let _ = writeln!(
            table,
            "keys and values at depth {}: {:.1} GB/s, {:.0} % of the read ({}, {} threads)",
            record.cost.depth,
            rate / 1e9,
            100.0 * rate / record.read_rate,
            record.quant,
            record.threads,
        );
    }
    table
}
