//! Texts that are known before they are written: predicted ones draft, forced ones are measured on.

use std::fs;
use std::path::Path;

use super::{foretoken, json, refusal};

const OLD: &str = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n";
const NEW: &str = "def add(a, b):\n    return a + b\n\n\ndef mul(a, b):\n    return a * b\n";

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file");
    path.to_string_lossy().into_owned()
}

#[test]
fn a_prediction_drafts_in_front_and_changes_no_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let generate = ["generate", "-p", "def add(a, b):", "--max-tokens", "60", "--json"];
    for sampling in [&[][..], &["--temperature", "0.8", "--seed", "7"]] {
        let plain = json(&[&generate, sampling, &["--drafter", "none"]].concat());
        let text = plain["text"].as_str().expect("a text");
        let right = write(folder.path(), "right", text.replacen("return", "RETURN", 1));
        let other = write(folder.path(), "other", OLD.repeat(40));
        for (drafter, named) in [
            ("auto", "prediction+model"),
            ("suffix", "prediction+suffix"),
            ("prediction", "prediction"),
            ("suffix+prediction", "suffix+prediction"),
            ("none", "none"),
        ] {
            for file in [&right, &other] {
                let flags = ["--prediction", file, "--drafter", drafter];
                let drafted = json(&[&generate, sampling, &flags].concat());
                assert_eq!(drafted["tokens"], plain["tokens"], "{named} {file}");
                assert_eq!(drafted["drafter"], named);
                let mean = drafted["stats"]["mean_accepted_length"].as_f64().expect("a number");
                assert!(mean > 4.0 || named == "none" || *file == other, "{named}: {mean}");
                assert!(drafted.get("forced").is_none());
            }
        }
    }
}

#[test]
fn a_forced_text_is_the_files_whole_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "new.py", NEW.repeat(12));
    let force = ["--force-text", &file, "--drafter", "suffix"];
    let object = json(&[&["generate", "-p", OLD, "--json"], &force[..]].concat());
    assert_eq!(object["text"], NEW.repeat(12));
    assert_eq!((&object["forced"], &object["finish_reason"]), (&true.into(), &"length".into()));
    assert!(object["tokens"].as_array().expect("tokens").len() > 256, "more than by default");
    assert!(object["stats"]["mean_accepted_length"].as_f64() > Some(4.0));
    let short = ["generate", "-p", OLD, "--json", "--max-tokens", "9", "--compare"];
    let short = json(&[&short, &force[..]].concat());
    assert_eq!(short["tokens"].as_array().map(Vec::len), Some(9));
    assert!(short["baseline"]["speedup"].is_f64());
    let run = foretoken(&[&["generate", "-p", OLD], &force[..]].concat());
    assert_eq!(run.stdout, NEW.repeat(12) + "\n");
    assert!(run.stderr.trim_end().ends_with(", text forced"), "{}", run.stderr);
}

#[test]
fn drafters_are_compared_on_a_forced_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (write(folder.path(), "old", OLD), write(folder.path(), "new", NEW));
    let prompts = write(folder.path(), "prompts.txt", "Edit this.\n");
    let object = json(&[
        "bench",
        "generate",
        "demo-draft",
        "--prompts",
        &prompts,
        "--rounds",
        "1",
        "--json",
        "--prediction",
        &old,
        "--force-text",
        &new,
        "--drafter",
        "lookup,prediction",
    ]);
    assert_eq!(object["forced"], true);
    let passes = |at: usize| object["drafters"][at]["whole"]["passes"].as_u64().expect("a count");
    assert_eq!(object["drafters"][2]["drafter"], "prediction");
    assert_eq!(object["drafters"][0]["whole"]["tokens"], passes(0));
    assert!(passes(2) * 3 < passes(0) && passes(2) < passes(1), "{object}");
}

#[test]
fn mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = write(folder.path(), "empty", "");
    let long = write(folder.path(), "long", NEW.repeat(100));
    let bytes = write(folder.path(), "bytes", [0xFF, 0xFE]);
    let generate = |flags: &[&str]| refusal(&[&["generate", "-p", "x"], flags].concat());
    let prompts = ["--prompts", "testdata/prompts.txt", "--rounds", "1"];
    let cases = [
        generate(&["--prediction", "nowhere"]),
        generate(&["--prediction", &empty]),
        generate(&["--prediction", &bytes]),
        generate(&["--force-text", "nowhere"]),
        generate(&["--force-text", &empty]),
        generate(&["--force-text", &long]),
        generate(&["--force-text", &long, "--acceptance", "rejection"]),
        refusal(&[&["bench", "generate", "--force-text", &long], &prompts[..]].concat()),
        refusal(&[&["bench", "generate", "--prediction", &long], &prompts[..]].concat()),
        generate(&["--prediction", "-", "--force-text", "-"]),
        generate(&["--drafter", "suffix+prediction"]),
        generate(&["--prediction", &long, "--drafter", "none+lookup"]),
        refusal(&[&["bench", "generate", "--drafter", "lookup,prediction"], &prompts[..]].concat()),
        refusal(&["run", "--drafter", "prediction"]),
        refusal(&["run", "--prediction", &long]),
    ];
    let folder = folder.path().to_string_lossy();
    insta::assert_snapshot!("mistakes", cases.join("\n").replace(&*folder, "[folder]"));
}
