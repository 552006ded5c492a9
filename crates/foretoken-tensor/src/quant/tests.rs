//! Golden values of an independent implementation (`testdata/make_quant_goldens.py`), and the
//! registry.

use std::path::Path;

use super::*;

fn golden(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/quant");
    std::fs::read(folder.join(file)).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn assert_bits(name: &str, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(found.to_bits(), wanted.to_bits(), "{name}[{i}]: {found} is not {wanted}");
    }
}

#[test]
fn blocks_decode_to_golden_values() {
    for spec in QUANTS.iter().filter(|spec| spec.format != WeightFormat::F32) {
        let blocks = golden(&format!("{}.blocks", spec.name));
        let wanted = floats(&golden(&format!("{}.values", spec.name)));
        assert_eq!(blocks.len() / spec.block_bytes * spec.block_values, wanted.len());
        let mut found = vec![f32::NAN; wanted.len()];
        (spec.decode)(&blocks, &mut found);
        assert_bits(spec.name, &found, &wanted);
    }
}

#[test]
fn values_encode_to_golden_blocks() {
    let values = floats(&golden("encode.values"));
    for format in [WeightFormat::F16, WeightFormat::Bf16, WeightFormat::Q8_0, WeightFormat::Q4_0] {
        let spec = format.spec();
        let wanted = golden(&format!("{}.encoded", spec.name));
        let mut found = vec![0xa5; wanted.len()];
        (spec.encoder.unwrap().run)(&values, &mut found);
        for (i, (found, wanted)) in
            found.chunks(spec.block_bytes).zip(wanted.chunks(spec.block_bytes)).enumerate()
        {
            assert_eq!(found, wanted, "{} block {i}", spec.name);
        }
    }
}

/// The largest value that an encoder accepts decodes to a finite one, and not to something else.
#[test]
fn encoders_reach_their_largest_value() {
    for (spec, encoder) in QUANTS.iter().filter_map(|spec| Some((spec, spec.encoder?))) {
        for sign in [1.0, -1.0] {
            let mut values = vec![0.0; spec.block_values];
            values[0] = sign * encoder.largest;
            let mut bytes = vec![0; spec.block_bytes];
            (encoder.run)(&values, &mut bytes);
            let mut back = vec![f32::NAN; spec.block_values];
            (spec.decode)(&bytes, &mut back);
            assert_eq!(back, values, "{}", spec.name);
        }
    }
}

/// A scale too small for f16, and even for its own reciprocal, decodes to zeros.
#[test]
fn vanishing_groups_decode_to_zero() {
    for format in [WeightFormat::Q8_0, WeightFormat::Q4_0] {
        let spec = format.spec();
        for magnitude in [1e-44, 1e-40, 1e-30, 1e-12] {
            let values: Vec<f32> = (0..32).map(|i| magnitude * (i - 16) as f32).collect();
            let mut bytes = vec![0; spec.block_bytes];
            (spec.encoder.unwrap().run)(&values, &mut bytes);
            let mut back = vec![f32::NAN; 32];
            (spec.decode)(&bytes, &mut back);
            assert!(back.iter().all(|&x| x == 0.0), "{} of {magnitude}: {back:?}", spec.name);
        }
    }
}

#[test]
fn names_and_ids_are_unique_and_found() {
    for spec in QUANTS {
        assert_eq!(spec.format.name(), spec.name);
        assert_eq!(spec.name.parse(), Ok(spec.format));
        assert_eq!(WeightFormat::from_gguf(spec.gguf_type), Some(spec.format));
        assert_eq!(QUANTS.iter().filter(|other| other.name == spec.name).count(), 1);
    }
    assert_eq!(WeightFormat::from_gguf(9999), None);
    let error = "q9_9".parse::<WeightFormat>().unwrap_err();
    assert_eq!(error.to_string(), "unknown weight format `q9_9`");
}
