//! A GGUF header and its configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foretoken_model::fuzz::gguf(bytes));
