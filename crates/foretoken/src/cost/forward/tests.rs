use super::*;
use crate::Error;

const TINY: Shape =
    Shape { name: "tiny", hidden: 256, layers: 2, heads: 8, kv_heads: 2, head_size: 32, ffn: 512 };

fn load(
    shape: &'static Shape,
    format: Option<WeightFormat>,
    passes: Passes,
) -> Result<ForwardBench, Error> {
    let options = ForwardOptions {
        subject: Subject::Shape(shape),
        format,
        kv_type: None,
        threads: NonZeroUsize::new(2),
        isa: None,
        unknown_keys: UnknownKeys::Refuse,
        passes,
    };
    ForwardBench::load(&options, &mut |_, _| {})
}

fn passes(depths: &[usize], rows: &[usize]) -> Passes {
    Passes { depths: depths.to_vec(), rows: rows.to_vec(), rounds: 2 }
}

/// A loaded model of the smallest shape.
fn tiny(format: Option<WeightFormat>, passes: Passes) -> ForwardBench {
    load(&TINY, format, passes).expect("a bench")
}

#[test]
fn weight_bytes_are_those_of_the_source_format_with_the_head_once() {
    // Query, key, value, output, gate, up and down of two layers, and the head.
    let weights = 2 * (256 * (256 + 64 + 64 + 256) + 3 * 256 * 512) + 32_000 * 256_u32;
    for (format, bits) in [
        (None, 16.0),
        (Some(WeightFormat::F32), 32.0),
        (Some(WeightFormat::Q8_0), 8.5),
        (Some(WeightFormat::Q4_0), 4.5),
        (Some(WeightFormat::Q4K), 4.5),
        (Some(WeightFormat::Q5K), 5.5),
        (Some(WeightFormat::Q6K), 6.5625),
    ] {
        let bench = tiny(format, passes(&[0], &[1]));
        assert_eq!(bench.weight_bytes() as f64, f64::from(weights) * bits / 8.0, "{format:?}");
    }
}

#[test]
fn every_pass_asked_for_is_measured() {
    let mut bench = tiny(Some(WeightFormat::Q8_0), passes(&[130, 0], &[4, 2]));
    let mut steps = Vec::new();
    let cost = bench.run(&mut |done, total| steps.push((done, total)));
    let cost = cost.expect("room");
    assert_eq!(steps, [(0, 3), (1, 3), (2, 3)]);
    assert!(cost.read_rate > 1e8, "{}", cost.read_rate);
    let depths: Vec<_> = cost.depths.iter().map(|depth| depth.depth).collect();
    assert_eq!(depths, [130, 0]);
    for depth in &cost.depths {
        let rows: Vec<_> = depth.rows.iter().map(|row| row.rows).collect();
        assert_eq!(rows, [4, 2]);
        assert!(depth.rows.iter().all(|row| row.seconds > 0.0 && row.ratio > 0.0));
    }
    assert_eq!(cost.depths[1].kv_rate, None);
    // Sequences are numbered from 0 again: every one was closed.
    let fresh = tiny(None, passes(&[0], &[1])).model.open();
    assert_eq!(bench.model.open(), fresh);
}

#[test]
fn a_filled_sequence_holds_its_first_positions_again() {
    let mut bench = tiny(Some(WeightFormat::Q8_0), passes(&[0], &[1]));
    let sequence = bench.fill(150).expect("room");
    assert_eq!(bench.model.committed(sequence), 150);
    let key = |position| {
        let (mut key, mut value) = ([0.0; 32], [0.0; 32]);
        let at = foretoken_model::KvPosition { layer: 1, head: 1, position };
        bench.model.key_value(sequence, at, &mut key, &mut value);
        (key, value)
    };
    assert_eq!(key(149), key(149 - 2 * CHUNK));
    assert_ne!(key(149), key(148));
}

#[test]
fn mistakes_are_named() {
    let refuse = |passes| load(&TINY, None, passes).err().expect("a mistake").to_string();
    assert_eq!(refuse(passes(&[0], &[0])), "rows is 0; it must be between 1 and 1024");
    assert_eq!(refuse(passes(&[0], &[1025])), "rows is 1025; it must be between 1 and 1024");
    assert_eq!(
        refuse(passes(&[131_070], &[1, 8])),
        "131070 positions and 8 rows do not fit the context of 131072; choose fewer"
    );
    assert_eq!(
        refuse(Passes { rounds: 0, ..passes(&[0], &[1]) }),
        "rounds is 0; it must be at least 1"
    );
    let smol = Shape::parse("smol-135m").expect("a shape");
    let error = load(smol, Some(WeightFormat::Q4K), passes(&[0], &[1]))
        .err()
        .expect("576 is no whole block")
        .to_string();
    assert!(error.ends_with("no multiple of its block of 256"), "{error}");
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(&[1.0]), 1.0);
    assert_eq!(median(&[1.0, 3.0]), 2.0);
    assert_eq!(median(&[1.0, 3.0, 9.0]), 3.0);
}
