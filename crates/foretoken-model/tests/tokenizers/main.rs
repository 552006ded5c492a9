//! Tokenizers and chat templates against golden values: our own always, real models' where the
//! shared data lie beside the project.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]
#![expect(clippy::print_stdout, reason = "a test that skips says so")]

mod chat;
mod golden;
mod own;
mod shared;
mod translation;
