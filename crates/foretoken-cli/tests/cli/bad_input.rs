//! Flags, prompts and files that cannot be what the user meant.

use super::{foretoken, refusal, refusal_with};

/// `generate -p x` with more flags.
fn generate(more: &[&str]) -> String {
    refusal(&[&["generate", "-p", "x"], more].concat())
}

#[test]
fn usage() {
    let cases = [
        refusal(&[]),
        refusal(&["generat"]),
        refusal(&["generate"]),
        refusal(&["score", "demo"]),
        refusal(&["tokenize", "demo"]),
        refusal(&["completions", "tcsh"]),
        generate(&["--temprature", "1"]),
        generate(&["--tokens", "1"]),
        generate(&["--json", "--show-drafts"]),
        generate(&["--compare", "--acceptance", "rejection"]),
        generate(&["--typical-alpha", "0.5"]),
        refusal(&["generate", "--tokens", "1", "--chat"]),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    2 error: name a command; `foretoken --help` lists them
    2 error: unrecognized subcommand 'generat'; a similar subcommand exists: 'generate'; see --help
    2 error: the following required arguments were not provided: <--prompt <TEXT>|--prompt-file <FILE>|--tokens <ID,...>>; see --help
    2 error: the following required arguments were not provided: <--text <TEXT>|--text-file <FILE>|--tokens <ID,...>>; see --help
    2 error: the following required arguments were not provided: <TEXT>; see --help
    2 error: invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]; a similar value exists: 'zsh'; see --help
    2 error: unexpected argument '--temprature' found; a similar argument exists: '--temperature'; see --help
    2 error: the argument '--prompt <TEXT>' cannot be used with '--tokens <ID,...>'; see --help
    2 error: the argument '--json' cannot be used with '--show-drafts'; see --help
    2 error: --compare: only coupled acceptance gives the same text, rejection does not
    2 error: --typical-threshold and --typical-alpha: they belong to --acceptance typical, not to coupled; leave them out
    2 error: --chat: a chat message is a text; use --prompt, not --tokens
    ");
}

#[test]
fn sampling_parameters() {
    let cases = [
        generate(&["--temperature", "-1"]),
        generate(&["--temperature", "nan"]),
        generate(&["--temperature", "-inf"]),
        generate(&["--temperature", "warm"]),
        generate(&["--top-k", "-1"]),
        generate(&["--top-p", "1.5"]),
        generate(&["--top-p", "nan"]),
        generate(&["--min-p", "-0.1"]),
        generate(&["--repetition-penalty", "0"]),
        generate(&["--presence-penalty", "inf"]),
        generate(&["--frequency-penalty", "nan"]),
        generate(&["--logit-bias", "5"]),
        generate(&["--logit-bias", "5:nan"]),
        generate(&["--logit-bias", "5:inf"]),
        generate(&["--logit-bias", "5:1,5:2"]),
        generate(&["--logit-bias", "99999:1"]),
        generate(&["--seed", "-1"]),
        generate(&["--stop", ""]),
        generate(&["--max-tokens", "0"]),
        generate(&["--max-tokens", "-1"]),
        refusal(&["run", "--temperature", "-1"]),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    2 error: --temperature: temperature is -1; it must be 0 (greedy) or a finite number of at least 0.000001
    2 error: --temperature: temperature is NaN; it must be 0 (greedy) or a finite number of at least 0.000001
    2 error: --temperature: temperature is -inf; it must be 0 (greedy) or a finite number of at least 0.000001
    2 error: invalid value 'warm' for '--temperature <T>': invalid float literal; see --help
    2 error: invalid value '-1' for '--top-k <K>': -1 is not in 0..=4294967295; see --help
    2 error: --top-p: top-p is 1.5; it must lie between 0 and 1 (1 keeps all tokens)
    2 error: --top-p: top-p is NaN; it must lie between 0 and 1 (1 keeps all tokens)
    2 error: --min-p: min-p is -0.1; it must lie between 0 and 1 (0 keeps all tokens)
    2 error: --repetition-penalty: repetition penalty is 0; it must be a finite number above 0 (1 is off)
    2 error: --presence-penalty: presence penalty is inf; it must be a finite number (0 is off)
    2 error: --frequency-penalty: frequency penalty is NaN; it must be a finite number (0 is off)
    2 error: invalid value '5' for '--logit-bias <ID:BIAS>': write a token id and its bias, such as 42:-1.5 or 42:-inf; see --help
    2 error: --logit-bias: logit bias of token 5 is NaN; it must be finite, or -inf to ban the token
    2 error: --logit-bias: logit bias of token 5 is inf; it must be finite, or -inf to ban the token
    2 error: --logit-bias: logit bias names token 5 twice
    2 error: --logit-bias: logit bias names token 99999, but the vocabulary has 4096 tokens
    2 error: invalid value '-1' for '--seed <S>': invalid digit found in string; see --help
    2 error: --stop: a stop string is empty; every text would end at once
    2 error: --max-tokens: max_tokens is 0; ask for at least one token
    2 error: invalid value '-1' for '--max-tokens <N>': invalid digit found in string; see --help
    2 error: --temperature: temperature is -1; it must be 0 (greedy) or a finite number of at least 0.000001
    ");
}

#[test]
fn drafting_and_machine() {
    let cases = [
        generate(&["--drafter", "fortune"]),
        generate(&["--drafter", "lookup+lookup"]),
        generate(&["--draft-tokens", "0"]),
        generate(&["--draft-tokens", "513"]),
        generate(&["--draft-width", "65"]),
        generate(&["--draft-min-prob", "nan"]),
        generate(&["--draft-quant", "q2"]),
        refusal(&["generate", "models/foretoken-demo-draft", "-p", "x", "--drafter", "medusa"]),
        generate(&["--medusa-choices", "mc_sim_8b"]),
        generate(&["--medusa-choices", "[[0, 0]]"]),
        generate(&["--medusa-choices", "auto:0"]),
        generate(&["--medusa-vocab", "0"]),
        generate(&["--medusa-heads", "nowhere"]),
        generate(&["--lookahead", "7,5"]),
        generate(&["--drafter", "medusa", "--medusa-heads", "docs"]),
        generate(&["--drafter", "medusa", "--medusa-heads", "testdata/medusa/v01"]),
        generate(&["--draft-medusa-heads", "nowhere"]),
        generate(&["--draft-medusa-heads", "testdata/medusa/v01"]),
        generate(&["--draft-medusa-heads", "testdata/medusa/v01", "--draft-width", "2"]),
        generate(&["--acceptance", "sometimes"]),
        generate(&["--acceptance", "typical", "--typical-threshold", "2"]),
        generate(&["--quant", "int8"]),
        generate(&["--kv", "f16"]),
        generate(&["--threads", "0"]),
        generate(&["--threads", "5000"]),
        generate(&["--context", "1"]),
        generate(&["--context", "99999999999"]),
        generate(&["--isa", "sse"]),
        refusal_with(&["generate", "-p", "x"], &[("FORETOKEN_ISA", "sse")]),
        refusal_with(&["generate", "-p", "x"], &[("FORETOKEN_TEMPERATURE", "-1")]),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    2 error: --drafter: unknown drafter `fortune`; known are none, model, lookup, suffix, prediction, medusa, lookahead, jacobi, recycle, auto
    2 error: --drafter: drafter `lookup` is named twice; each can be merged once
    2 error: --draft-tokens: draft tokens is 0; it must be between 1 and 512
    2 error: --draft-tokens: draft tokens is 513; it must be between 1 and 512
    2 error: --draft-width: draft width is 65; it must be between 1 and 64
    2 error: --draft-min-prob: draft probability is NaN; it must be between 0 and 1
    2 error: invalid value 'q2' for '--draft-quant <FORMAT>' [possible values: f32, f16, bf16, q8_0, q4_0]; see --help
    2 error: --drafter: drafter `medusa` needs Medusa heads; name them with --medusa-heads
    2 error: --medusa-choices: `mc_sim_8b` cannot be drafted: it is no file (No such file or directory (os error 2)), and neither auto, auto:N, cartesian:N,N,.., a JSON list of paths, nor one of mc_sim_7b_63, vicuna_7b_stage2, vicuna_13b_stage2, vicuna_33b_stage1, vicuna_33b_stage2, zephyr_stage2
    2 error: --medusa-choices: `[[0, 0]]` cannot be drafted: path [0, 0] needs the path [0], which is not in the tree
    2 error: --medusa-choices: `auto:0` cannot be drafted: auto takes a number of nodes from 1 to 512
    2 error: --medusa-vocab: medusa vocab is 0; it must be at least 1
    1 error: --medusa-heads: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    2 error: --lookahead: lookahead is 7,5; it must be W,N,G such as 7,5,7: a window of at most 64 columns, n-grams of 2 to 16 tokens, 1 to 64 guesses, and no more than 512 nodes in all
    1 error: `docs`: it holds no Medusa head; name a folder with medusa_lm_head.safetensors, medusa_lm_head.pt or model.safetensors, or such a file itself
    1 error: `testdata/medusa/v01`: the heads are for a hidden size of 8 (tensor `0.0.linear.weight`) where the model has 384; use heads trained for this model
    1 error: --draft-medusa-heads: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    1 error: `testdata/medusa/v01`: the heads are for a hidden size of 8 (tensor `0.0.linear.weight`) where the model has 128; use heads trained for this model
    2 error: --draft-medusa-heads: heads of a draft model help with chains, not with trees of width 2; leave them out, or draft with --draft-width 1
    2 error: invalid value 'sometimes' for '--acceptance <RULE>' [possible values: coupled, rejection, typical]; see --help
    2 error: --typical-threshold and --typical-alpha: typical acceptance is 2 with 0.3; it must be a threshold in (0, 1] and a positive alpha
    2 error: invalid value 'int8' for '--quant <FORMAT>' [possible values: f32, f16, bf16, q8_0, q4_0]; see --help
    2 error: invalid value 'f16' for '--kv <TYPE>' [possible values: f32, bf16]; a similar value exists: 'bf16'; see --help
    2 error: invalid value '0' for '--threads <N>': number would be zero for non-zero type; see --help
    2 error: --threads: threads is 5000; it must be between 1 and 1024
    2 error: --context: context is 1; it must be between 2 and 2^30 tokens
    2 error: --context: context is 99999999999; it must be between 2 and 2^30 tokens
    2 error: invalid value 'sse' for '--isa <LEVEL>' [possible values: scalar, neon, dotprod, i8mm, avx2, avxvnni, avx512, amx]; see --help
    2 error: invalid value 'sse' for '--isa <LEVEL>' [possible values: scalar, neon, dotprod, i8mm, avx2, avxvnni, avx512, amx]; see --help
    2 error: --temperature: temperature is -1; it must be 0 (greedy) or a finite number of at least 0.000001
    ");
}

#[test]
fn prompts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).expect("a temporary file");
        path.to_string_lossy().into_owned()
    };
    let long = "word ".repeat(1100);
    let (long_file, binary) = (file("long.txt", long.as_bytes()), file("binary", b"\xff\xfe"));
    let huge = file("huge", &vec![b'a'; (16 << 20) + 1]);
    let cases = [
        refusal(&["generate", "-p", &long]),
        refusal(&["generate", "--prompt-file", &long_file]),
        refusal(&["generate", "-p", "two tokens", "--context", "3"]),
        refusal(&["generate", "--prompt-file", &binary]),
        refusal(&["generate", "--prompt-file", &huge]),
        refusal(&["generate", "--prompt-file", "nowhere.txt"]),
        refusal(&["generate", "--prompt-file", "crates"]),
        refusal(&["generate", "--tokens", "1,4096"]),
        refusal(&["generate", "--tokens", "1,x"]),
        refusal(&["generate", "--tokens", ""]),
        refusal(&["score", "demo", "--text", &long]),
        refusal(&["score", "demo", "--text-file", "nowhere.txt"]),
        refusal(&["score", "demo", "--tokens", "4294967295"]),
    ];
    let cases = cases.join("\n").replace(&*folder.path().to_string_lossy(), "[folder]");
    insta::assert_snapshot!(cases, @r"
    2 error: --prompt: the prompt has 1102 tokens and the context holds 1024; shorten it or raise --context
    1 error: `[folder]/long.txt`: the prompt has 1102 tokens and the context holds 1024; shorten it or raise --context
    2 error: --prompt: the prompt has 5 tokens and the context holds 3; shorten it or raise --context
    1 error: cannot read `[folder]/binary`: it is no UTF-8 text; convert it first
    1 error: cannot read `[folder]/huge`: it is longer than 16777216 bytes; shorten it
    1 error: cannot read `nowhere.txt`: No such file or directory (os error 2)
    1 error: cannot read `crates`: Is a directory (os error 21)
    2 error: --tokens: token id 4096 is outside the vocabulary of 4096
    2 error: invalid value 'x' for '--tokens <ID,...>': invalid digit found in string; see --help
    2 error: invalid value '' for '--tokens <ID,...>': cannot parse integer from empty string; see --help
    2 error: --text: the prompt has 1102 tokens and the context holds 1024; shorten it or raise --context
    1 error: cannot read `nowhere.txt`: No such file or directory (os error 2)
    2 error: --tokens: token id 4294967295 is outside the vocabulary of 4096
    ");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written() {
    use std::fs::File;
    use std::process::{Command, Stdio};

    let full = File::options().write(true).open("/dev/full").expect("a device that is full");
    let mut command = Command::new(env!("CARGO_BIN_EXE_foretoken"));
    let output = command.args(["tokenize", "demo", "x"]).stdout(full).output();
    let output = output.expect("the command runs");
    assert_eq!(output.status.code(), Some(1));
    let line = "error: cannot write the output: No space left on device (os error 28)\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), line);

    // A reader that has gone is no error.
    let mut child = Command::new(env!("CARGO_BIN_EXE_foretoken"))
        .args(["generate", "-p", "x", "--max-tokens", "64"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn an_empty_prompt_is_a_prompt_where_the_model_has_a_bos() {
    let run = foretoken(&["generate", "-p", "", "--max-tokens", "4"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}
