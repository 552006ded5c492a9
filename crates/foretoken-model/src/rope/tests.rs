//! Rotations against transformers' frequencies.

use serde_json::{Map, Value, json};

use super::Rotation;
use crate::config::{Config, KeyLists};
use crate::spec::{Rope, RopeScaling};

const KEYS: KeyLists = KeyLists {
    uses: &["rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor"],
    ignores: &[],
};

fn golden() -> Vec<Value> {
    let text = include_str!("../../../../testdata/goldens/rope.json");
    serde_json::from_str::<Value>(text).unwrap().as_array().unwrap().clone()
}

fn rotation(config: &Map<String, Value>, case: &Value) -> Rotation {
    let size = |key: &str| case[key].as_u64().unwrap() as usize;
    let config = Config::new(config, &[KEYS]);
    let rope = config.rope(size("head_size"), size("max_position_embeddings")).unwrap();
    assert!(config.unknown_rope_keys().unwrap().is_empty());
    Rotation::new(&rope, size("context"))
}

/// Angles, as `fill` shows them, are those of the golden frequencies.
fn assert_angles(rotation: &Rotation, case: &Value) {
    let frequencies = case["frequencies"].as_array().unwrap();
    let factor = case["attention_factor"].as_f64().unwrap();
    let mut out = vec![0.0; rotation.width()];
    assert_eq!(out.len(), 2 * frequencies.len());
    for position in [0, 1, 7, 500] {
        rotation.fill(position, &mut out);
        for (i, frequency) in frequencies.iter().enumerate() {
            let angle = f64::from(position) * frequency.as_f64().unwrap();
            let found = (f64::from(out[i]), f64::from(out[frequencies.len() + i]));
            let wanted = (angle.cos() * factor, angle.sin() * factor);
            // The goldens are f32, so an angle of 500 is exact to about 500 * 2^-24.
            let error = (found.0 - wanted.0).abs().max((found.1 - wanted.1).abs());
            assert!(error < 2e-4, "{case}: frequency {i} at {position}: {found:?} {wanted:?}");
        }
    }
}

#[test]
fn every_scaling_has_the_frequencies_of_transformers() {
    for case in golden() {
        let config = json!({ "rope_parameters": case["rope_parameters"] });
        assert_angles(&rotation(config.as_object().unwrap(), &case), &case);
    }
}

#[test]
fn the_older_spelling_means_the_same() {
    for case in golden() {
        let mut scaling = case["rope_parameters"].clone();
        let object = scaling.as_object_mut().unwrap();
        let theta = object.remove("rope_theta").unwrap();
        let kind = object.remove("rope_type").unwrap();
        object.insert("type".to_owned(), kind);
        let config = json!({ "rope_scaling": scaling, "rope_theta": theta });
        assert_angles(&rotation(config.as_object().unwrap(), &case), &case);
    }
}

#[test]
fn a_dynamic_rotation_is_the_plain_one_up_to_the_original_context() {
    let scaling = RopeScaling::Dynamic { factor: 4.0, original_context: 100 };
    let dynamic = Rope { theta: 1e4, dims: 16, scaling };
    let plain = Rope { scaling: RopeScaling::None, ..dynamic.clone() };
    assert_eq!(Rotation::new(&dynamic, 50), Rotation::new(&plain, 50));
    assert_eq!(Rotation::new(&dynamic, 100), Rotation::new(&plain, 100));
    assert_ne!(Rotation::new(&dynamic, 101), Rotation::new(&plain, 101));
}

#[test]
fn divisors_divide_each_frequency() {
    let plain = Rope { theta: 1e4, dims: 4, scaling: RopeScaling::None };
    let scaling = RopeScaling::PerFrequency { divisors: vec![1.0, 8.0] };
    let divided = Rotation::new(&Rope { scaling, ..plain.clone() }, 10);
    let plain = Rotation::new(&plain, 10);
    assert_eq!(divided.frequencies, [plain.frequencies[0], plain.frequencies[1] / 8.0]);
}

#[test]
fn settings_that_make_no_rotation_are_refused() {
    let cases = [
        (json!({ "rope_theta": 1.0 }), "`rope_theta` is 1; it must be above 1"),
        (json!({ "rope_theta": "x" }), "`rope_theta` is \"x\"; it must be a number"),
        (json!({ "partial_rotary_factor": 0.5 }), "`partial_rotary_factor` is 0.5; it must be 1"),
        (
            json!({ "rope_scaling": { "type": "longrope" } }),
            "`rope_scaling.rope_type` is longrope; it must be default, linear, dynamic, llama3 or yarn",
        ),
        (json!({ "rope_scaling": { "type": "linear" } }), "`rope_scaling.factor` is missing"),
        (
            json!({ "rope_scaling": { "type": "linear", "factor": -1.0 } }),
            "`rope_scaling.factor` is -1; it must be a finite number above 0",
        ),
        (json!({ "rope_scaling": 3 }), "`rope_scaling` is 3; it must be an object"),
        (
            json!({ "rope_parameters": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                "high_freq_factor": 4.0 } }),
            "`rope_parameters.high_freq_factor` is 4; it must be above low_freq_factor, 4",
        ),
    ];
    for (config, message) in cases {
        let config = Config::new(config.as_object().unwrap(), &[KEYS]).rope(64, 2048);
        let error = config.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_key_of_another_scaling_is_unknown() {
    let config = json!({ "rope_scaling": { "type": "linear", "factor": 2.0, "beta_fast": 32 } });
    let config = Config::new(config.as_object().unwrap(), &[KEYS]).unknown_rope_keys().unwrap();
    assert_eq!(config, [("rope_scaling.beta_fast".to_owned(), "32".to_owned())]);
}
