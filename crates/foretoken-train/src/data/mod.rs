//! Training text: from lines of JSON to sequences of tokens.
//!
//! An [`Encoder`] turns each line into a [`Document`], a [`Corpus`] keeps all documents as tokens (5 bytes
//! each), and a [`Reader`] shuffles them anew for every epoch and packs them into [`Sequences`]. All of a
//! corpus is in memory, so any place of it can be returned to and what is wrong with it is known before
//! training starts. Nothing here knows models or losses.

mod corpus;
mod document;
mod encode;
mod error;
mod files;
mod hash;
mod reader;
mod record;
mod sequences;
mod texts;

pub use corpus::{Corpus, Skipped};
pub use document::Document;
pub use encode::Encoder;
pub use error::{DataError, LineError};
pub use reader::{Position, Reader};
pub use sequences::Sequences;
pub use texts::Texts;
