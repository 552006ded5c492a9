//! A `config.json` and the model it describes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foretoken_model::fuzz::config(bytes));
