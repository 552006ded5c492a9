//! GGUF headers: what is read, and what is refused with which words.

use foretoken_model::{Gguf, GgufError, TensorType};
use foretoken_tensor::WeightFormat;

use crate::support::{GgufBuilder, text};

fn refusal(bytes: &[u8]) -> String {
    Gguf::parse(bytes).unwrap_err().to_string()
}

#[test]
fn every_value_type_is_read() {
    let list = |kind: u32, count: u64, bytes: &[u8]| {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat()
    };
    let strings = [text("a"), text("é")].concat();
    let file = GgufBuilder::default()
        .key("u8", 0, &[255])
        .key("i8", 1, &[255])
        .key("u16", 2, &[255, 255])
        .key("i16", 3, &[254, 255])
        .u32("u32", u32::MAX)
        .key("i32", 5, &(-3i32).to_le_bytes())
        .f32("f32", 0.5)
        .key("bool", 7, &[1])
        .string("string", "héllo")
        .key("u64", 10, &(1u64 << 40).to_le_bytes())
        .key("i64", 11, &(-1i64 << 40).to_le_bytes())
        .key("f64", 12, &0.1f64.to_le_bytes())
        .key("list.i16", 9, &list(3, 2, &[1, 0, 255, 255]))
        .key("list.f32", 9, &list(6, 1, &2.5f32.to_le_bytes()))
        .key("list.bool", 9, &list(7, 2, &[0, 1]))
        .key("list.string", 9, &list(8, 2, &strings));
    for version in [2, 3] {
        let gguf = Gguf::parse(&file.build_as(version, 0, 16)).unwrap();
        assert_eq!(gguf.version(), version);
        assert_eq!(gguf.u64("u8"), Ok(Some(255)));
        assert_eq!(gguf.f64("i8"), Ok(Some(-1.0)));
        assert_eq!(gguf.u64("u16"), Ok(Some(65535)));
        assert_eq!(gguf.f64("i16"), Ok(Some(-2.0)));
        assert_eq!(gguf.u64("u32"), Ok(Some(u32::MAX.into())));
        assert_eq!(gguf.f64("i32"), Ok(Some(-3.0)));
        assert_eq!(gguf.f64("f32"), Ok(Some(0.5)));
        assert_eq!(gguf.bool("bool"), Ok(Some(true)));
        assert_eq!(gguf.str("string"), Ok(Some("héllo")));
        assert_eq!(gguf.u64("u64"), Ok(Some(1 << 40)));
        assert_eq!(gguf.f64("i64"), Ok(Some(-(2f64.powi(40)))));
        assert_eq!(gguf.f64("f64"), Ok(Some(0.1)));
        assert_eq!(gguf.integers("list.i16"), Ok(Some(&[1, -1][..])));
        assert_eq!(gguf.floats("list.f32"), Ok(Some(&[2.5][..])));
        assert_eq!(gguf.strings("list.string").unwrap().unwrap(), ["a", "é"]);
        assert_eq!(gguf.str("absent"), Ok(None));
        assert_eq!(gguf.metadata().len(), 16);
    }
}

#[test]
fn a_value_of_the_wrong_type_names_its_key() {
    let gguf =
        Gguf::parse(&GgufBuilder::default().u32("a", 3).key("b", 1, &[255]).build()).unwrap();
    let message = gguf.str("a").unwrap_err().to_string();
    assert_eq!(message, "metadata key `a` is an integer; it must be a string");
    assert!(matches!(gguf.u64("b"), Err(GgufError::WrongType { .. })), "-1 is no count");
}

#[test]
fn tensors_are_placed_in_the_file() {
    let file = GgufBuilder::default()
        .tensor("norm", &[8], 0, 0)
        .tensor("matrix", &[32, 2], 8, 32)
        .tensor("odd", &[5, 3], 10, 128)
        .data(192)
        .build();
    let gguf = Gguf::parse(&file).unwrap();
    let norm = gguf.tensor("norm").unwrap();
    assert_eq!((norm.kind, norm.range.len()), (TensorType::Weights(WeightFormat::F32), 32));
    let matrix = gguf.tensor("matrix").unwrap();
    assert_eq!(matrix.shape, [2, 32], "outermost first");
    assert_eq!(matrix.range, norm.range.end..norm.range.end + 68);
    assert_eq!(matrix.range.end + 128 - 68 - 32 + 64, file.len());
    assert_eq!(gguf.tensor("odd").unwrap().kind, TensorType::Other(10), "listed, not refused");
}

#[test]
fn hostile_headers_are_refused() {
    let empty = GgufBuilder::default;
    let list = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let huge = u64::MAX.to_le_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "does not begin with `GGUF`"),
        (b"GGU".to_vec(), "does not begin with `GGUF`"),
        (b"{\"not\": \"gguf\"}".to_vec(), "does not begin with `GGUF`"),
        (b"GGUF\x03\0".to_vec(), "truncated: the version at byte 4 needs 4 bytes where 2 are left"),
        (empty().build_as(1, 0, 0), "GGUF version 1 is not supported"),
        (empty().build_as(4, 0, 0), "GGUF version 4 is not supported"),
        (empty().build_as(3u32.swap_bytes(), 0, 0), "big-endian"),
        (empty().build_as(3, u64::MAX, 0), "truncated: the tensor table"),
        (empty().build_as(3, 0, u64::MAX), "truncated: the metadata"),
        (empty().build_as(3, 0, 1), "truncated: the metadata"),
        (empty().key("k", 8, &huge).build(), "claims 18446744073709551615 bytes; the limit is"),
        (empty().key("k", 8, &1000u64.to_le_bytes()).build(), "truncated: a metadata value"),
        (empty().key("k", 9, &list(4, u64::MAX)).build(), "truncated: a metadata array"),
        (empty().key("k", 9, &list(8, 1 << 60)).build(), "truncated: a metadata array"),
        (empty().key("k", 9, &list(9, 1)).build(), "`k` is an array of arrays"),
        (empty().key("k", 9, &list(77, 0)).build(), "`k` has the undefined value type 77"),
        (empty().key("k", 13, &[0; 8]).build(), "`k` has the undefined value type 13"),
        (empty().key("k", 7, &[2]).build(), "`k` holds the truth value 2"),
        (empty().key("k", 10, &huge).build(), "beyond the supported 2^63 - 1"),
        (empty().key("k", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).build(), "is not UTF-8"),
        (empty().u32("k", 1).u32("k", 2).build(), "the metadata key `k` occurs twice"),
        (empty().u32("general.alignment", 0).build(), "`general.alignment` is 0"),
        (empty().u32("general.alignment", 24).build(), "`general.alignment` is 24"),
        (empty().u32("general.alignment", 1 << 31).build(), "`general.alignment` is 2147483648"),
    ];
    for (file, message) in cases {
        let found = refusal(&file);
        assert!(found.contains(message), "{found} / {message}");
    }
}

#[test]
fn hostile_tensors_are_refused() {
    let empty = GgufBuilder::default;
    let cases: Vec<(GgufBuilder, &str)> = vec![
        (empty().tensor("t", &[1; 5], 0, 0), "`t` has 5 dimensions"),
        (empty().tensor("t", &[u64::MAX, 2], 0, 0), "the shape of tensor `t` overflows"),
        (empty().tensor("t", &[1 << 62], 0, 0), "the shape of tensor `t` overflows"),
        (
            empty().tensor("t", &[33], 8, 0),
            "rows of 33 values, which is no multiple of its block of 32",
        ),
        (empty().tensor("t", &[128, 2], 12, 0), "no multiple of its block of 256"),
        (
            empty().tensor("t", &[8], 0, 8).data(64),
            "offset 8, which is no multiple of the alignment 32",
        ),
        (empty().tensor("t", &[8], 0, 64).data(64), "`t` (32 bytes at data offset 64) lies beyond"),
        (empty().tensor("t", &[8], 0, u64::MAX - 31).data(64), "lies beyond the end"),
        (empty().tensor("t", &[1 << 40], 0, 0).data(64), "lies beyond the end"),
        (empty().tensor("a", &[8], 0, 0).tensor("a", &[8], 0, 32).data(64), "`a` occurs twice"),
        (empty().tensor("a", &[8], 0, 0).tensor("b", &[8], 0, 0).data(64), "`a` and `b` overlap"),
        (empty().tensor("a", &[8], 0, 32).tensor("b", &[9], 0, 0).data(96), "`b` and `a` overlap"),
    ];
    for (file, message) in cases {
        let found = refusal(&file.build());
        assert!(found.contains(message), "{found} / {message}");
    }
}

#[test]
fn every_truncation_of_a_real_header_is_refused() {
    let file = std::fs::read(crate::support::testdata("gguf/llama-gqa.gguf")).unwrap();
    assert!(Gguf::parse(&file).is_ok());
    let header = Gguf::parse(&file).unwrap().tensors()[0].range.start;
    for length in (0..header).chain([file.len() - 1]) {
        assert!(Gguf::parse(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}
