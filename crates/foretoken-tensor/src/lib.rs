//! placeholder
pub mod arithmetic;
mod backend;
mod format;
mod program;
pub use backend::*;
pub use format::*;
pub use program::*;
