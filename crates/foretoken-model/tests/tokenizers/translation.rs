//! One text in two vocabularies: tokens that mean the same, and the text between the others.

use foretoken_model::{AddSpecial, ParseSpecial, PieceKind, Tokenizer, Translation, Translator};

use serde_json::{Value, json};

use crate::own::{all, testdata, texts};
use crate::shared::{read, workspace};

/// Numbers that no other seed gives.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// Every ordered pair of different vocabularies.
fn pairs() -> Vec<(String, Tokenizer, Tokenizer)> {
    let all = all();
    let pairs = all.iter().flat_map(|left| all.iter().map(move |right| (left, right)));
    let different = pairs.filter(|(left, right)| left.0 != right.0);
    different.map(|(l, r)| (format!("{} to {}", l.0, r.0), l.1.clone(), r.1.clone())).collect()
}

/// A vocabulary after a change to its file.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Tokenizer {
    let mut file = serde_json::from_slice(&testdata(&format!("{name}.json"))).unwrap();
    change(&mut file);
    Tokenizer::from_json(file.to_string().as_bytes(), None).unwrap()
}

fn translator(left: &Tokenizer, right: &Tokenizer) -> Translator {
    Translator::to_right(&left.overlap(right), left, right)
}

/// Translates `tokens`, a few at a time; whoever keeps what is said to be unchanged has the outcome.
fn translate(translator: &Translator, tokens: &[u32], dice: &mut Dice) -> Vec<u32> {
    let (mut translation, mut kept) = (Translation::new(), Vec::<u32>::new());
    let mut rest = tokens;
    while !rest.is_empty() {
        let (next, more) = rest.split_at(1 + dice.roll(rest.len().min(5)));
        translation.push(translator, next);
        rest = more;
        kept.truncate(translation.unchanged());
        assert!(translation.tokens().starts_with(&kept), "what is unchanged stays");
        kept = translation.tokens().to_vec();
        translation.mark();
    }
    assert_eq!(translation.read(), tokens.len());
    kept
}

#[test]
fn twins_are_one_to_one_and_write_the_same() {
    for (name, left, right) in pairs() {
        let (overlap, back) = (left.overlap(&right), right.overlap(&left));
        assert!(overlap.shared() > 90, "{name}: {}", overlap.shared());
        assert_eq!(overlap.iter().count(), overlap.shared(), "{name}");
        for (one, other) in overlap.iter() {
            assert_eq!(
                (overlap.right(one), overlap.left(other)),
                (Some(other), Some(one)),
                "{name}"
            );
            assert_eq!(back.right(other), Some(one), "{name}: {one}");
            // A letter in front keeps the first space.
            let shown = |tokenizer: &Tokenizer, id| {
                tokenizer.stream_after(&[tokenizer.id("x").unwrap()]).push(id).to_owned()
            };
            if left.kind(one) != PieceKind::Special {
                assert_eq!(shown(&left, one), shown(&right, other), "{name}: {one}");
            }
        }
        let specials = overlap.iter().filter(|&(one, _)| left.kind(one) == PieceKind::Special);
        for (one, other) in specials {
            let alike = left.piece(one) == right.piece(other);
            let roles = left.bos() == Some(one) && right.bos() == Some(other)
                || left.eos() == Some(one) && right.eos() == Some(other);
            assert!(alike || roles, "{name}: {one} and {other}");
        }
    }
}

#[test]
fn a_role_pairs_no_token_that_has_a_twin() {
    let read = |eos: &str| {
        let config = format!(r#"{{"eos_token": "{eos}"}}"#);
        Tokenizer::from_json(&testdata("byte_level.json"), Some(config.as_bytes())).unwrap()
    };
    let (left, right) = (read("<|begin|>"), read("<|end|>"));
    assert_ne!(left.eos(), right.eos());
    let overlap = left.overlap(&right);
    for eos in [left.eos(), right.eos()].map(Option::unwrap) {
        assert_eq!((overlap.right(eos), overlap.left(eos)), (Some(eos), Some(eos)));
    }
}

#[test]
fn a_vocabulary_is_its_own_twin() {
    for (name, tokenizer) in all() {
        let overlap = tokenizer.overlap(&tokenizer);
        let same = overlap.iter().filter(|(left, right)| left == right).count();
        let all = tokenizer.vocab_size();
        assert_eq!((overlap.shared(), same), (all, all), "{name}");
    }
}

#[test]
fn translating_step_by_step_is_tokenizing_the_whole_text() {
    let mut dice = Dice(1);
    for (name, left, right) in pairs() {
        let translator = translator(&left, &right);
        // SentencePiece reads its mark for a space as one.
        let texts: Vec<String> = texts().map(|text| text.replace('▁', "")).collect();
        for parts in texts.chunks(12) {
            let tokens = left.encode(&parts.concat(), AddSpecial::Yes, ParseSpecial::No).unwrap();
            // What is written is not always what was read.
            let text = left.decode(&tokens);
            let whole = right.encode(&text, AddSpecial::Yes, ParseSpecial::No).unwrap();
            assert_eq!(translate(&translator, &tokens, &mut dice), whole, "{name}: {text:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_translated_exactly() {
    let mut dice = Dice(2);
    for (name, left, right) in pairs() {
        let translator = translator(&left, &right);
        let bytes: Vec<u32> = (0..left.vocab_size() as u32)
            .filter(|&id| left.decode(&[id]).contains('\u{FFFD}'))
            .collect();
        assert!(bytes.len() > 64, "{name} has pieces of characters");
        for _ in 0..200 {
            let mut tokens = left.encode("x", AddSpecial::No, ParseSpecial::No).unwrap();
            for _ in 0..dice.roll(60) {
                let any = dice.roll(left.vocab_size()) as u32;
                let visible =
                    left.kind(any) != PieceKind::Special && left.kind(any) != PieceKind::Unused;
                tokens.push(if dice.roll(2) == 0 && visible {
                    any
                } else {
                    bytes[dice.roll(bytes.len())]
                });
            }
            let translated = translate(&translator, &tokens, &mut dice);
            assert_eq!(right.decode(&translated), left.decode(&tokens), "{name}: {tokens:?}");
        }
    }
}

#[test]
fn one_word_that_a_tokenizer_would_change_leaves_the_others_as_they_are() {
    let prompts = String::from_utf8(read(workspace().join("testdata/prompts.txt"))).unwrap();
    let prompts = prompts.to_lowercase();
    // No piece of this word crosses a space.
    let spaced = ["no"; 80].join(" ");
    let (composes, lowers) = (json!({"type": "NFC"}), json!({"type": "Lowercase"}));
    for (name, around, word, normalizer) in [
        ("byte_level", &prompts, "e\u{301}", &composes),
        ("byte_level", &prompts, "A", &lowers),
        ("sentence_piece", &spaced, "e\u{301}", &composes),
    ] {
        let plain = changed(name, |_| ());
        let odd = changed(name, |file| {
            let known = file["normalizer"].take();
            let all = [&known, normalizer].into_iter().filter(|each| !each.is_null());
            file["normalizer"] =
                json!({"type": "Sequence", "normalizers": all.collect::<Vec<_>>()});
        });
        let text = format!("{around} {word} {around}");
        let [tokens, anew] = [&plain, &odd]
            .map(|each| each.encode(&text, AddSpecial::Yes, ParseSpecial::No).unwrap());
        assert_ne!(anew, tokens, "{name} changes {word}");
        let translator = translator(&plain, &odd);
        assert_eq!(translate(&translator, &tokens, &mut Dice(5)), tokens, "{name}: {word}");
        let mut all_at_once = Translation::new();
        all_at_once.push(&translator, &tokens);
        assert_eq!(all_at_once.tokens(), tokens, "{name}: {word}");
    }
}

#[test]
fn tokens_beyond_a_model_are_not_written() {
    let plain = changed("byte_level", |_| ());
    let longer = changed("byte_level", |file| {
        let added = json!({"id": 342, "content": "draft", "special": false, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false});
        file["added_tokens"].as_array_mut().unwrap().push(added);
    });
    let text = "the draft, the drafted";
    let [tokens, odd] = [&plain, &longer]
        .map(|tokenizer| tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::No).unwrap());
    assert!(odd.contains(&342) && odd.contains(&340));
    for rows in [342, 340] {
        let size = plain.vocab_size();
        let overlap = plain.overlap(&longer).within(size, rows);
        let reader = Translator::to_right(&overlap, &plain, &longer);
        let read = translate(&reader, &tokens, &mut Dice(6));
        let overlap = longer.overlap(&plain).within(rows, size);
        let writer = Translator::to_left(&overlap, &longer, &plain);
        let mut written = tokens.clone();
        writer.continue_with(&tokens, &tokens[1..], &mut written);
        for found in [read, written.split_off(tokens.len())] {
            assert!(found.iter().all(|&id| (id as usize) < rows), "{rows}: {found:?}");
            assert_eq!(longer.decode(&found), text, "{rows}");
        }
    }
}

#[test]
fn special_tokens_become_their_twins_and_frames_are_not_doubled() {
    let read = |name: &str, config: &str| {
        let file = testdata(&format!("{name}.json"));
        Tokenizer::from_json(&file, Some(config.as_bytes())).unwrap()
    };
    let left = read("byte_level", r#"{"bos_token": "<|begin|>", "eos_token": "<|end|>"}"#);
    let right = read("sentence_piece", r#"{"bos_token": "<s>", "eos_token": "</s>"}"#);
    let text = |tokenizer: &Tokenizer, text| {
        tokenizer.encode(text, AddSpecial::No, ParseSpecial::No).unwrap()
    };
    let written = |tokenizer: &Tokenizer| {
        let [bos, eos] = [tokenizer.bos(), tokenizer.eos()].map(Option::unwrap);
        [&[bos][..], &text(tokenizer, "the draft"), &[eos], &text(tokenizer, "the")].concat()
    };
    let mut odd_ones = 0;
    for (left, right) in [(&left, &right), (&right, &left)] {
        let forth = translator(left, right);
        assert_eq!(translate(&forth, &written(left), &mut Dice(4)), written(right));
        let begun = translate(&forth, &written(left)[1..], &mut Dice(4));
        let framed = right.encode("", AddSpecial::Yes, ParseSpecial::No).unwrap();
        assert_eq!(begun, [&framed, &written(right)[1..]].concat());
        let [twice, told] = [left, right].map(|each| [vec![each.eos().unwrap(); 2], written(each)]);
        let told = [framed, told.concat()].concat();
        assert_eq!(translate(&forth, &twice.concat(), &mut Dice(4)), told, "both stay");
        let [begun, told] =
            [left, right].map(|each| [&written(each)[..1], &written(each)].concat());
        assert_eq!(translate(&forth, &begun, &mut Dice(4)), told, "only the first is there");
        // A special token without a twin is left out of a text, and ends what is drafted.
        let overlap = left.overlap(right);
        let is_odd = |&id: &u32| left.kind(id) == PieceKind::Special && overlap.right(id).is_none();
        let Some(odd) = (0..left.vocab_size() as u32).find(is_odd) else { continue };
        odd_ones += 1;
        let tokens = [written(left), vec![odd], text(left, "the")].concat();
        let told = [written(right), text(right, "the")].concat();
        assert_eq!(translate(&forth, &tokens, &mut Dice(4)), told);
        let mut out = Vec::new();
        forth.continue_with(&[], &tokens[1..], &mut out);
        assert_eq!(out, written(right)[1..]);
    }
    assert!(odd_ones > 0, "one vocabulary has a special token that the other lacks");
}

/// The tokens of a continuation alone, where a letter before it is a token of its own and the tokens write
/// the text (some vocabularies write a space for their mark of one).
fn continuation(tokenizer: &Tokenizer, text: &str) -> Option<Vec<u32>> {
    let tokens = tokenizer.encode(&format!("x{text}"), AddSpecial::No, ParseSpecial::No).unwrap();
    let border = (1..=tokens.len()).find(|&count| tokenizer.decode(&tokens[..count]) == "x")?;
    (tokenizer.decode(&tokens) == format!("x{text}")).then_some(())?;
    Some(tokens[border..].to_vec())
}

#[test]
fn what_continues_a_text_at_a_border_of_its_tokens_is_the_rest_of_them() {
    let mut dice = Dice(3);
    for (name, left, right) in pairs() {
        let writer = translator(&left, &right);
        let mut seen = 0;
        let pairs = texts().zip(texts().skip(1)).map(|(one, other)| one + &other);
        for text in texts().chain(pairs) {
            let whole = right.encode(&text, AddSpecial::No, ParseSpecial::No).unwrap();
            let (before, rest) = whole.split_at(dice.roll(whole.len() + 1));
            if text.contains('\u{FFFD}') {
                continue;
            }
            let (read, text) = (right.decode(before), right.decode(&whole));
            // Neither within a character nor at the beginning, where a space may stand in front.
            let Some(ahead) = text.strip_prefix(&read).filter(|_| !read.is_empty()) else {
                continue;
            };
            let Some(drafted) = continuation(&left, ahead) else { continue };
            let mut out = Vec::new();
            writer.continue_with(before, &drafted, &mut out);
            assert_eq!(out, rest, "{name}: {read:?} and {ahead:?}");
            seen += 1;
        }
        assert!(seen > 1000, "{name}: {seen}");
    }
}

#[test]
fn what_continues_a_text_within_a_token_is_spelled_all_the_same() {
    for (name, left, right) in pairs() {
        let writer = translator(&left, &right);
        let mut seen = 0;
        for text in texts() {
            let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            let (before, ahead) = text.split_at(middle);
            let before = format!("x{before}");
            let before = right.encode(&before, AddSpecial::Yes, ParseSpecial::No).unwrap();
            let Some(drafted) = continuation(&left, ahead) else { continue };
            let mut joined = before.clone();
            writer.continue_with(&before, &drafted, &mut joined);
            let mut stream = left.stream_after(&[left.id("x").unwrap()]);
            let mut shown: String = drafted.iter().map(|&id| stream.push(id).to_owned()).collect();
            shown.push_str(stream.finish());
            assert_eq!(right.decode(&joined), right.decode(&before) + &shown, "{name}: {text:?}");
            seen += 1;
        }
        assert!(seen > 500, "{name}: {seen}");
    }
}
