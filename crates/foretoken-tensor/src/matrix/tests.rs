//! Shapes, row orders and conversions.

use super::*;

fn view(format: WeightFormat, rows: usize, cols: usize, data: &[u8]) -> MatrixView<'_> {
    MatrixView { name: "w", format, rows, cols, order: RowOrder::Natural, data }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn shapes_are_checked() {
    let data = vec![0; 34 * 6];
    assert_eq!(view(WeightFormat::Q8_0, 3, 64, &data).check(), Ok(()));
    let error = view(WeightFormat::Q8_0, 4, 64, &data).check().unwrap_err().to_string();
    assert_eq!(error, "tensor `w` has 204 bytes where its shape [4, 64] needs 272");
    let error = view(WeightFormat::Q8_0, 3, 63, &data).check().unwrap_err();
    assert_eq!(error, PackError::Block { name: "w".into(), cols: 63, block: 32 });
    for (rows, cols) in [(usize::MAX, 64), (3, usize::MAX - 31), (usize::MAX, usize::MAX - 31)] {
        let error = view(WeightFormat::Q8_0, rows, cols, &data).check().unwrap_err();
        assert!(matches!(error, PackError::Length { .. }), "{error}");
    }
    for head_size in [0, 1, 3, 4] {
        let order = RowOrder::InterleavedHeads { head_size };
        let error = MatrixView { order, ..view(WeightFormat::Q8_0, 3, 64, &data) }.check();
        assert_eq!(error, Err(PackError::Heads { name: "w".into(), rows: 3, head_size }));
    }
}

#[test]
fn interleaved_heads_are_read_in_halves_order() {
    let stored: Vec<f32> = (0..16).map(|row| row as f32).collect();
    let data = bytes(&stored);
    let order = RowOrder::InterleavedHeads { head_size: 8 };
    let view = MatrixView { order, ..view(WeightFormat::F32, 16, 1, &data) };
    let read = view.decode().unwrap();
    let head = [0, 2, 4, 6, 1, 3, 5, 7];
    let wanted: Vec<f32> = head.iter().chain(&head.map(|i| i + 8)).map(|&i| i as f32).collect();
    assert_eq!(read, wanted);
    // A conversion follows the same order.
    let mut rows = view.convert(WeightFormat::Bf16).unwrap();
    let mut row = [0; 2];
    rows.row(4, &mut row).unwrap();
    assert_eq!(half::bf16::from_le_bytes(row).to_f32(), 1.0);
}

#[test]
fn non_finite_weights_are_named() {
    for (bad, format) in [(f32::NAN, WeightFormat::F32), (f32::INFINITY, WeightFormat::Q8_0)] {
        let data = bytes(&[1.0, 2.0, 3.0, bad]);
        let view = view(WeightFormat::F32, 2, 2, &data);
        let mut rows = view.convert(format).unwrap();
        let mut out = vec![0; rows.row_bytes()];
        assert_eq!(rows.row(0, &mut out), Ok(()));
        let error = rows.row(1, &mut out).unwrap_err();
        assert!(matches!(error, PackError::NotFinite { row: 1, col: 1, .. }), "{error}");
    }
}

#[test]
fn weights_beyond_a_format_are_named() {
    let data = bytes(&[1.0, -3e8]);
    let view = view(WeightFormat::F32, 1, 2, &data);
    for (format, fits) in [
        (WeightFormat::F32, true),
        (WeightFormat::Bf16, true),
        (WeightFormat::F16, false),
        (WeightFormat::Q8_0, false),
        (WeightFormat::Q4_0, false),
    ] {
        let mut rows = view.convert(format).unwrap();
        let mut out = vec![0; rows.row_bytes()];
        let (name, wanted) = ("w".into(), format.name());
        let error = PackError::Range { name, row: 0, col: 1, value: -3e8, wanted };
        assert_eq!(rows.row(0, &mut out), if fits { Ok(()) } else { Err(error) });
    }
    let error = view.convert(WeightFormat::Q4K).unwrap_err();
    assert_eq!(error, PackError::Target { name: "w".into(), wanted: "q4_k" });
}

#[test]
fn short_rows_are_padded_with_zeros() {
    let data = bytes(&[-4.0; 33]);
    let mut rows = view(WeightFormat::F32, 1, 33, &data).convert(WeightFormat::Q8_0).unwrap();
    assert_eq!((rows.padded_cols(), rows.row_bytes()), (64, 68));
    let mut out = vec![0; 68];
    rows.row(0, &mut out).unwrap();
    let mut back = vec![f32::NAN; 64];
    (WeightFormat::Q8_0.spec().decode)(&out, &mut back);
    assert!(back[..33].iter().all(|x| (x + 4.0).abs() < 0.01));
    assert!(back[33..].iter().all(|&x| x == 0.0));
}

#[test]
fn a_format_converts_to_itself_unchanged() {
    // A scale that encoding again would not reproduce: no byte reaches 127.
    let data: Vec<u8> = [0x00, 0x3c].into_iter().chain(0..32).collect();
    let mut rows = view(WeightFormat::Q8_0, 1, 32, &data).convert(WeightFormat::Q8_0).unwrap();
    let mut out = vec![0; 34];
    rows.row(0, &mut out).unwrap();
    assert_eq!(out, data);
}
