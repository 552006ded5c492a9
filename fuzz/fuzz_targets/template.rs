//! A chat template, rendered with fuel.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foretoken_model::fuzz::chat_template(bytes));
