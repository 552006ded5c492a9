//! Small models trained by the command: what is printed, what is written, and what is refused.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{command, foretoken, json, refusal};

/// Arguments of a training of a second, with text that repeats itself and a line that is none.
fn arguments(folder: &Path) -> Vec<String> {
    let mut text = "no JSON\n".to_owned();
    for index in 0..40 {
        writeln!(text, "{{\"text\": \"The cat number {index} sat on the mat, and sat.\"}}")
            .expect("text");
    }
    let data = folder.join("data.jsonl");
    fs::write(&data, text).expect("the data");
    let (data, out) = (data.display().to_string(), folder.join("out").display().to_string());
    let fixed = "train base --shape 32,1,2,1,48 --tokenizer models/foretoken-demo-draft --length 24 \
                 --batch 4 --steps 6 --validate-every 3 --threads 1";
    let fixed = fixed.split_whitespace().map(str::to_owned);
    fixed.chain(["--data".to_owned(), data, "--out".to_owned(), out]).collect()
}

fn with<'a>(arguments: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

#[test]
fn a_model_is_trained_and_generates() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = arguments(folder.path());
    let run = foretoken(&with(&arguments, &[]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines: Vec<_> = run.stderr.lines().collect();
    let data = folder.path().join("data.jsonl");
    let skipped = format!(
        "warning: bad lines skipped: 1; {}:1: no JSON: expected ident at line 1 column 2",
        data.display()
    );
    assert_eq!(lines[0], skipped);
    assert!(lines[1].ends_with(" tokens to learn from, 1 to validate on"), "{}", lines[1]);
    assert!(lines[2].starts_with("step 3 of 6: loss 8."), "{}", lines[2]);
    assert!(lines[3].starts_with("step 6 of 6: loss ") && lines.len() == 4, "{}", run.stderr);
    assert!(run.stdout.starts_with("6 steps, 576 tokens, loss "), "{}", run.stdout);

    let out = folder.path().join("out");
    assert_eq!(fs::read_to_string(out.join("history.jsonl")).expect("it").lines().count(), 6);
    let curves = fs::read_to_string(out.join("loss.svg")).expect("it");
    assert!(curves.contains("held-out text") && curves.contains("top1"), "losses and shares");
    let again = json(&with(&arguments, &["--json"]));
    assert_eq!((&again["steps"], &again["skipped_lines"]), (&6.into(), &1.into()));
    assert!(again["validation"]["loss"].as_f64().is_some_and(|loss| loss < 8.4));
    let model = out.display().to_string();
    let text = json(&["generate", &model, "-p", "The cat", "--max-tokens", "3", "--json"]);
    assert_eq!(text["stats"]["steps"].as_u64().map(|steps| steps > 0), Some(true));
}

#[test]
fn bad_lines_are_told_wherever_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut arguments = arguments(folder.path());
    let file = folder.path().join("valid.jsonl");
    fs::write(&file, "{\"text\": \"The cat sat.\"}\n[]\n{}\n").expect("the text");
    arguments.extend(["--validate".to_owned(), file.display().to_string()]);
    let run = foretoken(&with(&arguments, &["--json"]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let told = format!("warning: bad lines skipped: 2; {}:2: ", file.display());
    assert!(run.stderr.lines().any(|line| line.starts_with(&told)), "{}", run.stderr);
    let printed: Value = serde_json::from_str(&run.stdout).expect("one object");
    assert_eq!(printed["skipped_lines"], 3);
}

#[cfg(target_os = "linux")]
#[test]
fn text_that_does_not_fit_in_memory_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (small, huge, out) = (path("small.jsonl"), path("huge.jsonl"), path("out"));
    fs::write(&small, "{\"text\": \"The cat sat.\"}\n").expect("the text");
    // Its bytes are a number only.
    fs::File::create(&huge).and_then(|file| file.set_len(1 << 43)).expect("a sparse file");
    for method in [
        "base --shape 32,1,2,1,48 --tokenizer models/foretoken-demo-draft",
        "base --shape 32,1,2,1,48 --vocab 280",
        "draft demo-draft --shape 32,1,2,1,48",
        "medusa demo-draft --heads 1",
        "medusa demo-draft --heads 1 --joint",
        "medusa demo-draft --heads 1 --self-distill 3",
    ] {
        let line: Vec<_> = ["train"].into_iter().chain(method.split(' ')).collect();
        for text in [&["--data", &small, &huge][..], &["--data", &small, "--validate", &huge]] {
            let more = [text, &["--steps", "2", "--threads", "1", "--out", &out]].concat();
            let message = refusal(&[&line[..], &more].concat());
            assert!(message.starts_with("1 error: training "), "{method}: {message}");
            assert!(message.contains(" needs about 16384."), "{method}: {message}");
        }
    }
}

#[test]
fn mistakes_are_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = arguments(folder.path());
    assert_eq!(foretoken(&with(&arguments, &[])).code, Some(0));
    let root = folder.path().display().to_string();
    let other = foretoken(&with(&arguments, &["--seed", "9"]));
    let wanted = format!(
        "error: `{root}/out` holds a checkpoint of another run: its seed is 0, not 9; name another folder, \
         or begin anew with --restart"
    );
    assert_eq!((other.code, other.stderr.lines().last()), (Some(1), Some(wanted.as_str())));
    assert_eq!(foretoken(&with(&arguments, &["--seed", "9", "--restart"])).code, Some(0));

    let cases: [(&[&str], &str); 5] = [
        (
            &["--shape", "32,1,3,1,48"],
            "2 error: invalid value '32,1,3,1,48' for '--shape <HIDDEN,LAYERS,HEADS,KV_HEADS,FFN>': 3 heads \
             do not part a width of 32 evenly; see --help",
        ),
        (
            &["--checkpoint-every", "0m"],
            "2 error: invalid value '0m' for '--checkpoint-every <N|Nm>': write steps such as 500, or \
             minutes such as 10m, above 0; see --help",
        ),
        (
            &["--tokens", "5M"],
            "2 error: the argument '--steps <N>' cannot be used with '--tokens <N>'; see --help",
        ),
        (
            &["--learning-rate", "nan"],
            "2 error: invalid value 'nan' for '--learning-rate <RATE>': write a number above 0, such as \
             0.2 or 1e-4; see --help",
        ),
        (
            &["--learning-rate", "-1"],
            "2 error: invalid value '-1' for '--learning-rate <RATE>': write a number above 0, such as \
             0.2 or 1e-4; see --help",
        ),
    ];
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    for (more, wanted) in cases {
        // A flag that is given twice is another mistake.
        let index = words.iter().position(|word| *word == more[0]);
        let kept = words
            .iter()
            .enumerate()
            .filter(|(at, _)| index.is_none_or(|index| *at != index && *at != index + 1));
        let line: Vec<_> = kept.map(|(_, word)| *word).chain(more.iter().copied()).collect();
        let run = foretoken(&line);
        let last = run.stderr.lines().last().unwrap_or_default();
        assert_eq!(format!("{} {last}", run.code.expect("it ends")), wanted);
    }
    let missing = refusal(&["train", "base", "--shape", "32,1,2,1,48"]);
    assert!(missing.starts_with("2 error: the following required arguments were not provided: "));
}

#[test]
fn a_model_is_trained_with_a_tokenizer_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut arguments = arguments(folder.path());
    let at = arguments.iter().position(|word| word == "--tokenizer").expect("it is given");
    arguments.splice(at..at + 2, ["--vocab".to_owned(), "280".to_owned()]);
    let run = foretoken(&with(&arguments, &[]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.starts_with("training a tokenizer of 280 tokens\n"), "{}", run.stderr);
    let out = folder.path().join("out");
    let tokenizer = |folder: &Path| fs::read(folder.join("tokenizer.json")).expect("a tokenizer");
    assert_eq!(tokenizer(&out), tokenizer(&out.join("tokenizer")));
    let config = fs::read_to_string(out.join("config.json")).expect("the configuration");
    assert!(config.contains("\"vocab_size\": 280") && config.contains("\"bos_token_id\": 0"));
    let model = out.display().to_string();
    let text = json(&["generate", &model, "-p", "The cat", "--max-tokens", "3", "--json"]);
    assert_eq!(text["prompt_tokens"], 3);

    // The run that goes on keeps it.
    let again = foretoken(&with(&arguments, &[]));
    assert_eq!((again.code, again.stderr.contains("training a tokenizer")), (Some(0), false));
    arguments[at + 1] = "290".to_owned();
    let other = foretoken(&with(&arguments, &[]));
    assert!(other.stderr.contains("its vocabulary is 280, not 290;"), "{}", other.stderr);
    arguments[at + 1] = "100".to_owned();
    let few = foretoken(&with(&arguments, &["--restart"]));
    let wanted = "error: --vocab: 100 tokens are too few; 260 are those of bytes and special ones";
    assert_eq!((few.code, few.stderr.lines().last()), (Some(2), Some(wanted)));
}

#[test]
fn a_draft_is_trained_and_drafts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut arguments = arguments(folder.path());
    let at = arguments.iter().position(|word| word == "--tokenizer").expect("it is given");
    arguments.drain(at..at + 2);
    arguments.splice(1..2, ["draft".to_owned(), "demo-draft".to_owned()]);
    let run = json(&with(&arguments, &["--json"]));
    for name in ["loss", "top1", "divergence", "agreement"] {
        assert!(run["validation"][name].as_f64().is_some_and(|mean| mean >= 0.0), "{run}");
    }
    let out = folder.path().join("out").display().to_string();
    let line =
        ["generate", "demo-draft", "--draft-model", &out, "-p", "The cat", "--max-tokens", "9"];
    let drafted = json(&[&line[..], &["--json"]].concat());
    assert_eq!(drafted["drafter"], "model");
    let line = [&line[..2], &line[4..], &["--drafter", "none", "--json"]].concat();
    assert_eq!(drafted["text"], json(&line)["text"]);

    let other = foretoken(&with(&arguments, &["--soft", "0.5"]));
    let wanted = "its share of the divergence is 0.9, not 0.5; name another folder";
    assert!(other.stderr.contains(wanted), "{}", other.stderr);
    arguments.retain(|word| word != "--length" && word != "24");
    let long = foretoken(&with(&arguments, &["--length", "1025"]));
    let wanted = "error: --length: the model's context ends at 1024 tokens";
    assert_eq!((long.code, long.stderr.lines().last()), (Some(2), Some(wanted)));
}

/// A run of some forty steps with a checkpoint after each.
fn long(folder: &Path, out: &str) -> Vec<String> {
    let mut arguments = arguments(folder);
    let last = arguments.len() - 1;
    arguments[last] = folder.join(out).display().to_string();
    let steps = arguments.iter().position(|word| word == "--steps").expect("it is given");
    "40".clone_into(&mut arguments[steps + 1]);
    arguments.extend(["--checkpoint-every".to_owned(), "1".to_owned()]);
    arguments
}

/// Steps that the run in a folder has written down.
fn written(folder: &Path) -> usize {
    let history = fs::read_to_string(folder.join("history.jsonl"));
    history.map_or(0, |history| history.lines().count())
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_goes_on_to_the_same_curve() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = foretoken(&with(&long(folder.path(), "whole"), &[]));
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);

    let (line, out) = (long(folder.path(), "killed"), folder.path().join("killed"));
    for steps in [3, 9, 20] {
        let mut child =
            command(&with(&line, &[])).stderr(Stdio::null()).spawn().expect("the command starts");
        while written(&out) < steps {
            assert_eq!(child.try_wait().expect("a child"), None, "it runs until it is killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("it is killed");
        assert!(!child.wait().expect("it is dead").success());
        assert!(written(&out) < 40, "killed before its end");
    }

    // Files may have less than half a megabyte or one, as shells count differently.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_foretoken"))
        .args(&line)
        .current_dir(super::root())
        .output()
        .expect("a shell");
    let error = String::from_utf8(limited.stderr).expect("output is UTF-8");
    let wanted = format!("error: cannot write `{}/checkpoint.new/group-0", out.display());
    let last = error.lines().last().unwrap_or_default();
    assert!(last.starts_with(&wanted) && last.contains("File too large"), "{error}");

    let taken = fs::File::open(&out).expect("the folder");
    taken.lock().expect("nobody runs there");
    let wanted = format!(
        "1 error: another run is under way in `{}`; wait for its end, or name another folder",
        out.display()
    );
    assert_eq!(refusal(&with(&line, &[])), wanted);
    drop(taken);

    let rest = foretoken(&with(&line, &[]));
    assert_eq!(rest.code, Some(0), "{}", rest.stderr);
    assert!(rest.stderr.contains("going on after step "), "{}", rest.stderr);
    for file in ["history.jsonl", "model.safetensors", "loss.svg"] {
        let of = |out| fs::read(folder.path().join(out).join(file)).expect(file);
        assert!(of("killed") == of("whole"), "{file}");
    }
}
