//! Drafts of another vocabulary: what they write is the undrafted text, and they are right as often as the
//! vocabularies allow.

use std::iter;
use std::path::Path;
use std::sync::{Arc, Mutex};

use foretoken::drafters::{DraftTask, Drafter, SequenceKey};
use foretoken::{
    AddSpecial, DraftVocabulary, EndOfText, Engine, EngineOptions, Error, ModelSource,
    ParseSpecial, Request, Rule, SamplingParams, SpecStats, TokenId, Tokenizer, Vocabularies,
    WeightFormat,
};
use foretoken_core::Proposal;

use crate::models::{Domain, Tiny, demo, demo_draft, letter, options, prompt, shuffled_demo_draft};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

const WAYS: [DraftVocabulary; 2] = [DraftVocabulary::Tokens, DraftVocabulary::Text];

/// A spelling under which the draft lacks every third token of the target and has others in their place.
fn foreign(id: TokenId) -> String {
    match id % 3 {
        0 => char::from_u32(0x4E00 + id).unwrap().to_string(),
        _ => letter(id).to_string(),
    }
}

/// A spelling with a token of two letters in every fourth place.
fn paired(id: TokenId) -> String {
    match id % 4 {
        0 => [id + 1, id + 2].map(letter).iter().collect(),
        _ => letter(id).to_string(),
    }
}

fn drafted(tiny: &Tiny, draft: &Tiny, way: DraftVocabulary, width: usize) -> EngineOptions {
    let mut options = options(tiny.source(), Domain::F32, 1);
    "model".clone_into(&mut options.drafter);
    options.draft_model = Some(draft.source());
    options.draft_vocabulary = way;
    options.draft.width = width;
    options.draft.tokens = Some(if width == 1 { 6 } else { 12 });
    options.draft.min_probability = 0.0;
    options
}

/// One request per prompt length, with ends of text and stop strings among them.
fn jobs(tiny: &Tiny) -> Vec<Job> {
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let tokenizer = tiny.source().tokenizer().unwrap();
    let lengths = [1, 63, 64, 65, 2, 130, 9, 200, 31];
    let job = |(index, length): (usize, usize)| {
        let sampling = &samplings()[index % 6];
        let mut request = request(prompt(length, index as u64), sampling, 40 + index);
        request.end_of_text = if index % 3 == 1 { EndOfText::Ends } else { EndOfText::Ignored };
        let job = Job::new(&mut plain, request);
        if index % 3 == 2 { job.stop_at(&tokenizer, 9 + index) } else { job }
    };
    lengths.into_iter().enumerate().map(job).collect()
}

/// The piece of an id.
type Spelling = fn(TokenId) -> String;

#[test]
fn whatever_vocabulary_drafts_the_text_is_the_undrafted_text() {
    let tiny = Tiny::new("llama-gqa");
    let jobs = jobs(&tiny);
    let spellings: [(&str, Spelling); 3] =
        [("alike", |id| letter(id).to_string()), ("foreign", foreign), ("paired", paired)];
    for (name, spell) in spellings {
        let draft = Tiny::new("llama-gqa").respelled(spell);
        for (way, width) in iter::zip([WAYS[0], WAYS[0], WAYS[1]], [1, 3, 1]) {
            let mut options = drafted(&tiny, &draft, way, width);
            options.draft_format = Some(WeightFormat::Q4_0);
            let mut bench = Bench::new(options);
            bench.check(&jobs, 2);
            let seen = bench.log.lock().unwrap().coverage;
            println!("{name} {way:?} {width}: {seen:?}");
            assert!(seen.none > 0 && seen.one > 0, "accepted 0 and 1: {name} {way:?} {seen:?}");
            assert!(seen.behind_prompt > 0, "a draft behind a prompt: {name} {way:?}");
        }
    }
}

#[test]
fn the_targets_own_weights_under_other_ids_are_never_refused() {
    let tiny = Tiny::new("llama-gqa");
    let draft = Tiny::new("llama-gqa").respelled(|id| letter(id).to_string());
    let [greedy, warm, .., all] = samplings();
    let by_tokens = [&greedy, &warm, &all].map(|sampling| (DraftVocabulary::Tokens, sampling));
    for (way, sampling) in by_tokens.into_iter().chain([(DraftVocabulary::Text, &greedy)]) {
        let requests = (0..3).map(|n| request(prompt(1 + 69 * n, n as u64), sampling, 100));
        let outcomes = Bench::new(drafted(&tiny, &draft, way, 1)).run(requests.collect(), 5);
        for outcome in outcomes {
            let stats = outcome.unwrap().stats;
            assert_eq!(stats.accepted, stats.drafted, "{way:?} {sampling:?}");
            assert!(stats.mean_accepted_length() > 5.0, "{way:?} {sampling:?}: {stats:?}");
        }
    }
    // A tree has wrong siblings, and always the right token among them.
    let requests = (0..3).map(|n| request(prompt(1 + 69 * n, n as u64), &warm, 100)).collect();
    let options = drafted(&tiny, &draft, DraftVocabulary::Tokens, 3);
    for outcome in Bench::new(options).run(requests, 5) {
        let stats = outcome.unwrap().stats;
        assert!(stats.mean_accepted_length() > 3.0, "{stats:?}");
    }
}

/// Looks at what is proposed under `rejection`.
struct Inspector {
    inner: Box<dyn Drafter>,
    target: Tokenizer,
    draft: Tokenizer,
    sampled: Arc<Mutex<usize>>,
}

impl Drafter for Inspector {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        self.inner.begin(key, prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.inner.propose(tasks);
        let overlap = self.target.overlap(&self.draft);
        for tree in tasks.iter().map(|task| &task.tree) {
            for node in 0..tree.len() {
                let Proposal::Sampled(q) = tree.proposal(node) else { continue };
                *self.sampled.lock().unwrap() += 1;
                assert!(q.iter().all(|&(token, _)| overlap.right(token).is_some()), "{q:?}");
                let sum: f64 = q.iter().map(|&(_, p)| p).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{sum}");
            }
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        self.inner.observe(tasks);
    }

    fn end(&mut self, key: SequenceKey) {
        self.inner.end(key);
    }
}

#[test]
fn under_rejection_q_is_the_law_among_shared_tokens_and_texts_are_point_masses() {
    let tiny = Tiny::new("llama-gqa");
    let draft = Tiny::new("llama-gqa").respelled(foreign);
    let [_, warm, .., all] = samplings();
    for (way, width) in [(WAYS[0], 1), (WAYS[0], 3), (WAYS[1], 1)] {
        let run = || {
            let sampled = Arc::new(Mutex::new(0));
            let (target, own) =
                (tiny.source().tokenizer().unwrap(), draft.source().tokenizer().unwrap());
            let mut bench = Bench::new(drafted(&tiny, &draft, way, width));
            let shared = Arc::clone(&sampled);
            bench.engine = bench.engine.with_drafters("inspected", |mut built| {
                vec![Box::new(Inspector {
                    inner: built.remove(0),
                    target,
                    draft: own,
                    sampled: shared,
                })]
            });
            let requests = [&warm, &all].map(|sampling| Request {
                rule: Rule::Rejection,
                ..request(prompt(20, 3), sampling, 60)
            });
            let outcomes = bench.run(requests.into(), 0).into_iter();
            let done: Vec<_> = outcomes.map(|outcome| outcome.unwrap()).collect();
            let accepted: u64 = done.iter().map(|c| c.stats.accepted).sum();
            let drafted: u64 = done.iter().map(|c| c.stats.drafted).sum();
            assert!(0 < accepted && accepted < drafted, "{way:?} {width}: {accepted} of {drafted}");
            let sampled = *sampled.lock().unwrap();
            assert_eq!(sampled > 0, way == DraftVocabulary::Tokens, "{way:?} {width}");
            done.into_iter().map(|completion| completion.tokens).collect::<Vec<_>>()
        };
        assert_eq!(run(), run(), "{way:?} {width}");
    }
}

#[test]
fn a_conversation_is_drafted_across_vocabularies_from_turn_to_turn() {
    let tiny = Tiny::new("llama-gqa");
    let draft = Tiny::new("llama-gqa").respelled(paired);
    let [_, warm, ..] = samplings();
    for way in WAYS {
        let turns = |options: EngineOptions| {
            let mut engine = Engine::new(options).unwrap();
            let session = engine.open_session();
            let (mut text, mut stats) = (prompt(30, 1), SpecStats::default());
            for turn in 0..4 {
                // A turn in between takes the last answer back.
                text.truncate(if turn == 2 { 40 } else { text.len() });
                text.extend(prompt(5, 7 + turn));
                let mut request = request(text.clone(), &warm, 20);
                request.session = Some(session);
                let completion = engine.generate(request).unwrap().into_completion().unwrap();
                text.extend(&completion.tokens);
                stats.merge(&completion.stats);
            }
            (text, stats)
        };
        let (text, stats) = turns(drafted(&tiny, &draft, way, 1));
        assert_eq!(text, turns(options(tiny.source(), Domain::F32, 1)).0, "{way:?}");
        assert!(0 < stats.accepted && stats.accepted < stats.drafted, "{way:?}: {stats:?}");
    }
}

/// The texts of some prompts and what drafting achieved.
fn demo_run(
    draft: Option<&Path>,
    way: DraftVocabulary,
    temperature: f64,
) -> (Vec<Vec<TokenId>>, SpecStats) {
    let mut options = EngineOptions::new(demo());
    if draft.is_some() { "model" } else { "none" }.clone_into(&mut options.drafter);
    options.draft_model = draft.map(|draft| ModelSource::Folder(draft.to_owned()));
    options.draft_vocabulary = way;
    let mut engine = Engine::new(options).unwrap();
    let mut stats = SpecStats::default();
    let prompts = include_str!("../../../../testdata/prompts.txt").lines().step_by(6);
    let texts = prompts.map(|line| {
        let prompt = engine.tokenizer().encode(line, AddSpecial::Yes, ParseSpecial::No).unwrap();
        let sampling = SamplingParams { temperature, ..SamplingParams::default() };
        let completion = engine.generate(request(prompt, &sampling, 50)).unwrap();
        let completion = completion.into_completion().unwrap();
        stats.merge(&completion.stats);
        completion.tokens
    });
    (texts.collect(), stats)
}

#[test]
fn a_trained_draft_is_right_as_often_as_its_vocabulary_allows() {
    let [whole, half] = [0, 2000].map(shuffled_demo_draft);
    let ModelSource::Folder(own) = demo_draft() else { panic!("the demo is a folder") };
    for temperature in [0.0, 0.8] {
        let (plain, _) = demo_run(None, DraftVocabulary::Auto, temperature);
        let (_, same) = demo_run(Some(&own), DraftVocabulary::Same, temperature);
        let (mut counts, mut lengths) = (Vec::new(), Vec::new());
        for (draft, way) in
            [(&whole, WAYS[0]), (&whole, WAYS[1]), (&half, WAYS[0]), (&half, WAYS[1])]
        {
            let (texts, stats) = demo_run(Some(draft.path()), way, temperature);
            assert_eq!(texts, plain, "{way:?} at {temperature}");
            counts.push((stats.drafted, stats.accepted));
            lengths.push(stats.mean_accepted_length());
        }
        // The draft reads sampled text as its tokenizer would write it, which is not always as it was sampled.
        let alike = counts[0] == (same.drafted, same.accepted);
        assert!(temperature > 0.0 || alike, "by tokens under other ids: {counts:?} and {same:?}");
        let same = same.mean_accepted_length();
        println!("at {temperature}: same {same:.3}, others {lengths:.3?}");
        assert!(lengths[0] > 0.95 * same, "under other ids, by tokens: {lengths:?} of {same}");
        assert!(temperature > 0.0 || lengths[1] > 0.9 * same, "by text: {lengths:?} of {same}");
        assert!(lengths[2] < lengths[0], "half the tokens are fewer: {lengths:?}");
        assert!(lengths.iter().all(|&length| length > 1.2), "{lengths:?}");
    }
}

#[test]
fn ways_that_cannot_be_taken_are_refused_by_name() {
    let tiny = Tiny::new("llama-gqa");
    let strange =
        Tiny::new("llama-gqa").respelled(|id| char::from_u32(0x4E00 + id).unwrap().to_string());
    let refusal = |change: &dyn Fn(&mut EngineOptions)| {
        let mut options = drafted(&tiny, &strange, DraftVocabulary::Auto, 1);
        change(&mut options);
        Engine::new(options).err().unwrap()
    };
    for way in [DraftVocabulary::Auto, DraftVocabulary::Tokens] {
        let error = refusal(&|options| options.draft_vocabulary = way);
        assert!(matches!(error, Error::NoOverlap { .. }), "{error}");
    }
    let error = refusal(&|options| options.draft_vocabulary = DraftVocabulary::Same);
    assert!(matches!(error, Error::Vocabulary { .. }), "{error}");
    let headed = Tiny::new("llama-gqa").respelled(foreign);
    let error = refusal(&|options| {
        options.draft_model = Some(headed.source());
        options.draft_heads = Some(headed.heads());
    });
    assert!(matches!(error, Error::DraftHeadsVocabulary { .. }), "{error}");
}

#[test]
fn a_vocabulary_beside_itself_allows_everything_and_less_of_it_allows_less() {
    let target = demo().tokenizer().unwrap();
    let beside = |draft: &Path| {
        let draft = ModelSource::Folder(draft.to_owned()).tokenizer().unwrap();
        Vocabularies::compare(&target, &draft)
    };
    let itself = Vocabularies::compare(&target, &target);
    assert_eq!((itself.difference.as_ref(), itself.choose()), (None, Some(DraftVocabulary::Same)));
    assert_eq!((itself.shared, itself.sample.shared), (itself.target, itself.sample.tokens));
    assert!(itself.sample.by_tokens > 8.9 && itself.sample.by_text > 8.5, "{itself:?}");
    let shares = [0, 500, 2000, 3836].map(|gone| beside(shuffled_demo_draft(gone).path()));
    assert_eq!(shares[0].choose(), Some(DraftVocabulary::Tokens));
    assert_eq!(shares[0].shared, shares[0].target);
    assert_eq!(shares[3].choose(), Some(DraftVocabulary::Text));
    println!("{:?}", shares.each_ref().map(|v| v.sample));
    assert!(shares.is_sorted_by(|a, b| a.sample.by_tokens > b.sample.by_tokens));
    assert!(shares.is_sorted_by(|a, b| a.sample.share() > b.sample.share()));
}
