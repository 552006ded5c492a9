//! What passes cost: the shape of the reports and the laws between their values, never a time.

use std::fs;

use serde_json::Value;

use super::{Run, foretoken, foretoken_with, json, refusal};

const TINY: &str = "testdata/gguf/llama-quantised.gguf";
/// Few passes of a small model.
const QUICK: &[&str] = &["--threads", "1", "--rounds", "2", "--rows", "4,1,2,2"];

fn forward(more: &[&str]) -> Vec<String> {
    let words = [&["bench", "forward"], more, QUICK].concat();
    words.into_iter().map(str::to_owned).collect()
}

fn report(more: &[&str]) -> Value {
    let words = forward(&[more, &["--json"]].concat());
    json(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn one_combination_is_one_object() {
    let object = report(&[TINY, "--depth", "8"]);
    let expected = ["shape", "quant", "threads", "depth", "weight_bytes", "read_gb_per_s", "rows"];
    assert_eq!(keys(&object), expected);
    assert_eq!(object["shape"], "llama-quantised");
    assert_eq!(object["quant"], "q8_0");
    assert_eq!((&object["threads"], &object["depth"]), (&1.into(), &8.into()));
    // All tensors but the norms, which `inspect` reports as f32.
    assert_eq!(object["weight_bytes"], 171_456 - 5120);
    let rows = object["rows"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| &row["rows"]).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(rows[0]["ratio"], 1.0);
    for row in rows {
        assert_eq!(keys(row), ["rows", "seconds", "ratio", "gb_per_s", "share"]);
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} and {b}");
        let (seconds, rate) = (number(&row["seconds"]), number(&row["gb_per_s"]));
        close(number(&row["ratio"]), seconds / number(&rows[0]["seconds"]));
        close(rate, number(&object["weight_bytes"]) / seconds / 1e9);
        close(number(&row["share"]), rate / number(&object["read_gb_per_s"]));
    }
}

#[test]
fn several_combinations_are_an_array() {
    let array = report(&[TINY, "--depth", "0,50", "--quant", "q8_0,f32"]);
    let of = |object: &Value| {
        let quant = object["quant"].as_str().expect("a name").to_owned();
        (quant, object["depth"].as_u64(), object["weight_bytes"].as_u64())
    };
    // Everything but the norms.
    let matrices = 214_272 - 5120 / 4;
    let (q8_0, f32) = (Some(matrices * 34 / 32), Some(matrices * 4));
    let [name, other] = ["q8_0", "f32"].map(str::to_owned);
    assert_eq!(
        array.as_array().expect("an array").iter().map(of).collect::<Vec<_>>(),
        [
            (name.clone(), Some(0), q8_0),
            (name, Some(50), q8_0),
            (other.clone(), Some(0), f32),
            (other, Some(50), f32),
        ]
    );
    assert!(array[0].get("kv_gb_per_s").is_none(), "nothing is read at depth 0");
}

#[test]
fn a_table_and_a_plot() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cost.svg").to_string_lossy().into_owned();
    let words = forward(&[TINY, "--quant", "bf16,q4_0", "--depth", "3", "--plot", &file]);
    let Run { code, stdout, stderr } =
        foretoken(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> =
        stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 2 + 2 * 3, "{stdout}");
    assert!(stdout.starts_with("llama-quantised on "), "{stdout}");
    let header = ["quant", "threads", "depth", "rows", "ms", "ratio", "GB/s", "read", "share"];
    assert_eq!(lines[1], header);
    assert_eq!(lines[2][..4], ["bf16", "1", "3", "1"]);
    assert_eq!(lines[7][..4], ["q4_0", "1", "3", "4"]);
    let svg = fs::read_to_string(file).expect("the plot");
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for text in ["new rows per pass", "bf16, 1 threads, depth 3", "q4_0, 1 threads, depth 3"] {
        assert!(svg.contains(text), "the plot says {text}");
    }
}

#[test]
fn a_curve_is_kept_and_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let place = [("FORETOKEN_CACHE", &*cache.to_string_lossy())];
    let curve = |environment: &[(&str, &str)], more: &[&str]| -> Value {
        let words = [&["bench", "curve", "--threads", "1", "--json"], more].concat();
        let run = foretoken_with(&words, environment, "");
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
        serde_json::from_str(&run.stdout).expect("JSON")
    };
    let first = curve(&place, &[]);
    assert_eq!(keys(&first), ["model", "quant", "threads", "rows"]);
    assert_eq!(curve(&place, &[]), first, "times are never the same twice, unless they are kept");
    let files = || fs::read_dir(&cache).expect("the cache").flatten().collect::<Vec<_>>();
    assert_eq!(files().len(), 1);
    fs::write(files()[0].path(), "{\"key\": 1}").expect("a damaged file");
    let again = curve(&place, &[]);
    assert_eq!(again["rows"][0]["rows"], 1);
    assert_eq!(curve(&place, &[]), again);
    curve(&place, &["--quant", "q8_0"]);
    assert_eq!(files().len(), 2);
    let home = folder.path().to_string_lossy();
    curve(&[("HOME", &home)], &[]);
    assert!(folder.path().join(".cache/foretoken").is_dir());
    curve(&[("HOME", "/dev/null"), ("XDG_CACHE_HOME", &home)], &[]);
    assert!(folder.path().join("foretoken").is_dir());
    curve(&[], &[]);
}

#[test]
fn mistakes() {
    let forward = |more: &[&str]| refusal(&[&["bench", "forward"], more].concat());
    let cases = [
        refusal(&["bench"]),
        forward(&["--shape", "llama-2b"]),
        forward(&["demo", "--shape", "llama-1b"]),
        forward(&["--quant", "q3_k"]),
        forward(&["--quant", "q8_0,q4_k"]),
        forward(&["--shape", "smol-135m", "--quant", "q4_k"]),
        forward(&["--rows", "0"]),
        forward(&["--rows", "1,1025"]),
        forward(&["--rows", ""]),
        forward(&["--rounds", "0"]),
        forward(&["--threads", "0"]),
        forward(&["--threads", "5000"]),
        forward(&["--depth", "64,1000"]),
        forward(&["--shape", "llama-1b", "--depth", "18446744073709551615"]),
        forward(&["--plot", "nowhere/x.svg"]),
        forward(&["--plot", "crates"]),
        forward(&["nowhere.gguf"]),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}
