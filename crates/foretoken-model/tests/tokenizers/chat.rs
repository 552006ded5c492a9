//! Chat templates of real models: all compile, and a plain conversation renders or is refused.

use std::time::{Duration, Instant};

use foretoken_model::{ChatError, ChatTemplate, GenerationPrompt, Message, SpecialTexts};

use crate::shared::{read, shared};

/// Templates that no plain conversation renders, with the reason; transformers fails on them alike.
const EXCEPTIONS: [(&str, &str); 2] = [
    // Renders only with a list of functions.
    ("fireworks-ai-llama-3-firefunction-v2.jinja", "`functions` is undefined"),
    // Assigns to an attribute of a message where there are no tool calls.
    ("MiroThinker.jinja", "holds a namespace"),
];

#[test]
fn templates_of_real_models_render_a_plain_conversation() {
    let Some(folder) = shared("data/tokenizers/chat_templates") else { return };
    let special = SpecialTexts { bos: Some("<s>"), eos: Some("</s>") };
    let turns = [("user", "What is 2+2?"), ("assistant", "It is 4."), ("user", "And 3+3?")];
    let messages = turns.map(|(role, content)| Message::new(role, content));
    let mut rendered = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jinja") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = String::from_utf8(read(&path)).unwrap();
        let start = Instant::now();
        let template =
            ChatTemplate::new(&source, special).unwrap_or_else(|e| panic!("{name}: {e}"));
        let exception = EXCEPTIONS.iter().find(|(template, _)| *template == name);
        match (template.render(&messages, GenerationPrompt::Add), exception) {
            (Ok(prompt), None) => {
                assert!(prompt.contains("And 3+3?"), "{name}: {prompt}");
                rendered += 1;
            }
            (Err(ChatError::Render(message)), Some((_, reason))) => {
                assert!(message.contains(reason), "{name}: {message}");
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{name}: {:?}", start.elapsed());
    }
    println!("{rendered} templates render, {} cannot", EXCEPTIONS.len());
    assert!(rendered >= 50, "{rendered}");
}

#[test]
fn a_gguf_file_brings_its_template_and_tokens() {
    let path = "data/tokenizers/gguf_vocab/ggml-vocab-phi-3.gguf";
    let Some(path) = shared(path) else { return };
    let gguf = foretoken_model::Gguf::parse(&read(path)).unwrap();
    let template = ChatTemplate::from_gguf(&gguf).unwrap().unwrap();
    let prompt = template.render(&[Message::new("user", "Hi")], GenerationPrompt::Add).unwrap();
    assert_eq!(prompt, "<s><|user|>\nHi<|end|>\n<|assistant|>\n");
}
