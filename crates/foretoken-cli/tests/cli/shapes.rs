//! The JSON objects scripts depend on: keys, their order, and the laws between values.

use serde_json::Value;

use super::{foretoken, json};

/// Portable code on one thread: the same object on every machine, but for the times.
const STEADY: &[&str] = &["--isa", "scalar", "--threads", "1"];

/// The object with a line per key, times and speeds taken out and other floats rounded.
fn redacted(object: &Value) -> String {
    let mut lines = Vec::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        let measured = key.ends_with("seconds") || key == "tokens_per_second" || key == "speedup";
        if value.is_object() {
            let inner = redacted(value);
            lines.extend(inner.lines().map(|line| format!("{key}.{line}")));
        } else if measured {
            assert!(value.is_f64(), "{key} is a float");
            lines.push(format!("{key} [measured]"));
        } else {
            lines.push(format!("{key} {}", rounded(value)));
        }
    }
    lines.join("\n")
}

/// Floats with three digits behind the point.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().expect("a float");
            ((float * 1e3).round() / 1e3).into()
        }
        other => other.clone(),
    }
}

#[test]
fn generate() {
    let prompt = &["generate", "-p", "def add(a, b):", "--max-tokens", "8", "--json"];
    let flags = ["--seed", "1", "--drafter", "none", "--compare"];
    let greedy = json(&[prompt, STEADY, &flags].concat());
    insta::assert_snapshot!(redacted(&greedy), @r#"
    model "foretoken-demo"
    drafter "none"
    acceptance "coupled"
    lossless true
    seed 1
    quant "bf16"
    kv "bf16"
    threads 1
    text "\n    \"\"\"\n    Calculate the number"
    tokens [282,498,282,435,3320,379,276,651]
    prompt_tokens 8
    finish_reason "length"
    stats.steps 8
    stats.drafted 0
    stats.probes 0
    stats.accepted 0
    stats.drafted_by_position []
    stats.accepted_by_position []
    stats.mean_accepted_length 1.0
    stats.prefill_seconds [measured]
    stats.decode_seconds [measured]
    stats.draft_seconds [measured]
    stats.verify_seconds [measured]
    stats.tokens_per_second [measured]
    baseline.tokens_per_second [measured]
    baseline.speedup [measured]
    "#);
    let flags = ["--temperature", "0.8", "--seed", "7", "--drafter", "none", "--quant", "q8_0"];
    let sampled = json(&[prompt, STEADY, &flags].concat());
    insta::assert_snapshot!(redacted(&sampled), @r#"
    model "foretoken-demo"
    drafter "none"
    acceptance "coupled"
    lossless true
    seed 7
    quant "q8_0"
    kv "bf16"
    threads 1
    text "\n    \"\"\"\n    Returns the NOT-"
    tokens [282,498,282,1604,276,434,3366,16]
    prompt_tokens 8
    finish_reason "length"
    stats.steps 8
    stats.drafted 0
    stats.probes 0
    stats.accepted 0
    stats.drafted_by_position []
    stats.accepted_by_position []
    stats.mean_accepted_length 1.0
    stats.prefill_seconds [measured]
    stats.decode_seconds [measured]
    stats.draft_seconds [measured]
    stats.verify_seconds [measured]
    stats.tokens_per_second [measured]
    "#);
}

#[test]
fn counters_obey_their_law() {
    let flags = ["--drafter", "model+lookup", "--draft-width", "2", "--json", "--max-tokens", "40"];
    let object = json(&[&["generate", "-p", "def add(a, b):"], &flags[..]].concat());
    let tokens = object["tokens"].as_array().expect("tokens").len() as u64;
    let stats = &object["stats"];
    let count = |key: &str| stats[key].as_u64().expect("a count");
    let sum = |key: &str| -> u64 {
        stats[key].as_array().into_iter().flatten().filter_map(Value::as_u64).sum()
    };
    let cut = (count("accepted") + count("steps")).checked_sub(tokens);
    assert!(matches!(cut, Some(0 | 1)), "emitted = accepted + steps - cut: {object}");
    assert_eq!(sum("drafted_by_position"), count("drafted"));
    assert_eq!(sum("accepted_by_position"), count("accepted"));
    assert!(count("accepted") > 0, "drafts are accepted: {object}");
    let mean = stats["mean_accepted_length"].as_f64().expect("a mean");
    assert!((mean - tokens as f64 / count("steps") as f64).abs() < 1e-12);
    assert_eq!(object["drafter"], "model+lookup");
}

#[test]
fn score() {
    let text = &["score", "demo", "--text", "def f", "--top", "2", "--json"];
    insta::assert_snapshot!(redacted(&json(&[text, STEADY].concat())), @r"
    tokens [0,586,284]
    logprobs [null,-5.523,-3.664]
    perplexity 98.81
    top [[],[[1,-0.275],[793,-3.132]],[[509,-1.702],[706,-2.724]]]
    ");
    let object = json(&["score", "demo", "--tokens", "0,586", "--json"]);
    let keys: Vec<_> = object.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["tokens", "logprobs", "perplexity"]);
    let (logprob, perplexity) = (&object["logprobs"][1], &object["perplexity"]);
    let implied = (-logprob.as_f64().expect("a number")).exp();
    assert!((implied / perplexity.as_f64().expect("a number") - 1.0).abs() < 1e-12);
}

#[test]
fn tokenize() {
    insta::assert_snapshot!(
        json(&["tokenize", "demo", "def é<|end|>", "--json"]),
        @r#"{"tokens":[0,586,224,131,106,3],"pieces":["<|endoftext|>","def","Ġ","Ã","©","<|end|>"]}"#
    );
    insta::assert_snapshot!(json(&["tokenize", "demo", "x", "--no-bos", "--json"]), @r#"{"tokens":[91],"pieces":["x"]}"#);
    insta::assert_snapshot!(foretoken(&["tokenize", "demo", "-x\n"]).stdout, @r"
      0  <|endoftext|>
     16  -
     91  x
    202  Ċ
    ");
}

#[test]
fn inspect() {
    insta::assert_snapshot!(foretoken(&["inspect", "demo"]).stdout, @r"
    model                foretoken-demo
    family               llama
    parameters           11015040
    layers               6
    hidden               384
    ffn                  1024
    heads                6
    kv heads             2
    head size            64
    output               tied
    context              1024
    sliding window       none
    rope                 theta 10000.0, dims 64, scaling none
    vocab                4096
    tokenizer            algorithm byte-pair encoding, pieces 4096
    bos                  id 0, piece <|endoftext|>
    eos                  id 0, piece <|endoftext|>; id 3, piece <|end|>
    chat template        yes
    formats              format bf16, tensors 56, bytes 22030080
    weight bytes         22030080
    kv bytes per token   f32 6144, bf16 3072
    unknown              none
    ");
    let heads = ["inspect", "demo", "--medusa-heads", "testdata/medusa/v01"];
    let shown = foretoken(&heads).stdout;
    insta::assert_snapshot!(shown[shown.find("medusa heads").unwrap_or(0)..], @"
    medusa heads
      heads              3
      blocks             1
      hidden             8
      vocab              24
      layout             as published
      base model         tiny/base
      calibration        none
      misfit             `testdata/medusa/v01`: the heads are for a hidden size of 8 (tensor `0.0.linear.weight`) where the model has 384; use heads trained for this model
      warnings           config.json says medusa_num_heads = 2; the tensors say 3
    ");
    let object = json(&["inspect", "testdata/gguf/llama-quantised.gguf", "--json"]);
    insta::assert_snapshot!(redacted(&object), @r#"
    model "llama-quantised"
    family "llama"
    parameters 214272
    layers 2
    hidden 256
    ffn 64
    heads 4
    kv_heads 2
    head_size 16
    output "tied"
    context 64
    sliding_window null
    rope.theta 10000.0
    rope.dims 16
    rope.scaling "none"
    vocab 64
    tokenizer.algorithm "SentencePiece"
    tokenizer.pieces 64
    bos.id 1
    bos.piece "<s>"
    eos [{"id":2,"piece":"</s>"},{"id":3,"piece":"▁0"}]
    chat_template false
    formats [{"format":"q8_0","tensors":4,"bytes":60928},{"format":"q6_k","tensors":4,"bytes":47040},{"format":"q4_0","tensors":3,"bytes":23040},{"format":"q4_k","tensors":2,"bytes":18432},{"format":"q5_k","tensors":2,"bytes":16896},{"format":"f32","tensors":5,"bytes":5120}]
    weight_bytes 171456
    kv_bytes_per_token.f32 512
    kv_bytes_per_token.bf16 256
    unknown []
    "#);
}

#[test]
fn inspect_says_what_a_draft_shares() {
    let last = |draft| {
        let shown = foretoken(&["inspect", "demo", "--draft-model", draft]);
        let from = shown.stdout.find("draft vocabulary").unwrap_or(0);
        format!("{}{}", &shown.stdout[from..], shown.stderr)
    };
    insta::assert_snapshot!(last("demo-draft"), @"
    draft vocabulary
      target tokens      4096
      draft tokens       4096
      difference         none
      shared             4096
      share of target    1.0
      share of draft     1.0
      sample             tokens 736, share drafted by tokens 1.0, tokens per pass if right by tokens 8.976, by text 8.976
      auto               same
    ");
    insta::assert_snapshot!(last("testdata/gguf/llama-gqa.gguf"), @"
    draft vocabulary
      target tokens      4096
      draft tokens       96
      difference         token id 0 is `<|endoftext|>` in one vocabulary and `<unk>` in the other
      shared             37
      share of target    0.009
      share of draft     0.385
      sample             tokens 736, share drafted by tokens 0.01, tokens per pass if right by tokens 1.01, by text 1.01
      auto               text
    ");
    let strange = tempfile::tempdir().unwrap();
    let one_piece = r#"{"model": {"type": "BPE", "vocab": {"☐": 0}, "merges": []}}"#;
    std::fs::write(strange.path().join("tokenizer.json"), one_piece).unwrap();
    std::fs::write(strange.path().join("config.json"), "{}").unwrap();
    insta::assert_snapshot!(last(strange.path().to_str().unwrap()), @"
    draft vocabulary
      target tokens      4096
      draft tokens       1
      difference         token id 0 is `<|endoftext|>` in one vocabulary and `☐` in the other
      shared             0
      share of target    0.0
      share of draft     0.0
      sample             tokens 736, share drafted by tokens 0.0, tokens per pass if right by tokens 1.0, by text 1.0
      auto               none
    ");
    let object = json(&["inspect", "demo", "--draft-model", "demo-draft", "--json"]);
    assert_eq!(object["draft_vocabulary"]["shared"], 4096);
}

#[test]
fn the_prompt_is_the_same_text_to_every_command() {
    let tokenized = json(&["tokenize", "demo", "Hello there", "--json"]);
    let scored = json(&["score", "demo", "--text", "Hello there", "--json"]);
    assert_eq!(tokenized["tokens"], scored["tokens"]);
    let generated = json(&["generate", "-p", "Hello there", "--max-tokens", "1", "--json"]);
    let length = tokenized["tokens"].as_array().map(Vec::len);
    assert_eq!(generated["prompt_tokens"].as_u64().map(|n| n as usize), length);
}
