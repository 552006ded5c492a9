//! Tokenizers and chat templates against golden values: our own always, real models' where the shared
//! data lie beside the project.

mod golden;
mod shared;
