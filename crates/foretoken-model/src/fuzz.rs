//! Bodies of the fuzz targets: each takes any bytes and must return without panicking, in memory
//! proportional to its input. A stable test runs them over seeds and mutations.

use crate::config::UnknownKeys;
use crate::medusa::Parts;
use crate::store::Stored;
use crate::{
    AddSpecial, ChatTemplate, GenerationPrompt, MedusaCalibration, Message, ParseSpecial,
    SpecialTexts, Tokenizer, VocabularyFiles,
};

/// A GGUF header and, where it parses, its configuration.
pub fn gguf(bytes: &[u8]) {
    if let Ok(gguf) = crate::gguf::Gguf::parse(bytes) {
        for tensor in gguf.tensors() {
            assert!(tensor.range.end <= bytes.len(), "tensors lie within the file");
        }
        for unknown_keys in [UnknownKeys::Refuse, UnknownKeys::Warn] {
            let _ = crate::arch::from_gguf(&gguf, unknown_keys);
        }
    }
}

/// A safetensors header.
pub fn safetensors(bytes: &[u8]) {
    if let Ok(tensors) = crate::safetensors::parse(bytes) {
        for tensor in tensors {
            assert!(tensor.range.end <= bytes.len(), "tensors lie within the file");
        }
    }
}

/// The archive and pickle of a file of `torch.save`.
pub fn pytorch(bytes: &[u8]) {
    if let Ok(tensors) = crate::pytorch::parse(bytes) {
        for tensor in tensors {
            assert!(tensor.range.end <= bytes.len(), "tensors lie within the file");
        }
    }
}

/// Medusa heads in either kind of file, and a calibration beside them.
pub fn medusa(bytes: &[u8]) {
    let tensors = if crate::pytorch::is_pytorch(bytes) {
        crate::pytorch::parse(bytes).unwrap_or_default()
    } else {
        crate::safetensors::parse_tied(bytes).unwrap_or_default()
    };
    for original in [false, true] {
        let stored = tensors.iter().map(|tensor| Stored::new(tensor, bytes, "fuzz"));
        if let Ok(parts) = Parts::sort(stored, original) {
            assert!(parts.shape.count > 0, "heads that open are some");
            for tensor in parts.shape.tensors() {
                assert!(!parts.name(tensor).is_empty(), "every tensor of the shape is there");
            }
        }
    }
    let _ = MedusaCalibration::parse(bytes, 3, "fuzz");
}

/// A `config.json`, and the rotation and tensor shapes of the model it describes.
pub fn config(bytes: &[u8]) {
    let Ok(map) = crate::checkpoint::parse_object(bytes) else { return };
    for unknown_keys in [UnknownKeys::Refuse, UnknownKeys::Warn] {
        if let Ok(understood) = crate::arch::from_config(&map, unknown_keys) {
            let spec = understood.spec;
            let rotation = crate::rope::Rotation::new(&spec.rope, spec.context);
            let mut angles = vec![0.0; rotation.width()];
            rotation.fill(1, &mut angles);
            for tensor in crate::checkpoint::Tensor::all(&spec) {
                assert!(tensor.shape(&spec).iter().all(|&size| size > 0), "no size is zero");
            }
        }
    }
}

/// A `tokenizer.json`, and some text through the tokenizer it describes.
pub fn tokenizer_json(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_json(bytes, Some(TOKENIZER_CONFIG)) {
        use_tokenizer(&tokenizer);
    }
}

/// The vocabulary in a GGUF header, and some text through it.
pub fn tokenizer_gguf(bytes: &[u8]) {
    if let Ok(gguf) = crate::gguf::Gguf::parse(bytes) {
        if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
            use_tokenizer(&tokenizer);
        }
        let _ = ChatTemplate::from_gguf(&gguf);
    }
}

/// `merges.txt` beside a small `vocab.json`, or the other way round.
pub fn tokenizer_files(bytes: &[u8]) {
    let (vocab, merges) = (br#"{"a": 0, "b": 1, "ab": 2, "\u0120": 3}"#, b"#version\na b\n");
    let added = Some(br#"{"<a>": 4}"#.as_slice());
    for (vocab, merges, added_tokens) in
        [(bytes, &merges[..], added), (vocab, bytes, added), (vocab, merges, Some(bytes))]
    {
        let files = VocabularyFiles { vocab, merges, added_tokens, tokenizer_config: None };
        if let Ok(tokenizer) = Tokenizer::from_vocab_and_merges(&files) {
            use_tokenizer(&tokenizer);
        }
    }
}

/// A chat template, rendered with a plain conversation.
pub fn chat_template(bytes: &[u8]) {
    let _ = ChatTemplate::from_files(Some(bytes), None);
    let source = String::from_utf8_lossy(bytes);
    let special = SpecialTexts { bos: Some("<s>"), eos: None };
    if let Ok(template) = ChatTemplate::new(&source, special) {
        let turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Yo"), ("user", "")];
        let messages = turns.map(|(role, content)| Message::new(role, content));
        for generation_prompt in [GenerationPrompt::Add, GenerationPrompt::Omit] {
            let _ = template.render(&messages, generation_prompt);
        }
    }
}

const TOKENIZER_CONFIG: &[u8] = br#"{"add_bos_token": false, "add_eos_token": false}"#;

/// Encodes and decodes, and checks what must hold of any vocabulary.
fn use_tokenizer(tokenizer: &Tokenizer) {
    let text = "The <|end|> ab\n\n  e\u{301}1234 \u{1F999}</s>";
    for parse in [ParseSpecial::Yes, ParseSpecial::No] {
        let Ok(ids) = tokenizer.encode(text, AddSpecial::Yes, parse) else { continue };
        let size = tokenizer.vocab_size();
        assert!(ids.iter().all(|&id| (id as usize) < size), "ids are in the vocabulary");
        let mut stream = tokenizer.stream();
        let mut streamed = String::new();
        for &id in &ids {
            streamed.push_str(stream.push(id));
        }
        streamed.push_str(stream.finish());
        assert_eq!(streamed, tokenizer.decode(&ids), "a stream decodes what all tokens write");
    }
    assert_eq!(tokenizer.difference(&tokenizer.clone()), None, "a vocabulary equals itself");
    let _ = tokenizer.check_fits(1);
}
