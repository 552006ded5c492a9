//! Medusa heads, as safetensors or as torch.save writes them, or a calibration.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foretoken_model::fuzz::medusa(bytes));
