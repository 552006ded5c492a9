//! Tokenizers that are trained on a run's text.

use std::fs;
use std::path::{Path, PathBuf};

use foretoken_model::{AddSpecial, GenerationPrompt, Message, ModelSource, ParseSpecial};
use foretoken_train::{VocabularyError, train_tokenizer};

/// Plain text, a conversation, tokens and a line that is none.
fn data(folder: &Path) -> Vec<PathBuf> {
    let file = folder.join("data.jsonl");
    let lines = [
        r#"{"text": "the cat sat, the cat ate; <|user|>the cat<|user|> <|user|> sat"}"#,
        r#"{"messages": [{"role": "user", "content": "the dog?"}, {"role": "assistant", "content": "the dog!"}]}"#,
        r#"{"tokens": [1, 2, 3]}"#,
        "nothing",
    ];
    fs::write(&file, lines.join("\n")).expect("the data");
    vec![file]
}

#[test]
fn pairs_of_the_text_become_tokens_and_special_ones_stay_whole() {
    let root = tempfile::tempdir().expect("a folder");
    let data = data(root.path());
    let folders = ["a", "b"].map(|name| root.path().join(name));
    for folder in &folders {
        train_tokenizer(300, &data, folder).expect("it trains");
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        let [a, b] = folders.each_ref().map(|folder| fs::read(folder.join(name)).expect(name));
        assert!(a == b, "{name}");
    }
    let source = ModelSource::Folder(folders[0].clone());
    let tokenizer = source.tokenizer().expect("a tokenizer");
    // The end of a word that came once is no token, and nothing was learned from the text of a special one.
    assert!(tokenizer.id("\u{120}cat").is_some() && tokenizer.id("\u{120}dog").is_some());
    assert!(tokenizer.id("\u{120}ate").is_none() && tokenizer.id("<|").is_none());
    assert!(tokenizer.vocab_size() < 300, "{}", tokenizer.vocab_size());
    let text = "Näive 日本 <|end|>\n";
    let tokens = tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes).expect("tokens");
    assert_eq!((tokens[0], tokenizer.id("<|end|>")), (0, Some(3)));
    assert!(tokens.contains(&3));
    assert_eq!(tokenizer.decode(&tokens[1..]), text.replace("<|end|>", ""));
    let template = source.chat_template().expect("it is read").expect("a template");
    let turns = [Message::new("user", "hi"), Message::new("assistant", " ho ")];
    let chat = template.render(&turns, GenerationPrompt::Add).expect("a conversation");
    let wanted = "<|endoftext|><|user|>\nhi<|end|>\n<|assistant|>\nho<|end|>\n<|assistant|>\n";
    assert_eq!(chat, wanted);
}

#[test]
fn too_few_tokens_and_no_text_are_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let out = root.path().join("out");
    let few = train_tokenizer(259, &data(root.path()), &out).expect_err("bytes need more");
    let wanted = "259 tokens are too few; 260 are those of bytes and special ones";
    assert!(matches!(few, VocabularyError::Few { .. }));
    assert_eq!(few.to_string(), wanted);
    let file = root.path().join("tokens.jsonl");
    fs::write(&file, "{\"tokens\": [1, 2, 3]}\n").expect("the data");
    let none = train_tokenizer(300, &[file], &out).expect_err("there is no text");
    assert!(matches!(none, VocabularyError::NoText), "{none}");
    let missing = train_tokenizer(300, &[root.path().join("no")], &out).expect_err("no file");
    assert!(matches!(missing, VocabularyError::Data(_)), "{missing}");
    assert!(!out.exists());
}
