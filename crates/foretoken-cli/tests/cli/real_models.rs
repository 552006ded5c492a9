//! Small models that others trained, where they are at hand.

use super::{json, refusal, shared};

const STORY: &str = ", there was a little girl named Lily. She loved to play outside in the park.";

const GREEDY: [&str; 2] = ["--temperature", "0"];

fn story(model: &str, more: &[&str]) -> serde_json::Value {
    let flags = ["-p", "Once upon a time", "--max-tokens", "40", "--json"];
    json(&[&["generate", model], &flags[..], more].concat())
}

#[test]
fn a_folder_and_its_gguf_file_tell_the_known_story() {
    let Some(folder) = shared("weights/stories260K") else { return };
    let told = story(&folder, &GREEDY);
    let text = told["text"].as_str().expect("a text");
    assert!(text.starts_with(STORY), "{text}");
    let gguf = story(&format!("{folder}/stories260K.gguf"), &GREEDY);
    assert_eq!(told["tokens"], gguf["tokens"]);
}

#[test]
fn two_models_of_one_vocabulary_draft_for_each_other() {
    let Some(small) = shared("weights/stories260K") else { return };
    let Some(large) = shared("weights/llama2xs") else { return };
    for (target, draft) in [(&large, &small), (&small, &large)] {
        let plain = story(target, &[&["--drafter", "none"], &GREEDY[..]].concat());
        let drafted = story(target, &[&["--draft-model", draft.as_str()], &GREEDY[..]].concat());
        assert_eq!(plain["tokens"], drafted["tokens"]);
        assert_eq!(drafted["drafter"], "model");
        assert!(drafted["stats"]["accepted"].as_u64() > Some(0));
    }
}

#[test]
fn models_of_different_vocabularies_draft_for_each_other() {
    let Some(stories) = shared("weights/stories260K") else { return };
    let Some(llama2xs) = shared("weights/llama2xs") else { return };
    for (target, draft) in [("demo", &stories), (&stories, &"demo".to_owned()), ("demo", &llama2xs)]
    {
        let sampled: &[&str] = &["--temperature", "0.8", "--seed", "7"];
        for sampling in [sampled, &["--temperature", "0"]] {
            let plain = story(target, &[&["--drafter", "none"], sampling].concat());
            for way in ["auto", "tokens", "text"] {
                let flags = ["--drafter", "model", "--draft-model", draft, "--draft-vocab", way];
                let drafted = story(target, &[&flags, sampling].concat());
                assert_eq!(plain["tokens"], drafted["tokens"], "{target} by {draft}, {way}");
                let [drafted, accepted] =
                    ["drafted", "accepted"].map(|key| drafted["stats"][key].as_u64());
                assert!(
                    Some(0) < accepted && accepted < drafted,
                    "{target} by {draft}, {way}: {accepted:?}"
                );
            }
        }
    }
}

#[test]
fn the_same_vocabulary_can_be_demanded() {
    let Some(folder) = shared("weights/stories260K") else { return };
    insta::assert_snapshot!(
        refusal(&["generate", "-p", "x", "--draft-model", &folder, "--draft-vocab", "same"]),
        @r"1 error: --draft-model: draft model `stories260K` does not share the target's vocabulary: token id 0 is `<|endoftext|>` in one vocabulary and `<unk>` in the other; draft across vocabularies with --draft-vocab auto"
    );
}

#[test]
fn vocabularies_without_tensors_tokenize() {
    let Some(folder) = shared("data/tokenizers/gguf_vocab") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let object = json(&["tokenize", &path.to_string_lossy(), "Hello world", "--json"]);
            let (tokens, pieces) = (&object["tokens"], &object["pieces"]);
            assert_eq!(tokens.as_array().map(Vec::len), pieces.as_array().map(Vec::len));
            seen += 1;
        }
    }
    assert!(seen > 0, "there are vocabularies");
}
