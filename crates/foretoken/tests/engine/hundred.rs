//! A hundred prompts of three kinds on the built-in model: free text, code, and heavy repetition.

use std::num::NonZeroUsize;

use foretoken::{
    AddSpecial, Completion, DRAFTERS, DraftVocabulary, EndOfText, Engine, EngineOptions, Event,
    ModelSource, ParseSpecial, Request, TokenId, WeightFormat,
};

use crate::models::{demo, demo_draft, demo_heads, shuffled_demo_draft};
use crate::runs::accepted_lengths;

/// Tokens written behind each prompt.
const TOKENS: usize = 12;

/// Beginnings of sentences and parts of a program.
pub(crate) fn sentences_and_code() -> impl Iterator<Item = String> {
    let sentences = include_str!("../../../../testdata/sentences.txt").lines().map(str::to_owned);
    let script: Vec<_> = include_str!("../../../../testdata/make_goldens.py").lines().collect();
    let code: Vec<_> = script.chunks(3).map(|lines| lines.join("\n")).collect();
    sentences.chain(code.into_iter().filter(|lines| lines.contains('=')).take(33))
}

/// Sentences, code and lists.
fn prompts() -> Vec<String> {
    let lists = (0..33).map(|n| {
        let item =
            ["- red, green, blue\n", "x = x + 1\n", "la la la, ", "1, 2, 3, 1, 2, 3, "][n % 4];
        item.repeat(3 + n / 8)
    });
    let prompts: Vec<_> = sentences_and_code().chain(lists).collect();
    assert_eq!(prompts.len(), 100);
    prompts
}

/// Prompts and how they are completed.
struct Cell {
    temperature: f64,
    together: bool,
    requests: Vec<Request>,
    /// What plain decoding writes.
    expected: Vec<Completion>,
}

/// How the prompts are shared among the cells: each cell has all, or each prompt is in one cell.
#[derive(Clone, Copy, PartialEq)]
enum Share {
    All,
    Quarter,
}

/// Greedy and seeded, alone and together.
fn cells(plain: &mut Engine, share: Share) -> Vec<Cell> {
    let (prompts, ways) = (prompts(), [(0.0, false), (0.0, true), (0.8, false), (0.8, true)]);
    let cell = |(index, (temperature, together))| {
        let (first, step) = if share == Share::All { (0, 1) } else { (index, ways.len()) };
        let texts = prompts.iter().enumerate().skip(first).step_by(step);
        let requests: Vec<_> = texts.map(|text| request(plain, text, temperature)).collect();
        let expected = complete(plain, &requests, true);
        Cell { temperature, together, requests: predicted(requests, &expected), expected }
    };
    ways.into_iter().enumerate().map(cell).collect()
}

fn request(engine: &Engine, (seed, text): (usize, &String), temperature: f64) -> Request {
    let prompt = engine.tokenizer().encode(text, AddSpecial::Yes, ParseSpecial::No).unwrap();
    let mut request = Request::new(prompt);
    request.max_tokens = Some(TOKENS);
    request.seed = Some(seed as u64);
    request.sampling.temperature = temperature;
    request.end_of_text = EndOfText::Ignored;
    request
}

fn engine(format: WeightFormat, Drafting { drafter, draft, vocabulary }: &Drafting) -> Engine {
    let mut options = EngineOptions::new(demo());
    drafter.clone_into(&mut options.drafter);
    options.format = Some(format);
    options.draft_model = Some(draft.clone());
    options.draft_vocabulary = *vocabulary;
    options.medusa.heads = Some(demo_heads());
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

/// Who drafts.
#[derive(Debug)]
struct Drafting {
    drafter: String,
    draft: ModelSource,
    vocabulary: DraftVocabulary,
}

impl Drafting {
    /// With the built-in draft.
    fn own(drafter: &str) -> Self {
        let (drafter, draft) = (drafter.to_owned(), demo_draft());
        Self { drafter, draft, vocabulary: DraftVocabulary::Same }
    }
}

/// Single methods, mixtures of them, and a draft of another vocabulary.
fn draftings(foreign: &ModelSource) -> Vec<Drafting> {
    let single = DRAFTERS.iter().map(|info| info.name).filter(|&name| name != "none");
    let merged =
        ["model+lookup", "medusa+suffix", "lookahead+recycle", "medusa+model+suffix+jacobi"];
    let across = [
        ("model", DraftVocabulary::Tokens),
        ("model", DraftVocabulary::Text),
        ("model+suffix", DraftVocabulary::Tokens),
    ]
    .map(|(drafter, vocabulary)| Drafting {
        draft: foreign.clone(),
        vocabulary,
        ..Drafting::own(drafter)
    });
    single.chain(merged).map(Drafting::own).chain(across).collect()
}

/// The same requests told what they will write, with mistakes, for `prediction`.
fn predicted(requests: Vec<Request>, written: &[Completion]) -> Vec<Request> {
    let predict = |(request, completion): (Request, &Completion)| {
        let wrong = |(index, &token): (usize, &TokenId)| if index % 5 == 3 { 0 } else { token };
        let prediction = completion.tokens.iter().enumerate().map(wrong).collect();
        Request { prediction, ..request }
    };
    requests.into_iter().zip(written).map(predict).collect()
}

/// Compares every drafter with plain decoding. Every cell that has all prompts, or all cells together, must
/// have steps that accept 0, 1 and more.
fn check(format: WeightFormat, share: Share) {
    let cells = cells(&mut engine(format, &Drafting::own("none")), share);
    let foreign = shuffled_demo_draft(2000);
    for drafting in draftings(&ModelSource::Folder(foreign.path().to_owned())) {
        let mut engine = engine(format, &drafting);
        let Drafting { drafter, vocabulary, .. } = &drafting;
        let drafter = format!("{drafter} ({vocabulary:?} vocabulary)");
        let mut all = [0; 3];
        for Cell { temperature, together, requests, expected } in &cells {
            let name = format!("{drafter} in {format:?} at {temperature}, together {together}");
            let completions = complete(&mut engine, requests, *together);
            for (completion, expected) in completions.iter().zip(expected) {
                assert_eq!(completion.tokens, expected.tokens, "{name}");
            }
            let accepted = accepted_lengths(completions.iter().map(|c| &c.stats));
            println!("{name}: steps that accept 0, 1 and more: {accepted:?}");
            assert!(share == Share::Quarter || !accepted.contains(&0), "{name}: {accepted:?}");
            all.iter_mut().zip(accepted).for_each(|(sum, steps)| *sum += steps);
        }
        assert!(!all.contains(&0), "{drafter} in {format:?}: {all:?}");
    }
}

#[test]
fn hundred_prompts_in_f32() {
    check(WeightFormat::F32, Share::Quarter);
}

#[test]
fn hundred_prompts_in_bf16() {
    check(WeightFormat::Bf16, Share::Quarter);
}

#[test]
fn hundred_prompts_in_q8_0() {
    check(WeightFormat::Q8_0, Share::Quarter);
}

#[test]
fn hundred_prompts_in_q4_0() {
    check(WeightFormat::Q4_0, Share::Quarter);
}

#[test]
#[ignore = "takes twenty minutes"]
fn hundred_prompts_in_every_cell() {
    for format in [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Q8_0, WeightFormat::Q4_0] {
        check(format, Share::All);
    }
}
