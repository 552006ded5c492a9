//! Drafters compared on prompts: the shape of the report and the laws between its values, never a time.

use std::fs;

use serde_json::Value;

use super::{Run, foretoken, foretoken_with, json, refusal};

/// A small model by the portable code: the same counts on every machine.
const STEADY: &[&str] = &[
    "bench",
    "generate",
    "demo-draft",
    "--isa",
    "scalar",
    "--threads",
    "1",
    "--max-tokens",
    "80",
    "--rounds",
    "1",
    "--prompts",
    PROMPTS,
];
const PROMPTS: &str = "testdata/bench_prompts.jsonl";

/// The report with times and speeds taken out.
fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                let times = ["seconds", "per_second", "speedup"];
                let measured = times.iter().any(|time| key.contains(time));
                assert!(!measured || value.is_f64(), "{key} is a float");
                (key.clone(), if measured { "measured".into() } else { redacted(value) })
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(redacted).collect(),
        other => other.clone(),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn a_report_is_one_object() {
    let flags = ["--drafter", "lookup", "--seed", "3", "--limit", "2", "--json"];
    let object = json(&[STEADY, &flags].concat());
    let pretty = serde_json::to_string_pretty(&redacted(&object)).expect("JSON");
    insta::assert_snapshot!("report", pretty);
}

#[test]
fn values_agree_with_each_other() {
    let prompts = ["bench", "generate", "--prompts", PROMPTS, "--max-tokens", "40", "--json"];
    let flags = ["--drafter", "none,model,model+lookup", "--temperature", "0.7", "--rounds", "2"];
    let object = json(&[prompts.as_slice(), &flags].concat());
    assert!(object["seed"].is_u64(), "a seed was drawn");
    let drafters = object["drafters"].as_array().expect("an array");
    let names: Vec<_> = drafters.iter().map(|drafter| &drafter["drafter"]).collect();
    assert_eq!(names, ["none", "model", "model+lookup"]);
    for part in ["whole", "loop_free"] {
        let plain = &drafters[0][part];
        assert_eq!((number(&plain["tokens_per_pass"]), number(&plain["speedup"])), (1.0, 1.0));
        assert_eq!(number(&plain["nodes_per_pass"]), 1.0);
        for drafter in drafters {
            let part = &drafter[part];
            let of = |key: &str| number(&part[key]);
            let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} and {b}: {part}");
            close(of("tokens_per_pass"), of("tokens") / of("passes"));
            close(of("speedup"), of("tokens_per_second") / number(&plain["tokens_per_second"]));
            let per_pass =
                ["draft", "verify", "overhead"].map(|part| of(&format!("{part}_seconds_per_pass")));
            let prompts = number(&object["prompts"]);
            close(per_pass.iter().sum(), of("decode_seconds") / (of("passes") - prompts));
        }
    }
    let tokens = |drafter: &Value| drafter["whole"]["tokens"].clone();
    assert!(drafters.iter().all(|drafter| tokens(drafter) == tokens(&drafters[0])));
    let merged = &drafters[2]["whole"];
    assert!(number(&merged["tokens_per_pass"]) > 1.0, "drafts are accepted: {merged}");
    let categories = object["categories"].as_array().expect("an array");
    let sum = |at: usize| -> f64 {
        categories.iter().map(|c| number(&c["drafters"][at]["whole"]["passes"])).sum()
    };
    assert_eq!(categories.iter().map(|c| &c["category"]).collect::<Vec<_>>(), ["code", "prose"]);
    assert_eq!(sum(1), number(&drafters[1]["whole"]["passes"]), "each prompt has its category");
}

#[test]
fn a_table_has_two_lines_per_drafter_and_category() {
    let Run { code, stdout, stderr } =
        foretoken(&[STEADY, &["--limit", "2", "--drafter", "lookup"]].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let (place, lines) = stdout.split_once('\n').expect("lines");
    assert!(
        place.starts_with("foretoken-demo-draft on ") && place.ends_with(", 1 threads"),
        "{place}"
    );
    // Times become `t`; widths stay.
    let shown = lines.lines().map(|line| {
        let words = line.split_whitespace().enumerate();
        let timed = line.starts_with("none") || line.starts_with("lookup");
        let words = words.map(|(at, word)| if timed && (4..=8).contains(&at) { "t" } else { word });
        words.collect::<Vec<_>>().join(" ")
    });
    insta::assert_snapshot!("table", shown.collect::<Vec<_>>().join("\n"));
    let lengths: Vec<_> = stdout.lines().filter_map(|line| line.find("whole")).collect();
    assert!(lengths.iter().all(|&at| at == lengths[0]), "{stdout}");
}

#[test]
fn chats_and_prompts_from_standard_input() {
    let quick =
        ["bench", "generate", "--prompts", "-", "--max-tokens", "9", "--rounds", "1", "--json"];
    let run = |more: &[&str], input: &str| -> (Value, String) {
        let run = foretoken_with(&[quick.as_slice(), more].concat(), &[], input);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        (serde_json::from_str(&run.stdout).expect("JSON"), run.stderr)
    };
    let (object, _) = run(&[], "def f(x):\n\nThe dog\n");
    assert_eq!(object["prompts"], 2);
    let talk = r#"{"messages": [{"role": "user", "content": "Tell me a story."}]}"#;
    for more in [&[][..], &["--chat"]] {
        let (object, warnings) = run(more, talk);
        assert_eq!((&object["prompts"], warnings.as_str()), (&1.into(), ""));
    }
    let long = "word ".repeat(2000);
    let (object, warnings) = run(&["--acceptance", "typical"], &format!("{long}\nThe dog\n"));
    assert_eq!((&object["prompts"], &object["skipped"]), (&1.into(), &1.into()));
    assert!(warnings.starts_with("warning: `-` line 1: left out: the prompt has"), "{warnings}");
    assert_eq!(object["lossless"], false);
}

#[test]
fn a_context_that_holds_no_prompt() {
    let run = foretoken(&[STEADY, &["--context", "2"]].concat());
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    let last = run.stderr.lines().last();
    let expected = "error: `testdata/bench_prompts.jsonl`: the context holds none of its prompts; raise --context, or \
                    shorten them";
    assert_eq!(last, Some(expected));
    assert_eq!(run.stderr.matches("left out").count(), 4);
}

#[test]
fn mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let bench = |more: &[&str]| refusal(&[&["bench", "generate"], more].concat());
    let with = |more: &[&str]| bench(&[&["--prompts", PROMPTS], more].concat());
    let (empty, bad) = (file("empty.txt", "\n"), file("bad.jsonl", "{\"text\": \"a\"}\n{\n"));
    let talk = file("talk.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n");
    let cases = [
        bench(&[]),
        bench(&["--prompts", "nowhere.txt"]),
        bench(&["--prompts", &empty]),
        bench(&["--prompts", &bad]),
        bench(&["testdata/gguf/llama-quantised.gguf", "--prompts", &talk]),
        with(&["testdata/gguf/llama-quantised.gguf", "--chat"]),
        with(&["testdata/gguf/llama-quantised.gguf"]),
        with(&["--limit", "0"]),
        with(&["--rounds", "0"]),
        with(&["--max-tokens", "0"]),
        with(&["--drafter", "lookup,lookup"]),
        with(&["--drafter", "auto,lookup,model"]),
        with(&["--drafter", "lookup,"]),
        with(&["--drafter", "lookup,guess"]),
        with(&["--temperature", "-1"]),
        with(&["--typical-alpha", "1"]),
    ];
    let folder = folder.path().to_string_lossy();
    insta::assert_snapshot!("mistakes", cases.join("\n").replace(&*folder, "[folder]"));
}
