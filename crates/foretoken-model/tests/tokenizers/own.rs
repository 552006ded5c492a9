//! Our own tiny tokenizers and templates, against the libraries that define their formats.

use foretoken_model::{
    AddSpecial, ChatError, ChatTemplate, GenerationPrompt, Gguf, Message, ParseSpecial, PieceKind,
    SpecialTexts, Tokenizer,
};
use serde::Deserialize;

use crate::shared::{read, workspace};

#[derive(Deserialize)]
struct Encoding {
    text: String,
    bare: Vec<u32>,
    full: Vec<u32>,
    decoded: String,
}

pub(crate) fn testdata(name: &str) -> Vec<u8> {
    read(workspace().join("testdata/tokenizers").join(name))
}

fn goldens(name: &str) -> Vec<Encoding> {
    let all: serde_json::Value = serde_json::from_slice(&testdata("encodings.json")).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

/// The three tokenizers that are always here, by their names in the goldens.
pub(crate) fn all() -> [(&'static str, Tokenizer); 3] {
    let own = |name: &str| Tokenizer::from_json(&testdata(&format!("{name}.json")), None).unwrap();
    let demo = read(workspace().join("models/foretoken-demo/tokenizer.json"));
    [
        ("byte_level", own("byte_level")),
        ("sentence_piece", own("sentence_piece")),
        ("demo", Tokenizer::from_json(&demo, None).unwrap()),
    ]
}

#[test]
fn encodings_are_those_of_the_tokenizers_library() {
    for (name, tokenizer) in all() {
        for Encoding { text, bare, full, decoded } in goldens(name) {
            let encode = |add| tokenizer.encode(&text, add, ParseSpecial::Yes).unwrap();
            assert_eq!(encode(AddSpecial::No), bare, "{name}: {text:?}");
            assert_eq!(encode(AddSpecial::Yes), full, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&bare), decoded, "{name}: {text:?}");
        }
    }
}

#[test]
fn a_text_that_goes_on_decodes_as_one_with_its_prompt() {
    for (name, tokenizer) in all() {
        for prompt in ["", "a", "the end.", " "] {
            let before = tokenizer.encode(prompt, AddSpecial::Yes, ParseSpecial::No).unwrap();
            for text in ["a b", " a", "\na", "ab\n", ""] {
                let after = tokenizer.encode_after(&before, text).unwrap();
                let whole = tokenizer.decode(&[before.clone(), after].concat());
                assert_eq!(whole, format!("{prompt}{text}"), "{name}");
            }
        }
    }
}

#[test]
fn the_same_tokenizers_as_gguf_encode_alike() {
    for (name, json) in &all()[..2] {
        let gguf = Gguf::parse(&testdata(&format!("{name}.gguf"))).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        assert_eq!(tokenizer.difference(json), None, "{name}");
        for text in goldens(name).into_iter().map(|golden| golden.text).chain(texts()) {
            for parse in [ParseSpecial::Yes, ParseSpecial::No] {
                let [ours, wanted] = [&tokenizer, json]
                    .map(|each| each.encode(&text, AddSpecial::Yes, parse).unwrap());
                assert_eq!(ours, wanted, "{name}: {text:?}");
                assert_eq!(tokenizer.decode(&ours), json.decode(&ours), "{name}: {text:?}");
            }
        }
        let template = ChatTemplate::from_gguf(&gguf).unwrap().unwrap();
        let prompt = template.render(&[], GenerationPrompt::Add).unwrap();
        let begin = tokenizer.bos().and_then(|bos| tokenizer.piece(bos)).unwrap();
        assert_eq!(prompt, format!("{begin}<|assistant|>\n"));
    }
}

/// Texts out of words, white space, special tokens, marks that combine and characters of every
/// length.
pub(crate) fn texts() -> impl Iterator<Item = String> {
    const PARTS: [&str; 16] = [
        "the", " draft", "  ", "\n", "\t", "12345", "'ll", "é", "e\u{301}", "你", "🦙", "<|end|>",
        "</s>", "▁", ".", "\u{FFFD}",
    ];
    (0..2000u64).map(|seed| {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
        let mut text = String::new();
        for _ in 0..seed % 12 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(PARTS[(state % 16) as usize]);
        }
        text
    })
}

#[test]
fn literal_text_survives_encoding_and_decoding() {
    for (name, tokenizer) in all() {
        for text in texts() {
            let ids = tokenizer.encode(&text, AddSpecial::Yes, ParseSpecial::No).unwrap();
            // SentencePiece's mark for a space cannot be told from a space.
            let wanted = if name == "sentence_piece" { text.replace('▁', " ") } else { text };
            assert_eq!(tokenizer.decode(&ids), wanted, "{name}: {ids:?}");
        }
    }
}

#[test]
fn streamed_pieces_are_the_decoding_of_all_tokens_and_continue_a_prompt() {
    for (name, tokenizer) in all() {
        let size = tokenizer.vocab_size() as u32;
        for (seed, text) in texts().enumerate() {
            let mut ids = tokenizer.encode(&text, AddSpecial::Yes, ParseSpecial::Yes).unwrap();
            // Tokens that no text leads to, out of the middle of characters too.
            ids.extend((0..seed as u32 % 7).map(|i| (seed as u32 * 31 + i * 97) % (size + 3)));
            let whole = tokenizer.decode(&ids);
            let mut stream = tokenizer.stream();
            let mut streamed = String::new();
            for (at, &id) in ids.iter().enumerate() {
                let prompt = streamed.len();
                let mut rest = tokenizer.stream_after(&ids[..at]);
                let mut tail = String::new();
                ids[at..].iter().for_each(|&id| tail.push_str(rest.push(id)));
                tail.push_str(rest.finish());
                assert_eq!(tail, whole[prompt..], "{name}: {ids:?} after {at}");
                streamed.push_str(stream.push(id));
                assert!(whole.starts_with(&streamed), "{name}: {ids:?}");
            }
            streamed.push_str(stream.finish());
            assert_eq!(streamed, whole, "{name}: {ids:?}");
        }
    }
}

#[test]
fn the_first_space_of_a_generation_is_kept_unless_nothing_precedes_it() {
    let (_, tokenizer) = &all()[1];
    let token = tokenizer.id("▁token").unwrap();
    let bos = tokenizer.id("<s>").unwrap();
    assert_eq!(tokenizer.stream_after(&[bos, token]).push(token), " token");
    assert_eq!(tokenizer.stream_after(&[bos]).push(token), "token");
    assert_eq!(tokenizer.kind(bos), PieceKind::Special);
    let newline = tokenizer.id("<0x0A>").unwrap();
    assert_eq!(tokenizer.kind(newline), PieceKind::Byte);
}

#[test]
fn bos_follows_the_configuration_where_the_post_processor_is_silent() {
    let mut file: serde_json::Value = serde_json::from_slice(&testdata("byte_level.json")).unwrap();
    let ids = |file: &serde_json::Value, config: &str| {
        let tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), Some(config.as_bytes()));
        tokenizer.map(|t| t.encode("x", AddSpecial::Yes, ParseSpecial::Yes).unwrap().len())
    };
    let bos = r#"{"bos_token": {"content": "<|begin|>"}, "add_bos_token": true}"#;
    assert_eq!(ids(&file, bos).unwrap(), 2, "the template alone adds it, once");
    assert_eq!(ids(&file, r#"{"add_bos_token": false}"#).unwrap(), 2, "the template comes first");
    file["post_processor"] = serde_json::Value::Null;
    assert_eq!(ids(&file, "{}").unwrap(), 1);
    assert_eq!(ids(&file, bos).unwrap(), 2);
    let missing = ids(&file, r#"{"add_bos_token": true}"#).unwrap_err().to_string();
    assert_eq!(
        missing,
        "`add_bos_token` names the piece `bos_token`, which is not in the vocabulary"
    );
}

/// One change to a good file, and what the error must say.
#[test]
fn malformed_files_are_refused_by_name() {
    let good: serde_json::Value = serde_json::from_slice(&testdata("byte_level.json")).unwrap();
    let refuse = |path: &str, value: serde_json::Value| {
        let mut file = good.clone();
        *file.pointer_mut(path).unwrap() = value;
        let result = Tokenizer::from_json(file.to_string().as_bytes(), None);
        result.err().unwrap_or_else(|| panic!("{path} is accepted")).to_string()
    };
    let cases = [
        ("/model/type", "Unigram".into(), "tokenizer model `Unigram` is not supported"),
        ("/model/merges/0", serde_json::json!(["q", "zz"]), "merge 0 (`q` + `zz`) uses or makes"),
        ("/model/merges/0", "a b c".into(), "merge 0 is `a b c`"),
        ("/model/vocab/!", 4_000_000_000u32.into(), "has the id 4000000000"),
        ("/model/vocab/!", 1.into(), "share the id 1"),
        ("/model/vocab/!", (-1).into(), "invalid value: integer `-1`"),
        ("/model/unk_token", "<no>".into(), "`unk_token` names the piece `<no>`"),
        ("/model/end_of_word_suffix", "</w>".into(), "`end_of_word_suffix` `</w>`"),
        ("/added_tokens/1/id", 7777.into(), "added token `<|end|>` has the id 7777"),
        ("/decoder", serde_json::json!({"type": "WordPiece"}), "unknown variant `WordPiece`"),
        (
            "/decoder",
            serde_json::json!({"type": "Strip", "content": "x", "start": 1, "stop": 0}),
            "Strip of anything",
        ),
        ("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(".into(), "pattern `(` cannot be used"),
        ("/pre_tokenizer/pretokenizers/0/pattern/Regex", "".into(), "it is empty"),
        ("/post_processor/processors/1/special_tokens", serde_json::json!({}), "template names"),
        ("/post_processor/processors/1/single", serde_json::json!([]), "with 0 texts"),
        (
            "/post_processor/processors/1/special_tokens/<|begin|>/ids",
            serde_json::json!([99999]),
            "names the id 99999",
        ),
        (
            "/normalizer",
            serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AA=="}),
            "unknown variant `Precompiled`",
        ),
        (
            "/normalizer",
            serde_json::json!({"type": "Replace", "pattern": {"Regex": "a*"}, "content": "b"}),
            "the normalizer's regular expression `a*` is not supported",
        ),
        (
            "/normalizer",
            serde_json::json!({"type": "Prepend", "prepend": ""}),
            "`Prepend of nothing` is not supported",
        ),
    ];
    for (path, value, message) in cases {
        let found = refuse(path, value);
        assert!(found.contains(message), "{path}: {found}");
        assert!(!found.contains('\n'), "{found}");
    }
    let message = Tokenizer::from_json(b"{", None).unwrap_err().to_string();
    assert!(message.starts_with("no valid tokenizer.json: "), "{message}");
}

#[derive(Deserialize)]
struct Chats {
    templates: serde_json::Map<String, serde_json::Value>,
    cases: Vec<Chat>,
}

#[derive(Deserialize)]
struct Chat {
    template: String,
    messages: Vec<(String, String)>,
    add_generation_prompt: bool,
    prompt: Option<String>,
    refused: Option<String>,
}

#[test]
fn prompts_are_those_of_transformers() {
    let chats: Chats = serde_json::from_slice(&testdata("chats.json")).unwrap();
    for case in &chats.cases {
        let special = SpecialTexts { bos: Some("<s>"), eos: Some("</s>") };
        let source = chats.templates[&case.template].as_str().unwrap();
        let template = ChatTemplate::new(source, special).unwrap();
        let messages: Vec<Message> =
            case.messages.iter().map(|(role, content)| Message::new(role, content)).collect();
        let add = [GenerationPrompt::Omit, GenerationPrompt::Add];
        let generation = add[usize::from(case.add_generation_prompt)];
        match template.render(&messages, generation) {
            Ok(prompt) => assert_eq!(Some(prompt), case.prompt, "{}", case.template),
            Err(ChatError::Refused(message)) => assert_eq!(Some(message), case.refused),
            Err(other) => panic!("{}: {other}", case.template),
        }
    }
    assert_eq!(chats.cases.len(), 12);
}
