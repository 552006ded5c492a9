//! The promise, through the command line: the tokens depend on model, formats, prompt, parameters and
//! seed, and not on the drafter or the threads.

use serde_json::Value;

use super::{foretoken_with, json};

/// The completions of one weight format under every drafter and thread count are one.
fn same_tokens(quant: &str) {
    let (greedy, sampled): (&[&str], &[&str]) = (&[], &["--temperature", "0.8", "--seed", "7"]);
    for sampling in [greedy, sampled] {
        let mut first: Option<Value> = None;
        let mut drafted_and_accepted = [0, 0];
        for drafter in ["none", "model", "lookup"] {
            for threads in ["1", "2"] {
                let flags = ["--quant", quant, "--drafter", drafter, "--threads", threads];
                let prompt = ["generate", "-p", "def add(a, b):", "--max-tokens", "24", "--json"];
                let object = json(&[&prompt, &flags, sampling].concat());
                let tokens = &object["tokens"];
                let what = format!("{quant} {drafter} {threads} threads, {sampling:?}");
                assert_eq!(first.get_or_insert(tokens.clone()), tokens, "{what}");
                assert_eq!(object["lossless"], true);
                assert_eq!(
                    (&object["quant"], &object["drafter"]),
                    (&quant.into(), &drafter.into())
                );
                let keys = ["drafted", "accepted"];
                for (sum, key) in drafted_and_accepted.iter_mut().zip(keys) {
                    *sum += object["stats"][key].as_u64().expect("a count");
                }
                if drafter == "none" {
                    assert_eq!(object["stats"]["mean_accepted_length"], 1.0, "{what}");
                }
            }
        }
        assert!(drafted_and_accepted.iter().all(|&sum| sum > 0), "something was drafted");
    }
}

#[test]
fn f32_weights() {
    same_tokens("f32");
}

#[test]
fn bf16_weights() {
    same_tokens("bf16");
}

#[test]
fn q8_0_weights() {
    same_tokens("q8_0");
}

#[test]
fn q4_0_weights() {
    same_tokens("q4_0");
}

#[test]
fn comparing_repeats_the_text_by_plain_decoding() {
    let prompt = ["generate", "-p", "Once", "--max-tokens", "24", "--json", "--compare"];
    let compared = json(&[&prompt[..], &["--temperature", "0.8", "--seed", "5"]].concat());
    let alone = json(&[&prompt[..6], &["--temperature", "0.8", "--seed", "5"]].concat());
    assert_eq!(compared["tokens"], alone["tokens"]);
    assert_eq!(compared["stats"]["steps"], alone["stats"]["steps"], "the warm-up leaves no trace");
    let (speed, plain) =
        (&compared["stats"]["tokens_per_second"], &compared["baseline"]["tokens_per_second"]);
    let ratio = speed.as_f64().expect("a speed") / plain.as_f64().expect("a speed");
    let speedup = compared["baseline"]["speedup"].as_f64().expect("a ratio");
    assert!((speedup / ratio - 1.0).abs() < 1e-12, "{compared}");
    assert!(alone.get("baseline").is_none());
}

#[test]
fn a_seed_is_drawn_reported_and_repeats_the_text() {
    let flags = ["generate", "-p", "Once", "--max-tokens", "24", "--temperature", "1.2", "--json"];
    let drawn = json(&flags);
    let seed = drawn["seed"].to_string();
    let again = json(&[&flags[..], &["--seed", &seed, "--drafter", "lookup"]].concat());
    assert_eq!(drawn["tokens"], again["tokens"]);
    let other = json(&flags);
    assert_ne!(drawn["seed"], other["seed"], "seeds differ from run to run");
}

#[test]
fn the_environment_sets_flags_and_the_command_line_wins() {
    let environment = [
        ("FORETOKEN_MAX_TOKENS", "3"),
        ("FORETOKEN_QUANT", "q8_0"),
        ("FORETOKEN_IGNORE_EOS", "1"),
        ("FORETOKEN_ISA", "scalar"),
        ("FORETOKEN_DRAFTER", "lookup"),
        ("FORETOKEN_SEED", "11"),
    ];
    let run = foretoken_with(&["generate", "-p", "x", "--json", "--seed", "12"], &environment, "");
    let object: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(object["tokens"].as_array().map(Vec::len), Some(3));
    assert_eq!(object["quant"], "q8_0");
    assert_eq!(object["drafter"], "lookup");
    assert_eq!(object["seed"], 12);
}

#[test]
fn stop_strings_bans_and_lossy_acceptance_show_in_the_answer() {
    let prompt = ["generate", "-p", "def add(a, b):", "--max-tokens", "24", "--json"];
    let plain = json(&prompt);
    let text = plain["text"].as_str().expect("a text");
    let stopped = json(&[&prompt[..], &["--stop", "Calc"]].concat());
    assert!(text.contains("Calc"), "{text}");
    assert_eq!(stopped["text"].as_str(), text.split("Calc").next());
    assert_eq!(stopped["finish_reason"], "stop");
    let first = plain["tokens"][0].to_string();
    let banned = json(&[&prompt[..], &["--logit-bias", &format!("{first}:-inf")]].concat());
    assert_ne!(banned["tokens"][0], plain["tokens"][0]);
    let typical = json(&[&prompt[..], &["--acceptance", "typical"]].concat());
    assert_eq!((&typical["acceptance"], &typical["lossless"]), (&"typical".into(), &false.into()));
}
