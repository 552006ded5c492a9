//! From files to documents: what is learned of them, and what is said about lines that are none.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use foretoken_model::{
    AddSpecial, ChatTemplate, Checkpoint, ModelSource, OpenOptions, ParseSpecial, SpecialTexts,
    Tokenizer,
};
use foretoken_train::data::{Corpus, Document, Encoder};

use crate::support::{compute, demo};

const CHAT: &str = r#"{"messages": [{"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello there"}, {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you"}]}"#;

fn source() -> ModelSource {
    ModelSource::Folder(demo())
}

fn tokenizer() -> Tokenizer {
    source().tokenizer().expect("the demo's tokenizer")
}

fn encoder() -> Encoder {
    let checkpoint = Checkpoint::open(&source(), &OpenOptions::default()).expect("the demo");
    Encoder::of(&checkpoint).expect("its tokenizer")
}

/// The demo's tokenizer with another template.
fn templated(template: &str) -> Encoder {
    let template = ChatTemplate::new(template, SpecialTexts::default()).expect("a template");
    Encoder::new(tokenizer(), Some(template), 4096)
}

fn encode(text: &str) -> Vec<u32> {
    tokenizer().encode(text, AddSpecial::No, ParseSpecial::Yes).expect("tokens")
}

/// Runs of tokens that are learned.
fn answers(document: &Document) -> Vec<Vec<u32>> {
    let mut runs = vec![Vec::new()];
    for (token, learned) in document.tokens().iter().zip(document.learned()) {
        if *learned {
            runs.last_mut().expect("a run").push(*token);
        } else if runs.last().is_some_and(|run| !run.is_empty()) {
            runs.push(Vec::new());
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[test]
fn of_chat_the_answers_are_learned_with_their_ends() {
    let document = encoder().document(&CHAT.replace('\n', " ")).expect("a conversation");
    let whole = "<|endoftext|><|user|>\nHi<|end|>\n<|assistant|>\nHello there<|end|>\n<|user|>\nBye\
                 <|end|>\n<|assistant|>\nSee you<|end|>\n";
    assert_eq!(document.tokens(), encode(whole));
    let wanted = [encode("Hello there<|end|>\n"), encode("See you<|end|>\n")];
    assert_eq!(answers(&document), wanted);
    let same = r#"{"conversations": [{"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello there"}, {"from": "human", "value": "Bye"},
        {"from": "gpt", "value": "See you"}]}"#;
    assert_eq!(encoder().document(same).expect("a conversation"), document);
}

#[test]
fn a_token_that_begins_in_the_prompt_and_ends_in_the_answer_is_learned() {
    let encoder = templated(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
         {% if add_generation_prompt %}assistant: {% endif %}",
    );
    let document = encoder.document(&CHAT.replace('\n', " ")).expect("a conversation");
    let whole = "user: Hi\nassistant: Hello there\nuser: Bye\nassistant: See you\n";
    assert_eq!(document.tokens(), encode(whole));
    assert_eq!(answers(&document), [encode(" Hello there\n"), encode(" See you\n")]);
}

#[test]
fn answers_that_a_template_writes_otherwise_later_are_not_learned() {
    let marked = |role: &str| {
        templated(&format!(
            "{{% for m in messages %}}<|user|>{{{{ m.content }}}}\
             {{% if loop.last and m.role == '{role}' %}}!{{% endif %}}{{% endfor %}}\
             {{% if add_generation_prompt %}}<|user|>{{% endif %}}"
        ))
    };
    let chat = CHAT.replace('\n', " ");
    let document = marked("assistant").document(&chat).expect("a conversation");
    assert_eq!(answers(&document), [encode("See you!")]);
    let error = marked("user").document(&chat).expect_err("no prompt stays as it is");
    assert_eq!(error.to_string(), "nothing to learn: no token is part of an answer");
}

#[test]
fn a_header_that_only_prompts_have_costs_no_answer() {
    let encoder = templated(
        "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}\
         {% if add_generation_prompt %}<|user|><|assistant|>Think{% endif %}",
    );
    let document = encoder.document(&CHAT.replace('\n', " ")).expect("a conversation");
    assert_eq!(answers(&document), [encode("Hello there"), encode("See you")]);
}

#[test]
fn of_text_everything_is_learned_but_the_first_token() {
    let encoder = encoder();
    let text = |text: &str| {
        let line = serde_json::json!({ "text": text }).to_string();
        encoder.document(&line).expect("a text")
    };
    let document = text("Once upon a time");
    assert_eq!(document.tokens(), encode("<|endoftext|>Once upon a time<|end|>"));
    assert!(!document.learned()[0]);
    assert!(document.learned()[1..].iter().all(|learned| *learned));
    let ended = "<|user|>\nHi<|end|>\n<|assistant|>\nHo<|end|>\n";
    assert_eq!(text(ended).tokens(), encode(&format!("<|endoftext|>{ended}")), "it has its end");
}

#[test]
fn of_tokens_all_behind_the_prompt_are_learned() {
    let encoder = encoder();
    let document = encoder.document(r#"{"tokens": [5, 6, 7, 8], "prompt": 3}"#).expect("tokens");
    assert_eq!(document.tokens(), [5, 6, 7, 8]);
    assert_eq!(document.learned(), [false, false, false, true]);
    let document = encoder.document(r#"{"tokens": [5, 6]}"#).expect("tokens");
    assert_eq!(document.learned(), [false, true]);
}

#[test]
fn lines_without_anything_to_learn_are_refused() {
    let bare = Encoder::new(tokenizer(), None, 100);
    let cases = [
        (encoder(), r#"{"text": ""}"#, "nothing to learn: the text is empty"),
        (encoder(), r#"{"tokens": [3]}"#, "nothing to learn: less than two tokens"),
        (
            encoder(),
            r#"{"tokens": [3, 4], "prompt": 2}"#,
            "nothing to learn: no token is part of an answer",
        ),
        (
            encoder(),
            r#"{"messages": [{"role": "user", "content": "Hi"}]}"#,
            "nothing to learn: nobody answers as `assistant`",
        ),
        (bare.clone(), r#"{"messages": []}"#, "a conversation, and the model has no chat template"),
        (
            bare.clone(),
            r#"{"tokens": [3, 100]}"#,
            "token 100 is not below 100, the size of the vocabulary",
        ),
    ];
    for (encoder, line, wanted) in cases {
        assert_eq!(encoder.document(line).expect_err(line).to_string(), wanted);
    }
}

/// A folder of files and a corpus of paths in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn add(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn read(&self, paths: &[PathBuf]) -> Result<Corpus, String> {
        let root = format!("{}/", self.0.path().display());
        let mut told = Vec::new();
        let corpus =
            Corpus::read(&compute(2), &encoder(), paths, &mut |done, all| told.push((done, all)));
        assert!(told.is_sorted(), "bytes are read once: {told:?}");
        let is_whole = told.last().is_some_and(|(done, all)| *done > 0 && done == all);
        assert!(corpus.is_err() || is_whole, "{told:?}");
        corpus.map_err(|error| error.to_string().replace(&root, ""))
    }
}

fn gzip(parts: &[&str]) -> Vec<u8> {
    let members = parts.iter().map(|part| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(part.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    });
    members.collect::<Vec<_>>().concat()
}

#[test]
fn files_and_folders_are_read_in_order_plain_or_compressed() {
    let files = Files::new();
    let line = |id: u32| format!("{{\"tokens\": [{id}, 1]}}\n");
    files.add("b.jsonl", format!("{}\n  \n{}", line(3), line(4).trim_end()).as_bytes());
    files.add("a.jsonl.gz", &gzip(&[&line(1), &line(2)]));
    files.add("notes.txt", b"no data");
    let single = files.add("other.data", line(9).as_bytes());
    let corpus = files.read(&[files.0.path().to_owned(), single]).expect("text");
    let ids: Vec<_> = (0..corpus.len()).map(|index| corpus.document(index).0[0]).collect();
    assert_eq!(ids, [1, 2, 3, 4, 9]);
    assert_eq!((corpus.tokens(), corpus.learned(), corpus.skipped().count), (10, 5, 0));
}

#[test]
fn bad_lines_are_counted_and_named_and_cost_nothing_else() {
    let files = Files::new();
    let mut bytes = b"{\"text\": \"good\"}\n\n{\"text\":\n\xff\xfe\n".to_vec();
    bytes.extend_from_slice(b"{\"other\": 1}\n{\"tokens\": [5000, 1]}\n");
    bytes.resize(bytes.len() + (32 << 20) + 3, b'x');
    bytes.extend_from_slice(b"\n{\"tokens\": [1]}\n{\"text\": \"also good\"}");
    let file = files.add("data", &bytes);
    let corpus = files.read(std::slice::from_ref(&file)).expect("text");
    assert_eq!((corpus.len(), corpus.skipped().count), (2, 6));
    let root = format!("{}:", file.display());
    let first: Vec<_> = corpus.skipped().first.iter().map(|line| line.replace(&root, "")).collect();
    assert_eq!(
        first,
        [
            "3: no JSON: EOF while parsing a value at line 1 column 8",
            "4: the line is not UTF-8",
            "5: no object with `text`, `messages`, `conversations` or `tokens`, a text or lists as they \
             should be",
            "6: token 5000 is not below 4096, the size of the vocabulary",
            "7: the line is longer than 33554432 bytes; part the document",
        ]
    );
    let said = corpus.skipped().to_string();
    assert!(said.starts_with("bad lines skipped: 6; ") && said.contains("data:3: "), "{said}");
}

#[test]
fn text_that_is_none_is_an_error() {
    let files = Files::new();
    let (empty, bad) = (files.add("empty", b"\n\n"), files.add("bad", b"x\ny\n"));
    let cut = files.add("cut.gz", &gzip(&["{\"text\": \"a\"}\n"])[..20]);
    let advice = "; give lines such as {\"text\": \"...\"} or {\"messages\": [...]}";
    let error = files.read(&[empty]).expect_err("nothing");
    assert_eq!(error, format!("nothing can be learned from `empty`: no line has any text{advice}"));
    let error = files.read(&[bad]).expect_err("nothing");
    let wanted = "nothing can be learned from `bad`: 2 bad lines, bad:1: no JSON: expected value at line \
                  1 column 1";
    assert_eq!(error, format!("{wanted}{advice}"));
    let error = files.read(&[cut]).expect_err("half a file");
    assert!(error.starts_with("cannot read `cut.gz`: "), "{error}");
    let error = files.read(&[files.0.path().join("missing")]).expect_err("no file");
    assert!(error.starts_with("cannot read `missing`: "), "{error}");
    let folder = files.0.path().join("folder");
    fs::create_dir(&folder).expect("a folder");
    let error = files.read(&[folder]).expect_err("no files");
    assert_eq!(error, "`folder` holds no .jsonl or .jsonl.gz file; name the files themselves");
}
