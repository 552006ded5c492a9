//! placeholder
mod spec;
pub use spec::*;
