//! Hostile safetensors files, each in an otherwise sound folder.

use std::fs;

use crate::support::{copy, refusal, safetensors};

fn refused(file: &[u8]) -> String {
    let folder = copy("llama-gqa");
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let message = refusal(folder.path());
    assert!(message.contains("model.safetensors`: "), "{message}");
    message
}

fn assert_refused(file: &[u8], message: &str) {
    let found = refused(file);
    assert!(found.contains(message), "{found} / {message}");
}

#[test]
fn hostile_headers_are_refused() {
    let length = |length: u64| length.to_le_bytes().to_vec();
    for (file, message) in [
        (vec![], "has 0 bytes and is too short"),
        (vec![1, 0, 0], "has 3 bytes and is too short"),
        (length(u64::MAX), "claims 18446744073709551615 bytes, at most 100000000 are read"),
        (length(200_000_000), "claims 200000000 bytes, at most 100000000 are read"),
        (length(100), "claims 100 bytes where 0 are left"),
    ] {
        assert_refused(&file, message);
    }
    let nested = format!(r#"{{"t":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let no_type = r#"{"t":{"dtype":"F99","shape":[],"data_offsets":[0,0]}}"#;
    for header in ["not json", "[]", &nested, no_type] {
        assert_refused(&safetensors(header, &[]), "the header is invalid");
    }
}

/// A file of tensors of type `kind`, each a shape and two offsets, and so many bytes of data.
fn tensors(kind: &str, tensors: &[(&str, u64, u64)], data: usize) -> Vec<u8> {
    let entries: Vec<String> = (0..)
        .zip(tensors)
        .map(|(i, (shape, start, end))| {
            let offsets = format!("[{start},{end}]");
            format!(r#""t{i}":{{"dtype":"{kind}","shape":{shape},"data_offsets":{offsets}}}"#)
        })
        .collect();
    safetensors(&format!("{{{}}}", entries.join(",")), &vec![0; data])
}

#[test]
fn offsets_that_contradict_the_file_are_refused() {
    let huge = format!("[{},{}]", u64::MAX, u64::MAX);
    let eighth = 1 << 61;
    for (kind, list, data) in [
        ("F32", &[("[3]", 0, 8)][..], 8),
        ("F32", &[("[2]", 8, 0)], 8),
        ("F32", &[("[-1]", 0, 4)], 4),
        ("F32", &[(&huge, 0, 4)], 4),
        ("F32", &[("[2]", 0, 8), ("[2]", 4, 12)], 12),
        ("F32", &[("[1]", 0, 4), ("[1]", 8, 12)], 12),
        ("U8", &[("[2305843009213693952]", 0, eighth)], 0),
    ] {
        assert_refused(&tensors(kind, list, data), "the header is invalid");
    }
    assert_refused(&tensors("F32", &[("[2]", 0, 8)], 4), "need 8 bytes where 4");
    assert_refused(&tensors("F32", &[("[1]", 0, 4)], 9), "need 4 bytes where 9");
}

/// Sizes that are each possible and together reach the end of 64 bits: the header's own length added
/// to them overflows.
#[test]
fn offsets_at_the_end_of_64_bits_are_refused() {
    let size = u64::MAX / 8;
    let shape = format!("[{size}]");
    let chain: Vec<_> = (0..8).map(|i| (shape.as_str(), size * i, size * (i + 1))).collect();
    assert_refused(&tensors("U8", &chain, 0), "need 18446744073709551608 bytes where 0");
}

#[test]
fn every_truncation_is_refused() {
    let folder = copy("llama-gqa");
    let file = fs::read(folder.path().join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    for length in (0..header).step_by(97).chain([header, header + 1, file.len() - 1]) {
        refused(&file[..length]);
    }
}
