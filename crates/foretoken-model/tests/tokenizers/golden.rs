//! Encodings that other implementations made.

use foretoken_model::{
    AddSpecial, Gguf, ParseSpecial, PieceKind, Tokenizer, TokenizerError, VocabularyFiles,
};

use crate::shared::{read, shared, workspace};

/// Without BOS.
fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, AddSpecial::No, ParseSpecial::Yes).unwrap()
}

/// The texts of an `.inp` file with the ids of its `.out` file.
fn cases(name: &str) -> Option<Vec<(String, Vec<u32>)>> {
    let stem = shared(&format!("data/tokenizers/gguf_vocab/ggml-vocab-{name}.gguf.inp"))?;
    let texts = String::from_utf8(read(&stem)).unwrap();
    let ids = String::from_utf8(read(stem.with_extension("out"))).unwrap();
    let texts = texts.split_terminator("\n__ggml_vocab_test__\n").map(str::to_owned);
    let parse = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let ids: Vec<Vec<u32>> = ids.lines().map(parse).collect();
    let texts: Vec<String> = texts.collect();
    assert_eq!(texts.len(), ids.len());
    Some(texts.into_iter().zip(ids).collect())
}

/// Encodes as the golden file says, and decodes to the text again.
fn check(name: &str, tokenizer: &Tokenizer, cases: &[(String, Vec<u32>)]) {
    for (text, ids) in cases {
        assert_eq!(&encode(tokenizer, text), ids, "{name}: {text:?}");
        assert_eq!(&tokenizer.decode(ids), text, "{name}");
    }
    println!("{name}: {} texts agree", cases.len());
}

fn gguf(path: &str) -> Option<Tokenizer> {
    let bytes = read(shared(path)?);
    Some(Tokenizer::from_gguf(&Gguf::parse(&bytes).unwrap()).unwrap())
}

fn vocabulary_gguf(name: &str) -> Option<Tokenizer> {
    gguf(&format!("data/tokenizers/gguf_vocab/ggml-vocab-{name}.gguf"))
}

#[test]
fn six_vocabularies_in_gguf_encode_as_their_golden_files_say() {
    for name in ["deepseek-coder", "falcon", "gpt-2", "llama-spm", "phi-3", "starcoder"] {
        let (Some(tokenizer), Some(cases)) = (vocabulary_gguf(name), cases(name)) else { return };
        check(name, &tokenizer, &cases);
    }
}

#[test]
fn gpt2_tokenizer_json_encodes_as_its_golden_files_say() {
    let Some(folder) = shared("data/tokenizers/gpt2") else { return };
    let tokenizer = Tokenizer::from_json(&read(folder.join("tokenizer.json")), None).unwrap();
    let Some(cases) = cases("gpt-2") else { return };
    check("gpt2", &tokenizer, &cases);

    let Some(golden) = shared("data/tokenizers/golden_encodings") else { return };
    let file: serde_json::Value =
        serde_json::from_slice(&read(golden.join("gpt2_encoded_tokens.json"))).unwrap();
    let ids: Vec<u32> = serde_json::from_value(file["token_ids"].clone()).unwrap();
    assert_eq!(encode(&tokenizer, file["text"].as_str().unwrap()), ids);

    let all: serde_json::Value =
        serde_json::from_slice(&read(golden.join("tokenizer_tests.json"))).unwrap();
    let cases = all["distilgpt2"].as_array().unwrap();
    for case in cases {
        let ids: Vec<u32> = serde_json::from_value(case["encoded"]["input_ids"].clone()).unwrap();
        let text = case["input"].as_str().unwrap();
        assert_eq!(encode(&tokenizer, text), ids, "{text:?}");
        // GPT-2 has no post-processor that adds anything.
        let raw = tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes).unwrap();
        assert_eq!(raw, ids);
    }
    assert_eq!(cases.len(), 18);
}

fn qwen() -> Option<Tokenizer> {
    let folder = shared("data/tokenizers/qwen2.5")?;
    let file = |name: &str| read(folder.join(name));
    let files = VocabularyFiles {
        vocab: &file("vocab.json"),
        merges: &file("merges.txt"),
        added_tokens: Some(&file("added_tokens.json")),
        tokenizer_config: Some(&file("tokenizer_config.json")),
    };
    Some(Tokenizer::from_vocab_and_merges(&files).unwrap())
}

#[test]
fn qwen_from_vocabulary_and_merges_encodes_as_its_golden_file_says() {
    let (Some(tokenizer), Some(cases)) = (qwen(), cases("qwen2")) else { return };
    check("qwen2.5", &tokenizer, &cases);

    let chat = "<|im_start|>user\nHi<|im_end|>\n<tool_call>";
    let ids = encode(&tokenizer, chat);
    assert_eq!(ids, [151_644, 872, 198, 13048, 151_645, 198, 151_657]);
    assert_eq!(tokenizer.decode(&ids), "user\nHi\n<tool_call>");
    assert_eq!(tokenizer.kind(151_645), PieceKind::Special);
    let literal = tokenizer.encode(chat, AddSpecial::Yes, ParseSpecial::No).unwrap();
    assert!(!literal.contains(&151_644) && literal.contains(&151_657), "{literal:?}");
    assert_eq!(tokenizer.decode(&literal), chat);
    // The model has 151,936 rows; the smaller family members' tables are padded.
    tokenizer.check_fits(151_936).unwrap();
    assert!(matches!(tokenizer.check_fits(32_000), Err(TokenizerError::ModelVocabulary { .. })));
}

/// The same SentencePiece vocabulary as the Llama 2 golden of another project, which gives `<s>`
/// too.
#[test]
fn llama_2_golden_texts_agree_with_bos() {
    let Some(tokenizer) = vocabulary_gguf("llama-spm") else { return };
    let Some(golden) = shared("data/tokenizers/golden_encodings") else { return };
    let all: serde_json::Value =
        serde_json::from_slice(&read(golden.join("tokenizer_tests.json"))).unwrap();
    let cases = all["coreml-projects/Llama-2-7b-chat-coreml"].as_array().unwrap();
    for case in cases {
        let text = case["input"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["encoded"]["input_ids"].clone()).unwrap();
        let ours = tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes).unwrap();
        assert_eq!(ours, ids, "{text:?}");
    }
    assert_eq!(cases.len(), 18);
}

#[test]
fn folder_and_gguf_of_one_model_are_one_tokenizer() {
    for name in ["stories260K", "llama2xs"] {
        let Some(folder) = shared(&format!("weights/{name}")) else { return };
        let json = read(folder.join("tokenizer.json"));
        let config = read(folder.join("tokenizer_config.json"));
        let folder = Tokenizer::from_json(&json, Some(&config)).unwrap();
        let gguf = gguf(&format!("weights/{name}/{name}.gguf")).unwrap();
        assert_eq!(folder.difference(&gguf), None, "{name}");
        assert_eq!((folder.bos(), folder.eos()), (Some(1), Some(2)));
        let long = "The end. ".repeat(500);
        let texts = ["Once upon a time, there was", " é <s>x</s>\n\n🦙  y", "", "a", long.as_str()];
        for text in texts {
            let both = [&folder, &gguf]
                .map(|each| each.encode(text, AddSpecial::Yes, ParseSpecial::Yes).unwrap());
            assert_eq!(both[0], both[1], "{name}: {text:?}");
            assert_eq!(both[0][0], 1);
            assert_eq!(folder.decode(&both[0]), gguf.decode(&both[0]));
        }
    }
}

#[test]
fn different_vocabularies_are_told_apart_by_their_first_difference() {
    let (Some(llama), Some(phi)) = (vocabulary_gguf("llama-spm"), vocabulary_gguf("phi-3")) else {
        return;
    };
    let mismatch = llama.difference(&phi).unwrap();
    assert_eq!(
        mismatch.to_string(),
        "token id 32000 is no piece in one vocabulary and `<|endoftext|>` in the other"
    );
}

fn demo(name: &str) -> Tokenizer {
    let folder = workspace().join("models").join(name);
    let config = read(folder.join("tokenizer_config.json"));
    Tokenizer::from_json(&read(folder.join("tokenizer.json")), Some(&config)).unwrap()
}

#[test]
fn the_built_in_models_share_a_vocabulary_and_begin_with_bos() {
    let (target, draft) = (demo("foretoken-demo"), demo("foretoken-demo-draft"));
    assert_eq!(target.difference(&draft), None);
    assert_eq!(target.vocab_size(), 4096);
    let text = "def add(a, b):\n    return a + b  # naïve 🦙\n";
    let ids = target.encode(text, AddSpecial::Yes, ParseSpecial::Yes).unwrap();
    assert_eq!(ids[0], target.bos().unwrap());
    assert_eq!(target.decode(&ids), text);
    assert_eq!(encode(&target, text), ids[1..]);
    assert_eq!(encode(&target, "<|user|>\n")[0], target.id("<|user|>").unwrap());
}
