//! A vocabulary in GGUF metadata, and text through it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foretoken_model::fuzz::tokenizer_gguf(bytes));
