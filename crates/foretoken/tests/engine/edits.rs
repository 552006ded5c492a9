//! What drafters make of edits and quotations, with the emitted text forced: a small model would not copy.

use foretoken::{AddSpecial, Engine, EngineOptions, ParseSpecial, Request};

use crate::models::demo_draft;
use crate::oracle::Dice;

const NAMES: [&str; 12] = [
    "count", "total", "width", "offset", "limit", "depth", "speed", "weight", "index", "length",
    "margin", "step",
];
const VERBS: [&str; 8] = ["read", "merge", "split", "find", "scale", "trim", "sort", "store"];
const SIGNS: [&str; 5] = ["+", "-", "*", "/", "%"];

fn pick<'a>(dice: &mut Dice, words: &[&'a str]) -> &'a str {
    words[dice.roll(words.len())]
}

/// A source file of 25 functions of eight lines.
fn file() -> Vec<String> {
    let mut dice = Dice(4);
    let mut lines = Vec::new();
    for number in 0..25 {
        let [a, b, x] = [0; 3].map(|_| pick(&mut dice, &NAMES));
        let [verb, other] = [0; 2].map(|_| pick(&mut dice, &VERBS));
        let [sign, second] = [0; 2].map(|_| pick(&mut dice, &SIGNS));
        let [small, large] = [9, 500].map(|bound| dice.roll(bound));
        lines.extend([
            format!("/// Returns the {x} that {verb} gives for {a} and {b}."),
            format!("fn {verb}_{x}_{number}({a}: u32, {b}: u32) -> u32 {{"),
            format!("    let {x} = {a} {sign} {large};"),
            format!("    if {x} > {b} {{"),
            format!("        return {b} {second} {small};"),
            "    }".to_owned(),
            format!("    {other}_{x}({a}, {x} {second} {b})"),
            "}".to_owned(),
        ]);
    }
    lines
}

/// A line that the file does not have.
fn other_line(dice: &mut Dice) -> String {
    let [a, b] = [0; 2].map(|_| pick(dice, &NAMES));
    format!("    let {a} = {}({b}, {});", pick(dice, &VERBS), dice.roll(9999))
}

/// Edits of at most a tenth of the lines, by name.
fn edits(old: &[String]) -> Vec<(&'static str, Vec<String>)> {
    let mut dice = Dice(9);
    let tenth = old.len() / 10;
    let [mut replaced, mut inserted, mut deleted, mut moved] = [0; 4].map(|_| old.to_vec());
    for n in 0..tenth {
        replaced[10 * n + 3 + n % 4] = other_line(&mut dice);
        // In places of two lines each.
        inserted.insert(21 * (n / 2) + n % 2 + 3, other_line(&mut dice));
        deleted.remove(9 * n + n % 3);
    }
    let part: Vec<_> = moved.drain(40..56).collect();
    moved.splice(120..120, part);
    let renamed = |line: &String| line.replace("merge_", "combine_");
    let renamed: Vec<_> = old.iter().map(renamed).collect();
    let changed = old.iter().zip(&renamed).filter(|(a, b)| a != b).count();
    assert!((5..=tenth).contains(&changed), "{changed} lines are renamed");
    vec![
        ("replace", replaced),
        ("insert", inserted),
        ("delete", deleted),
        ("move", moved),
        ("rename", renamed),
    ]
}

fn engine(drafter: &str) -> Engine {
    let mut options = EngineOptions::new(demo_draft());
    drafter.clone_into(&mut options.drafter);
    options.context = Some(8192);
    Engine::new(options).unwrap()
}

/// Tokens per pass of a text behind a prompt that holds `source`, which is the prediction too.
fn tokens_per_pass(engine: &mut Engine, source: &str, text: &str) -> f64 {
    let tokenizer = engine.tokenizer();
    let prompt = format!("Here is a text:\n{source}\nAnd another:\n");
    let prompt = tokenizer.encode(&prompt, AddSpecial::Yes, ParseSpecial::No).unwrap();
    let mut request = Request::new(prompt);
    request.prediction = tokenizer.encode_after(&request.prompt, source).unwrap();
    request.forced = Some(tokenizer.encode_after(&request.prompt, text).unwrap());
    request.max_tokens = None;
    let completion = engine.generate(request).unwrap().into_completion().unwrap();
    assert_eq!(completion.text, text, "the forced text");
    completion.stats.mean_accepted_length()
}

#[test]
fn edited_files_are_copied_around_their_changes() {
    let old = file();
    let source = old.join("\n");
    for (drafter, least) in [("lookup", 4.0), ("suffix", 4.0), ("prediction", 6.0)] {
        let mut engine = engine(drafter);
        for (edit, new) in edits(&old) {
            let mean = tokens_per_pass(&mut engine, &source, &new.join("\n"));
            println!("{drafter}, {edit}: {mean:.2} tokens per pass");
            assert!(mean >= least, "{drafter}, {edit}: {mean:.2} tokens per pass");
        }
    }
}

/// Sentences without a pattern.
fn prose(dice: &mut Dice) -> Vec<Vec<String>> {
    const SYLLABLES: [&str; 16] = [
        "ba", "ren", "to", "mil", "ka", "sor", "de", "lin", "pu", "gar", "ne", "vo", "chi", "tam",
        "wes", "or",
    ];
    let mut word = || (0..=dice.roll(3)).map(|_| SYLLABLES[dice.roll(16)]).collect::<String>();
    (0..40).map(|_| (0..18).map(|_| word()).collect()).collect()
}

#[test]
fn summaries_that_quote_are_drafted_where_they_quote() {
    let mut dice = Dice(6);
    let (text, others) = (prose(&mut dice), prose(&mut dice));
    let join = |sentences: &[Vec<String>]| {
        sentences.iter().map(|words| words.join(" ") + ".\n").collect::<String>()
    };
    // Every third sentence is quoted from its fourth word on, between five words of the summary's own.
    let quoting = text.iter().step_by(3).zip(&others).map(|(sentence, own)| {
        let quote = &sentence[3..16];
        [&own[..3], quote, &own[3..5]].concat()
    });
    let summary = join(&quoting.collect::<Vec<_>>());
    for drafter in ["lookup", "suffix", "prediction"] {
        let mean = tokens_per_pass(&mut engine(drafter), &join(&text), &summary);
        println!("{drafter}: {mean:.2} tokens per pass");
        assert!(mean >= 2.0, "{drafter}: {mean:.2} tokens per pass");
    }
}
