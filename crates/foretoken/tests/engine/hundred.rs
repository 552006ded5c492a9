//! A hundred prompts of three kinds on the built-in model: free text, code, and heavy repetition.

use std::num::NonZeroUsize;

use foretoken::{
    AddSpecial, Completion, DRAFTERS, EndOfText, Engine, EngineOptions, Event, MedusaSource,
    ModelSource, ParseSpecial, Request, SpecStats, TokenId, WeightFormat,
};

use crate::models::{demo, demo_draft, root};

/// Tokens written behind each prompt.
const TOKENS: usize = 12;

/// Sentences, functions and lists.
fn prompts() -> Vec<String> {
    let sentences = include_str!("../../../../docs/kernels.md").lines();
    let sentences =
        sentences.filter(|line| line.len() > 70 && line.starts_with(char::is_alphabetic));
    let script: Vec<_> = include_str!("../../../../testdata/make_goldens.py").lines().collect();
    let functions = script.chunks(3).map(|lines| lines.join("\n"));
    let functions = functions.filter(|lines| lines.contains('='));
    let lists = (0..33).map(|n| {
        let item =
            ["- red, green, blue\n", "x = x + 1\n", "la la la, ", "1, 2, 3, 1, 2, 3, "][n % 4];
        item.repeat(3 + n / 8)
    });
    let prompts: Vec<_> = sentences
        .take(34)
        .map(|line| line.chars().take(60).collect())
        .chain(functions.take(33))
        .chain(lists)
        .collect();
    assert_eq!(prompts.len(), 100);
    prompts
}

/// Every second prompt greedily, the others by their own seed.
fn requests(engine: &Engine) -> Vec<Request> {
    let request = |(index, text): (usize, String)| {
        let prompt = engine.tokenizer().encode(&text, AddSpecial::Yes, ParseSpecial::No).unwrap();
        let mut request = Request::new(prompt);
        request.max_tokens = Some(TOKENS);
        request.seed = Some(index as u64);
        request.sampling.temperature = if index % 2 == 0 { 0.0 } else { 0.8 };
        request.end_of_text = EndOfText::Ignored;
        request
    };
    prompts().into_iter().enumerate().map(request).collect()
}

fn engine(format: WeightFormat, drafter: &str) -> Engine {
    let mut options = EngineOptions::new(demo());
    drafter.clone_into(&mut options.drafter);
    options.format = Some(format);
    options.draft_model = Some(demo_draft());
    options.medusa.heads = Some(MedusaSource::Folder(ModelSource::Folder(
        root().join("models/foretoken-demo-medusa"),
    )));
    options.max_sequences = 4;
    options.threads = Some(NonZeroUsize::MIN);
    Engine::new(options).unwrap()
}

/// Completes requests one by one, or as many at a time as the engine takes.
fn complete(engine: &mut Engine, requests: &[Request], together: bool) -> Vec<Completion> {
    let size = if together { requests.len() } else { 1 };
    let mut completions = Vec::new();
    for requests in requests.chunks(size) {
        let ids: Vec<_> =
            requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
        let mut events = Vec::new();
        while !engine.is_idle() {
            engine.step(&mut events);
        }
        let finished = |id| {
            events.iter().find_map(|event| match event {
                Event::Finished(of, completion) if *of == id => Some(completion.clone()),
                _ => None,
            })
        };
        completions.extend(ids.into_iter().map(|id| finished(id).unwrap()));
    }
    completions
}

/// Single methods, and mixtures of them.
fn drafters() -> Vec<String> {
    let single = DRAFTERS.iter().map(|info| info.name.to_owned()).filter(|name| name != "none");
    let merged =
        ["model+lookup", "medusa+suffix", "lookahead+lookup", "medusa+model+suffix+jacobi"];
    single.chain(merged.map(str::to_owned)).collect()
}

fn check(format: WeightFormat) {
    let mut plain = engine(format, "none");
    let requests = requests(&plain);
    let expected = complete(&mut plain, &requests, true);
    // What `prediction` is told: the text, with mistakes.
    let requests: Vec<_> = requests
        .into_iter()
        .zip(&expected)
        .map(|(request, completion)| {
            let wrong = |(index, &token): (usize, &TokenId)| if index % 5 == 3 { 0 } else { token };
            let prediction = completion.tokens.iter().enumerate().map(wrong).collect();
            Request { prediction, ..request }
        })
        .collect();
    for drafter in drafters() {
        let mut engine = engine(format, &drafter);
        // Halves of every kind and temperature run alone and together.
        let (mut lengths, mut completions) = ([0; 3], Vec::new());
        for (index, quarter) in requests.chunks(10).enumerate() {
            completions.extend(complete(&mut engine, quarter, index % 2 == 0));
        }
        for (completion, expected) in completions.iter().zip(&expected) {
            assert_eq!(completion.tokens, expected.tokens, "{drafter} in {format:?}");
            let stats: &SpecStats = &completion.stats;
            let reached = |depth| stats.accepted_by_position.get(depth).copied().unwrap_or(0);
            lengths[0] += stats.steps - reached(0);
            lengths[1] += reached(0) - reached(1);
            lengths[2] += reached(1);
        }
        println!("{drafter} in {format:?}: steps that accept 0, 1, more: {lengths:?}");
        assert!(lengths.iter().all(|&steps| steps > 0), "{drafter} in {format:?}: {lengths:?}");
    }
}

#[test]
fn hundred_prompts_in_f32() {
    check(WeightFormat::F32);
}

#[test]
fn hundred_prompts_in_bf16() {
    check(WeightFormat::Bf16);
}

#[test]
fn hundred_prompts_in_q8_0() {
    check(WeightFormat::Q8_0);
}

#[test]
fn hundred_prompts_in_q4_0() {
    check(WeightFormat::Q4_0);
}
