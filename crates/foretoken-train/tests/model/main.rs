//! Whole steps of small models: against PyTorch, across threads, through files.

mod draft;
mod files;
mod goldens;
mod heads;
mod joint;
mod laws;
mod support;
