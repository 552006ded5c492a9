//! Small models trained by the command: what is printed, what is written, and what is refused.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{foretoken, json, refusal};

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
    assert!(fs::read_to_string(out.join("loss.svg")).expect("it").contains("held-out text"));
    let again = json(&with(&arguments, &["--json"]));
    assert_eq!((&again["steps"], &again["skipped_lines"]), (&6.into(), &1.into()));
    assert!(again["validation"]["loss"].as_f64().is_some_and(|loss| loss < 8.4));
    let model = out.display().to_string();
    let text = json(&["generate", &model, "-p", "The cat", "--max-tokens", "3", "--json"]);
    assert_eq!(text["stats"]["steps"].as_u64().map(|steps| steps > 0), Some(true));
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
        (&["--shape", "32,1,3,1,48"], "2 error: --shape: 3 heads do not part a width of 32 evenly"),
        (
            &["--shape", "32,1,2"],
            "2 error: invalid value '32,1,2' for '--shape <HIDDEN,LAYERS,HEADS,KV_HEADS,FFN>': write five \
             numbers above 0, such as 256,4,4,2,688; see --help",
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
            "2 error: learning rates and the limit of gradients are finite and not negative",
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
