//! The readers of checkpoints against real files, hostile files and golden values.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on stdout what it skips"
)]

mod checkpoints;
mod gguf;
mod goldens;
mod heads;
mod medusa;
mod pytorch;
mod safetensors;
mod sources;
mod support;
