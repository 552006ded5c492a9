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

fn entry(shape: &str, offsets: &str) -> String {
    format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#)
}

#[test]
fn hostile_headers_are_refused() {
    let huge = "18446744073709551615";
    let eighth = 1u64 << 61;
    let chain: Vec<String> = (0..8)
        .map(|i| {
            let start = u64::MAX / 8 * i;
            let end = u64::MAX / 8 * (i + 1);
            format!(
                r#""t{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#,
                end - start
            )
        })
        .collect();
    let overflowing = format!("{{{}}}", chain.join(","));
    let nested = format!(r#"{{"t":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for (file, message) in [
        (vec![], "has 0 bytes and is too short"),
        (vec![1, 0, 0], "has 3 bytes and is too short"),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "claims 18446744073709551615 bytes; the limit is 100000000",
        ),
        (200_000_000u64.to_le_bytes().to_vec(), "claims 200000000 bytes; the limit is 100000000"),
        (100u64.to_le_bytes().to_vec(), "claims 100 bytes where 0 are left"),
        (safetensors("not json", &[]), "the header is invalid"),
        (safetensors("[]", &[]), "the header is invalid"),
        (safetensors(&nested, &[]), "the header is invalid"),
        (
            safetensors(r#"{"t":{"dtype":"F99","shape":[],"data_offsets":[0,0]}}"#, &[]),
            "is invalid",
        ),
        (
            safetensors(&format!(r#"{{"t":{}}}"#, entry("[2]", "[0,8]")), &[0; 4]),
            "need 8 bytes where 4",
        ),
        (
            safetensors(&format!(r#"{{"t":{}}}"#, entry("[1]", "[0,4]")), &[0; 9]),
            "need 4 bytes where 9",
        ),
        (safetensors(&format!(r#"{{"t":{}}}"#, entry("[3]", "[0,8]")), &[0; 8]), "is invalid"),
        (safetensors(&format!(r#"{{"t":{}}}"#, entry("[2]", "[8,0]")), &[0; 8]), "is invalid"),
        (safetensors(&format!(r#"{{"t":{}}}"#, entry("[-1]", "[0,4]")), &[0; 4]), "is invalid"),
        (
            safetensors(
                &format!(r#"{{"t":{}}}"#, entry(&format!("[{huge},{huge}]"), "[0,4]")),
                &[0; 4],
            ),
            "is invalid",
        ),
        (
            safetensors(
                &format!(r#"{{"a":{},"b":{}}}"#, entry("[2]", "[0,8]"), entry("[2]", "[4,12]")),
                &[0; 12],
            ),
            "is invalid",
        ),
        (
            safetensors(
                &format!(r#"{{"a":{},"b":{}}}"#, entry("[1]", "[0,4]"), entry("[1]", "[8,12]")),
                &[0; 12],
            ),
            "is invalid",
        ),
        (
            safetensors(
                &format!(
                    r#"{{"t":{{"dtype":"U8","shape":[{eighth}],"data_offsets":[0,{eighth}]}}}}"#
                ),
                &[],
            ),
            "is invalid",
        ),
        (safetensors(&overflowing, &[]), "need 18446744073709551608 bytes where 0"),
    ] {
        let found = refused(&file);
        assert!(found.contains(message), "{found} / {message}");
    }
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
