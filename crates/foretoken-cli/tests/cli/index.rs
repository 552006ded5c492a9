//! An index of a corpus: made by the command, searched by `suffix`, refused where it does not belong.

use std::fs;
use std::path::Path;

use super::{foretoken, json, refusal};

/// A corpus of a line that is none and of texts of the built-in model.
fn write_corpus(folder: &Path) -> (String, String) {
    let text = |prompt| {
        let made = json(&["generate", "-p", prompt, "--max-tokens", "60", "--json"]);
        format!("{prompt}{}", made["text"].as_str().expect("a text"))
    };
    let lines = ["Once upon a time", "def add(a, b):"]
        .map(|prompt| serde_json::json!({ "text": text(prompt) }).to_string());
    let (corpus, index) = (folder.join("corpus.jsonl"), folder.join("corpus.index"));
    fs::write(&corpus, format!("{}\nno JSON\n{}\n", lines[0], lines[1])).expect("the corpus");
    (corpus.display().to_string(), index.display().to_string())
}

#[test]
fn a_corpus_is_indexed_and_drafts_its_own_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (corpus, index) = write_corpus(folder.path());
    let made = json(&["index", &corpus, "-o", &index, "--json"]);
    assert_eq!((&made["documents"], &made["skipped_lines"]), (&2.into(), &1.into()), "{made}");
    let (tokens, bytes) = (made["tokens"].as_u64(), made["bytes"].as_u64());
    // A separator behind each document, and a header.
    assert_eq!(bytes, tokens.map(|tokens| 32 + 8 * (tokens + 2)), "{made}");
    assert_eq!(bytes, fs::metadata(&index).ok().map(|file| file.len()));
    let plain = foretoken(&["index", &corpus, "-o", &index]);
    let size = plain.stdout.strip_prefix(&format!("{index}: ")).expect("the file first");
    assert!(size.contains(" kB in ") || size.contains(" B in "), "{size}");
    assert!(plain.stderr.contains("2 documents with"), "{}", plain.stderr);
    let prompt = ["generate", "-p", "Once upon a time", "--max-tokens", "40", "--json"];
    for sampling in [&[][..], &["--temperature", "0.9", "--seed", "3"]] {
        let run = |more: &[&str]| json(&[&prompt, sampling, more].concat());
        let plain = run(&["--drafter", "none"]);
        let alone = run(&["--drafter", "suffix"]);
        let quoting = run(&["--drafter", "suffix", "--suffix-corpus", &index]);
        assert_eq!(plain["tokens"], quoting["tokens"]);
        assert_eq!(plain["tokens"], alone["tokens"]);
        // The corpus holds what is written greedily.
        let accepted = |run: &serde_json::Value| run["stats"]["accepted"].as_u64();
        assert!(!sampling.is_empty() || accepted(&quoting) > accepted(&alone), "{quoting}");
    }
}

#[test]
fn what_is_no_corpus_or_no_index_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (corpus, index) = write_corpus(folder.path());
    let other = folder.path().join("other.jsonl").display().to_string();
    let cut = folder.path().join("cut.index").display().to_string();
    assert_eq!(foretoken(&["index", &corpus, "-o", &index]).code, Some(0));
    let whole = fs::read(&index).expect("the index");
    fs::write(&cut, &whole[..whole.len() - 4]).expect("a part of it");
    let bad = folder.path().join("bad.jsonl").display().to_string();
    fs::write(&bad, "no JSON\n").expect("a line that is none");
    let generate = |index| {
        let flags = ["generate", "--tokens", "1", "--max-tokens", "2"];
        refusal(&[&flags[..], &["--drafter", "suffix", "--suffix-corpus", index]].concat())
    };
    let cases = [
        refusal(&["index", "nowhere.jsonl", "-o", &index]),
        refusal(&["index", "docs", "-o", &index]),
        refusal(&["index", &bad, "-o", &index]),
        refusal(&["index", &corpus, "nowhere", "-o", &index]),
        refusal(&["index", &corpus]),
        refusal(&["index", &corpus, "-o", &corpus]),
        refusal(&["index", &folder.path().display().to_string(), "-o", &other]),
        refusal(&["index", &corpus, "-o", "docs"]),
        generate("nowhere.index"),
        generate("docs/suffix.md"),
        refusal(&["index", &corpus, "-o", "/no/such/folder/x"]),
    ];
    let shown = cases.join("\n");
    let folder = folder.path().display().to_string();
    insta::assert_snapshot!(shown.replace(&folder, "FOLDER"), @r#"
    1 error: cannot read `nowhere.jsonl`: No such file or directory (os error 2)
    1 error: `docs` holds no .jsonl or .jsonl.gz file; name the files themselves
    1 error: nothing can be learned from `FOLDER/bad.jsonl`: 1 bad lines, FOLDER/bad.jsonl:1: no JSON: expected ident at line 1 column 2; give lines such as {"text": "..."} or {"messages": [...]}
    1 error: model `nowhere` is neither a folder, a .gguf file nor a hub id in the local cache (no cache folder is known); check the path or download it first
    2 error: the following required arguments were not provided: --output <FILE>; see --help
    2 error: --output: `FOLDER/corpus.jsonl` is part of the corpus; name another file
    2 error: --output: `FOLDER/other.jsonl` is part of the corpus; name another file
    1 error: cannot write `docs`: it is there and no regular file; check that the folder exists and has room
    1 error: cannot read `nowhere.index`: No such file or directory (os error 2)
    1 error: `docs/suffix.md`: it is no index of a corpus; make one with `foretoken index`
    1 error: cannot write `/no/such/folder/x`: No such file or directory (os error 2); check that the folder exists and has room
    "#);
    let cut_short = generate(&cut);
    assert!(cut_short.contains("cut.index") && cut_short.contains("header asks"), "{cut_short}");
}
