//! Runs as a whole: text to documents, documents to batches, batches to a model that survives its process.

mod failures;
mod packing;
mod resume;
mod support;
mod text;
mod vocabulary;
