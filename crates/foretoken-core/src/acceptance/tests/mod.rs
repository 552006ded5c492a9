//! The laws of the rules.
//!
//! `coupled` is compared with plain decoding token for token; `rejection` by exact enumeration of
//! everything chance can do in two consecutive steps, drafting included, with mutants that must be
//! found out; `typical` against its formula.

mod copies;
mod coupled;
mod ends;
mod enumerator;
mod forced;
mod law;
mod mutants;
mod plans;
mod rejection;
mod sampled;
mod table;
mod typical;
