//! The engine against plain decoding: whatever is drafted, the text, the rows that decided it and the
//! cache behind it are those of one token at a time.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on stdout what it has seen"
)]

mod agreement;
mod calibration;
mod documentation;
mod edits;
mod endings;
mod failures;
mod forced;
mod heads;
mod hundred;
mod lookahead;
mod lossless;
mod mean_length;
mod medusa;
mod medusa_reference;
mod merging;
mod models;
mod nested;
mod oracle;
mod own_weights;
mod plain;
mod prediction;
mod recorder;
mod registry;
mod runs;
mod sessions;
mod shipped_heads;
mod suffix;
mod traces;
mod vocabularies;
mod watcher;
