//! Whole steps of small models: against PyTorch, across threads, through files.

mod files;
mod goldens;
mod heads;
mod joint;
mod laws;
mod support;
