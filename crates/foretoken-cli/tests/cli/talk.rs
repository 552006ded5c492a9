//! `run` and `--chat`.

use super::{foretoken, foretoken_with, json};

fn talk(flags: &[&str], lines: &str) -> super::Run {
    foretoken_with(&[&["run"], flags].concat(), &[], lines)
}

#[test]
fn answers_are_those_of_generate() {
    let one = json(&["generate", "--chat", "-p", "hello", "--json"]);
    let chat = talk(&[], "hello\n");
    assert_eq!((chat.code, chat.stderr.as_str()), (Some(0), ""));
    assert_eq!(Some(chat.stdout.trim_end_matches('\n')), one["text"].as_str());
}

#[test]
fn a_conversation_continues_and_can_be_forgotten() {
    let flags = ["--max-tokens", "24"];
    let talked = talk(&flags, "hello\nwhat is a dog?\n/reset\nhello\n/quit\nnever\n");
    assert_eq!(talked.code, Some(0), "{}", talked.stderr);
    let answers: Vec<_> = talked.stdout.lines().collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(answers[0], answers[2], "after a reset the answer is the first again");
    // The session changes what is computed, not what is said.
    let plain = talk(&["--max-tokens", "24", "--drafter", "none"], "hello\nwhat is a dog?\n");
    assert_eq!(plain.stdout.lines().collect::<Vec<_>>(), answers[..2]);
}

#[test]
fn commands_and_mistakes_do_not_end_the_chat() {
    let lines = "/help\n/nothing\nhello\n/stats\n";
    let talked = talk(&["--max-tokens", "4", "--context", "16"], lines);
    assert_eq!(talked.code, Some(0));
    for part in ["/reset ", "unknown command `/nothing`", "last answer: 4 tokens", "all answers"] {
        assert!(talked.stderr.contains(part), "{part}: {}", talked.stderr);
    }
    let long = format!("{}\nhi\n", "word ".repeat(40));
    let talked = talk(&["--max-tokens", "4", "--context", "16"], &long);
    assert_eq!((talked.code, talked.stdout.lines().count()), (Some(0), 1), "{}", talked.stderr);
    assert!(talked.stderr.starts_with("error: the prompt has "), "{}", talked.stderr);
}

#[test]
fn without_a_template_the_model_continues_the_text() {
    let model = "testdata/gguf/llama-gqa.gguf";
    let talked = talk(&[model, "--max-tokens", "4"], "");
    assert_eq!(talked.code, Some(0), "{}", talked.stderr);
    assert!(talked.stderr.contains("no chat template"), "{}", talked.stderr);
}

#[test]
fn statistics_name_what_was_done() {
    let flags = ["--max-tokens", "8", "--temperature", "1", "--ignore-eos"];
    let run = foretoken(&[&["generate", "-p", "x"], &flags[..]].concat());
    let line = run.stderr.trim_end();
    for part in ["8 tokens, ", " tokens per pass (drafter model, acceptance coupled), seed "] {
        assert!(line.contains(part), "{line}");
    }
    let compared = foretoken(&["generate", "-p", "x", "--max-tokens", "24", "--compare"]);
    assert!(compared.stderr.contains("plain decoding: "), "{}", compared.stderr);
}
