//! Medusa heads trained by the command: what is written, from where a run goes on, and what is refused.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{command, foretoken, foretoken_with, json, refusal};

/// Arguments of a training of seconds, with text that repeats itself.
fn arguments(folder: &Path, out: &str, more: &[&str]) -> Vec<String> {
    let mut text = String::new();
    for index in 0..40 {
        writeln!(text, "{{\"text\": \"The cat number {index} sat on the mat, and sat.\"}}")
            .expect("text");
    }
    let data = folder.join("data.jsonl");
    fs::write(&data, text).expect("the data");
    let (data, out) = (data.display().to_string(), folder.join(out).display().to_string());
    let fixed =
        "train medusa demo-draft --length 24 --batch 2 --steps 4 --validate-every 2 --threads 1";
    let fixed = fixed.split_whitespace().map(str::to_owned);
    let fixed = fixed.chain(["--data".to_owned(), data, "--out".to_owned(), out]);
    fixed.chain(more.iter().map(|word| (*word).to_owned())).collect()
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn heads_are_trained_and_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = arguments(folder.path(), "out", &["--heads", "2", "--json"]);
    let first = json(&words(&made));
    let measured = |name: &str| first["validation"][name].as_f64().expect(name);
    for name in ["head 1 top1", "head 2 top5"] {
        assert!((0.0..=1.0).contains(&measured(name)), "{first}");
    }
    assert!((1.0..=3.0).contains(&measured("tokens per step")), "{first}");
    let out = folder.path().join("out");
    let config = fs::read_to_string(out.join("config.json")).expect("the configuration");
    assert!(config.contains("\"medusa_num_heads\": 2"), "{config}");
    let from = out.display().to_string();
    let second = json(&words(&arguments(folder.path(), "more", &["--from", &from, "--json"])));
    let loss = |object: &Value| object["loss"].as_f64().expect("a loss");
    assert!(loss(&second) < loss(&first), "{second} behind {first}");
}

#[cfg(target_os = "linux")]
#[test]
fn heads_to_go_on_with_are_closed_once_they_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = foretoken(&words(&arguments(folder.path(), "first", &["--heads", "1"])));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let from = folder.path().join("first").display().to_string();
    let mut line = arguments(folder.path(), "more", &["--from", &from]);
    let at = line.iter().position(|word| word == "--steps").expect("it is given");
    "1000000".clone_into(&mut line[at + 1]);
    let mut child = command(&words(&line)).stderr(Stdio::null()).spawn().expect("it starts");
    // The first checkpoint comes before the first step.
    while !folder.path().join("more/checkpoint").exists() {
        assert_eq!(child.try_wait().expect("a child"), None, "it runs until it is killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mapped = fs::read_to_string(format!("/proc/{}/maps", child.id())).expect("its memory");
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    assert!(mapped.contains("foretoken"), "{mapped}");
    assert!(!mapped.contains("medusa_lm_head.safetensors"), "{mapped}");
}

#[test]
fn continuations_are_made_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = ["--heads", "1", "--self-distill", "3", "--max-tokens", "8", "--labels", "soft"];
    let made = [&arguments(folder.path(), "out", &more)[..], &["--json".to_owned()]].concat();
    let mut data = File::options().append(true).open(folder.path().join("data.jsonl")).expect("it");
    data.write_all(b"no JSON\n").expect("the data");
    let run = foretoken(&words(&made));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("warning: bad lines skipped: 1; "), "{}", run.stderr);
    let printed: Value = serde_json::from_str(&run.stdout).expect("one object");
    assert_eq!(printed["skipped_lines"], 1);
    let file = folder.path().join("out/continuations.jsonl");
    let text = fs::read_to_string(&file).expect("the continuations");
    assert_eq!(text.lines().count(), 3);
    assert!(
        text.lines().all(|line| line.starts_with("{\"tokens\":[") && line.contains("\"prompt\":"))
    );

    // A run that died behind one line and a half makes the rest again.
    let half = text.find('\n').expect("a line") + 20;
    fs::write(file.with_file_name("continuations.part.jsonl"), &text[..half]).expect("a part");
    fs::remove_file(&file).expect("it is there");
    let again = foretoken(&words(&made));
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file).expect("the continuations"), text);

    let other = arguments(folder.path(), "out", &["--self-distill", "4"]);
    let message = refusal(&words(&other));
    assert!(message.contains("the continuations there have count 3, not 4"), "{message}");

    // A run that begins anew keeps them, unless others are wanted; a mistake touches none.
    let other_text = text.replace("\"prompt\":", "\"prompt\": ");
    fs::write(&file, &other_text).expect("the continuations");
    let cold = [&made[..], &["--restart".to_owned(), "--temperature=-1".to_owned()]].concat();
    let message = refusal(&words(&cold));
    assert!(message.starts_with("2 error: --temperature: temperature is -1; "), "{message}");
    let anew = |more: &[&str]| {
        let run = foretoken(&[&words(&made)[..], &["--restart"], more].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        fs::read_to_string(&file).expect("the continuations")
    };
    assert_eq!(anew(&[]), other_text);
    assert_ne!(anew(&["--seed", "1"]), other_text);
}

#[test]
fn continuations_end_where_they_loop() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = ["--heads", "1", "--self-distill", "2", "--temperature", "0", "--max-tokens", "200"];
    let run = foretoken(&words(&arguments(folder.path(), "out", &more)));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = fs::read_to_string(folder.path().join("out/continuations.jsonl")).expect("them");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let tokens: Vec<u32> = serde_json::from_value(line["tokens"].clone()).expect("tokens");
        let continuation = &tokens[line["prompt"].as_u64().expect("a length") as usize..];
        assert!((18..200).contains(&continuation.len()), "greedy text of the demo loops: {line}");
        let run = |end: usize| &continuation[end - 16..end];
        let last = continuation.len();
        assert_eq!((16..=last).filter(|&end| run(end) == run(last)).count(), 3, "{line}");
    }
}

#[test]
fn a_model_and_its_heads_are_one_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = ["--joint", "--stage-one", "0.5", "--heads", "2", "--json"];
    let made = json(&words(&arguments(folder.path(), "both", &more)));
    let measured = |name: &str| made["validation"][name].as_f64().expect(name);
    assert!(measured("base perplexity") > 1.0 && measured("base KL") > 0.0, "{made}");
    let both = folder.path().join("both").display().to_string();
    let generate = ["generate", &both, "-p", "The cat", "--max-tokens", "12", "--temperature", "0"];
    let generate = |more: &[&str]| json(&[&generate[..], more, &["--json"]].concat());
    let tree = ["--drafter", "medusa", "--medusa-heads", &both, "--medusa-choices", "auto:8"];
    let drafted = generate(&tree);
    assert!(drafted["stats"]["drafted"].as_u64() > Some(0), "{drafted}");
    assert_eq!(drafted["tokens"], generate(&["--drafter", "none"])["tokens"]);

    // Another method's checkpoint is another run's.
    let other = foretoken(&words(&arguments(folder.path(), "both", &["--heads", "2"])));
    let last = other.stderr.lines().last().unwrap_or_default();
    assert_eq!(other.code, Some(1));
    assert!(last.contains("its method is medusa-2, not medusa; "), "{last}");
}

#[test]
fn heads_for_other_runs_do_not_matter() {
    let environment = [("FORETOKEN_DRAFT_MEDUSA_HEADS", "testdata/medusa/v01")];
    let run = |drafter: &str| {
        let line = ["generate", "-p", "The cat", "--max-tokens", "3", "--temperature", "0"];
        let trees = ["--draft-width", "2", "--drafter", drafter];
        foretoken_with(&[&line[..], &trees].concat(), &environment, "")
    };
    for drafter in ["none", "lookup", "suffix+lookup"] {
        let unused = run(drafter);
        assert_eq!(unused.code, Some(0), "{drafter}: {}", unused.stderr);
    }
    for drafter in ["auto", "model", "lookup+model"] {
        let used = run(drafter);
        assert_eq!(used.code, Some(2), "{drafter}: {}", used.stderr);
        assert!(used.stderr.contains("heads of a draft model help with chains"), "{}", used.stderr);
    }
}

/// A file of two prompts.
fn prompts(folder: &Path) -> String {
    let file = folder.join("prompts.txt");
    fs::write(&file, "The cat number 3 sat\nThe cat number 8\n").expect("the prompts");
    file.display().to_string()
}

/// What `inspect` says that heads were measured at.
fn measured(heads: &str) -> Value {
    let said = json(&["inspect", "demo-draft", "--medusa-heads", heads, "--json"]);
    said["medusa_heads"]["calibration"].clone()
}

#[test]
fn heads_are_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let prompts = prompts(folder.path());
    let made = arguments(folder.path(), "out", &["--heads", "2", "--calibrate", &prompts]);
    let run = foretoken(&words(&made));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let heads = folder.path().join("out").display().to_string();
    let temperatures = |measured: &Value| -> Vec<f64> {
        let each = measured.as_array().expect("measurements").iter();
        each.map(|each| each["temperature"].as_f64().expect("a temperature")).collect()
    };
    assert_eq!(temperatures(&measured(&heads)), [0.0, 0.8]);
    for temperature in ["temperature 0: ", "temperature 0.8: "] {
        assert!(run.stderr.lines().any(|line| line.starts_with(temperature)), "{}", run.stderr);
    }

    let line =
        ["train", "calibrate", "demo-draft", "--medusa-heads", &heads, "--prompts", &prompts];
    let line = [&line[..], &["--max-tokens", "24", "--threads", "1"]].concat();
    let printed = json(&[&line[..], &["--temperature", "0.5,0", "--seed", "3", "--json"]].concat());
    assert_eq!(printed["text"], "prompts.txt");
    assert_eq!(temperatures(&printed["measurements"]), [0.5, 0.0]);
    for measured in printed["measurements"].as_array().expect("measurements") {
        let ranks = measured["ranks"].as_array().expect("heads");
        let of_head =
            |head: &Value| head.as_array().expect("ranks").iter().map(Value::as_f64).sum();
        let right: Vec<Option<f64>> = ranks.iter().map(of_head).collect();
        assert_eq!(right.len(), 2, "{measured}");
        assert!(right.iter().all(|sum| sum.is_some_and(|sum| (0.0..=1.0).contains(&sum))));
    }
    // What was printed is what was written.
    let written = measured(&heads);
    let positions = |measured: &Value| -> Vec<u64> {
        let each = measured.as_array().expect("measurements").iter();
        each.map(|each| each["positions"].as_u64().expect("a number")).collect()
    };
    assert_eq!(temperatures(&written), [0.5, 0.0]);
    assert_eq!(positions(&written), positions(&printed["measurements"]));
    assert!(positions(&written).iter().all(|count| *count > 0), "{written}");

    let refused = |more: &[&str]| refusal(&[&line[..], more].concat());
    let cold = "2 error: --temperature: temperature is -1; it must be 0 (greedy) or a finite number of at least \
                0.000001";
    assert_eq!(refused(&["--temperature", "-1"]), cold);
    let nowhere = |flag: &str, more: &[&str]| {
        let at = line.iter().position(|word| *word == flag).expect("it is there");
        refusal(&[&line[..=at], &["nowhere"], &line[at + 2..], more].concat())
    };
    assert!(nowhere("--medusa-heads", &[]).starts_with("1 error: --medusa-heads: "));
    assert_eq!(nowhere("--medusa-heads", &["--temperature", "0,-1"]), cold, "before anything else");
    assert!(nowhere("--prompts", &[]).starts_with("1 error: cannot read `nowhere`: "));
    assert_eq!(measured(&heads), written, "a refusal writes nothing");
}

#[test]
fn prompts_of_a_measurement_are_read_as_its_options_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = ["--heads", "1", "--calibrate"];
    let trained = |prompts: &str, lines: &str| {
        let file = folder.path().join(prompts);
        fs::write(&file, lines).expect("the prompts");
        foretoken(&words(&arguments(
            folder.path(),
            "out",
            &[&more[..], &[&file.display().to_string()]].concat(),
        )))
    };
    let out = folder.path().join("out");
    let talk = "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me a story.\"}]}\n";
    let bad = trained("bad.jsonl", "{\"text\": \"The cat\"}\n{}\n");
    assert_eq!(bad.code, Some(1), "{}", bad.stderr);
    let last = bad.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("bad.jsonl` line 2: no prompt; "), "{last}");
    assert!(!out.join("checkpoint").exists(), "prompts are read before anything is trained");
    let made = trained("talk.jsonl", talk);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(out.join("medusa_calibration.json").exists());

    let file = folder.path().join("long.jsonl");
    let long = "word ".repeat(60);
    fs::write(&file, format!("{{\"text\": \"{long}\"}}\n{talk}")).expect("the prompts");
    let (heads, file) = (out.display().to_string(), file.display().to_string());
    let set = [("FORETOKEN_MODEL", "demo-draft"), ("FORETOKEN_MEDUSA_HEADS", &heads)];
    let limits = [("FORETOKEN_MAX_TOKENS", "16"), ("FORETOKEN_TEMPERATURE", "0.4")];
    let set = [&set[..], &limits, &[("FORETOKEN_SEED", "7")]].concat();
    let line = ["train", "calibrate", "--prompts", &file, "--threads", "1", "--json"];
    let run = |more: &[&str]| foretoken_with(&[&line[..], more].concat(), &set, "");
    let some = run(&["--context", "48"]);
    assert_eq!(some.code, Some(0), "{}", some.stderr);
    let warning = format!("warning: `{file}` line 1: left out: the prompt has ");
    assert!(some.stderr.starts_with(&warning), "{}", some.stderr);
    assert_eq!(some.stderr.lines().count(), 1, "{}", some.stderr);
    let printed: Value = serde_json::from_str(&some.stdout).expect("one object");
    assert_eq!(printed["measurements"][0]["temperature"], 0.4);
    let none = run(&["--context", "4"]);
    let wanted = format!(
        "error: `{file}`: the context holds none of its prompts; raise --context, or shorten them"
    );
    assert_eq!((none.code, none.stderr.lines().last()), (Some(1), Some(wanted.as_str())));
}

#[test]
fn unknown_keys_of_a_measured_model_are_warnings_if_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a folder");
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/foretoken-demo-draft");
    for entry in fs::read_dir(demo).expect("the model") {
        let path = entry.expect("a file").path();
        fs::copy(&path, model.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let made = foretoken(&words(&arguments(folder.path(), "out", &["--heads", "1"])));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let config = fs::read_to_string(model.join("config.json")).expect("the configuration");
    let config = config.replacen('{', "{\"gate_of_odd_layers\": 3,", 1);
    fs::write(model.join("config.json"), config).expect("the configuration");
    let (model, prompts) = (model.display().to_string(), prompts(folder.path()));
    let heads = folder.path().join("out").display().to_string();
    let line = ["train", "calibrate", &model, "--medusa-heads", &heads, "--prompts", &prompts];
    let line = [&line[..], &["--max-tokens", "16", "--temperature", "0"]].concat();
    assert!(refusal(&line).contains("gate_of_odd_layers"));
    let run = foretoken(&[&line[..], &["--allow-unknown-config"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.starts_with("warning: model: "), "{}", run.stderr);
}

#[test]
fn sequences_suit_the_model_and_its_heads() {
    let folder = tempfile::tempdir().expect("a folder");
    let of_length = |length: &str, more: &[&str]| {
        let mut line = arguments(folder.path(), "out", more);
        let at = line.iter().position(|word| word == "--length").expect("it is given");
        length.clone_into(&mut line[at + 1]);
        foretoken(&words(&line))
    };
    let too_short = "error: --length: head 4 learns nothing from 4 tokens; give more";
    for (length, more, wanted) in [
        ("1025", &[][..], "error: --length: the model's context ends at 1024 tokens"),
        ("1025", &["--joint"], "error: --length: the model's context ends at 1024 tokens"),
        ("4", &[], too_short),
        ("4", &["--joint", "--self-distill", "5"], too_short),
    ] {
        let run = of_length(length, more);
        assert_eq!((run.code, run.stderr.lines().last()), (Some(2), Some(wanted)));
    }
    let shortest = of_length("5", &["--json"]);
    let printed: Value = serde_json::from_str(&shortest.stdout).expect("one object");
    assert!(printed["validation"]["head 4 top1"].is_f64(), "{printed}");
    assert!(printed["validation"]["tokens per step"].is_f64(), "{printed}");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let heads = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/medusa/v01");
    let made = foretoken(&words(&arguments(folder.path(), "shared", &["--shared-output"])));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let shared = &folder.path().join("shared").display().to_string();
    let cases: [(&[&str], &str); 13] = [
        (
            &["--decay", "0"],
            "2 error: invalid value '0' for '--decay <X>': write a number above 0 and at most 1, such as 0.8; \
             see --help",
        ),
        (
            &["--shared-output", "--layout", "vllm"],
            "2 error: --layout: vLLM reads no heads that share the output matrix; leave it out",
        ),
        (
            &["--from", shared, "--layout", "vllm"],
            "2 error: --layout: vLLM reads no heads that share the output matrix; leave it out",
        ),
        (
            &["--from", heads, "--heads", "2"],
            "2 error: the argument '--from <HEADS>' cannot be used with '--heads <N>'; see --help",
        ),
        (
            &["--layers", "18446744073709551615"],
            "1 error: training 18446744073709551615 parameters needs about ",
        ),
        (&["--temperature", "1"], "2 error: the following required arguments were not provided: "),
        (&["--from", heads], "1 error: --from: "),
        (&["--from", "nowhere"], "1 error: --from: model `nowhere` is neither "),
        (&["--keep", "ce"], "2 error: the following required arguments were not provided: --joint"),
        (
            &["--joint", "--stage-one", "1.5"],
            "2 error: invalid value '1.5' for '--stage-one <SHARE>': write a number from 0 to 1, such as 0.5; \
             see --help",
        ),
        (
            &["--joint", "--backbone-rate", "0"],
            "2 error: invalid value '0' for '--backbone-rate <RATE>': write a number above 0, such as 0.2 or \
             1e-4; see --help",
        ),
        (
            &["--joint", "--learning-rate", "0"],
            "2 error: invalid value '0' for '--learning-rate <RATE>': write a number above 0, such as 0.2 or \
             1e-4; see --help",
        ),
        (
            &["--joint", "--layout", "published"],
            "2 error: the argument '--joint' cannot be used with '--layout <LAYOUT>'; see --help",
        ),
    ];
    for (more, wanted) in cases {
        let message = refusal(&words(&arguments(folder.path(), "out", more)));
        assert!(message.starts_with(wanted), "{message}");
    }
    let wild = arguments(folder.path(), "out", &["--learning-rate", "1e30", "--warm-up", "0"]);
    let run = foretoken(&words(&wild));
    let last = run.stderr.lines().last().unwrap_or_default();
    assert_eq!(run.code, Some(1));
    assert!(last.contains("training diverged; lower the learning rate"), "{last}");
}
