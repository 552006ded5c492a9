//! Conversations: what is kept between requests changes their cost and nothing else.

use foretoken::{EndOfText, EngineOptions, SamplingParams, TokenId};

use crate::models::{Domain, Tiny, options, prompt};
use crate::plain::Plain;
use crate::recorder::Recorded;
use crate::runs::{Bench, Job, request, samplings};

fn drafting_options(tiny: &Tiny, width: usize) -> EngineOptions {
    let mut options = options(tiny.source(), Domain::F32, 1);
    let drafter = if width == 1 { "model+lookup" } else { "medusa+model" };
    drafter.clone_into(&mut options.drafter);
    options.medusa.heads = Some(tiny.heads());
    options.draft_model = Some(tiny.source());
    options.draft.tokens = Some(6);
    options.draft.width = width;
    options
}

/// Runs a request in a session, then closes nothing.
fn continued(bench: &mut Bench, request: &foretoken::Request) -> Vec<TokenId> {
    let outcome = bench.run(vec![request.clone()], 0).remove(0);
    outcome.unwrap().tokens
}

#[test]
fn ten_and_ten_equal_twenty() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    for (index, sampling) in samplings().iter().enumerate() {
        let whole = Job::new(&mut plain, request(prompt(33, index as u64), sampling, 20));
        let mut bench = Bench::new(drafting_options(&tiny, 1 + index % 2));
        let session = bench.engine.open_session();
        let mut half = whole.request.clone();
        half.session = Some(session);
        half.max_tokens = Some(10);
        let first = continued(&mut bench, &half);
        assert_eq!(first, whole.text.output()[..10]);
        half.prompt.extend(first);
        let second = continued(&mut bench, &half);
        assert_eq!(second, whole.text.output()[10..20], "{sampling:?}");
        bench.engine.close_session(session);
        let log = bench.log.lock().unwrap();
        let Recorded { rows, cache } = &log.sequences[0];
        assert_eq!(cache[..], whole.text.cache[..33 + 19], "one cache for both halves");
        for (index, row) in whole.text.rows[..20].iter().enumerate() {
            assert!(rows.get(&(32 + index)) == Some(row), "row of output token {index}");
        }
    }
}

#[test]
fn a_conversation_equals_a_fresh_engine_on_the_same_prompt() {
    let tiny = Tiny::new("mistral-window");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let sampling = SamplingParams { temperature: 0.8, top_p: 0.9, ..SamplingParams::default() };
    let mut bench = Bench::new(drafting_options(&tiny, 2));
    let session = bench.engine.open_session();
    let mut text = prompt(17, 4);
    for turn in 0..4u64 {
        let mut request = request(text.clone(), &sampling, 30);
        request.end_of_text = EndOfText::Ends;
        let fresh = Job::new(&mut plain, request.clone());
        request.session = Some(session);
        let answer = continued(&mut bench, &request);
        let (count, _) = fresh.expected(bench.engine.tokenizer(), bench.engine.checkpoint().eos());
        assert_eq!(answer, fresh.text.output()[..count], "turn {turn}");
        text.extend(answer);
        // The third turn takes back a part of what was said.
        if turn == 2 {
            text.truncate(text.len() - 25);
        }
        text.extend(prompt(5 + turn as usize, 50 + turn));
    }
    // The session's prompt is the text so far: one more token, and the cache of all of it is plain.
    let last = Job::new(&mut plain, request(text.clone(), &sampling, 2));
    let mut request = last.request.clone();
    request.session = Some(session);
    assert_eq!(continued(&mut bench, &request), last.text.output()[..2]);
    bench.engine.close_session(session);
    let log = bench.log.lock().unwrap();
    let cache = &log.sequences[0].cache;
    assert_eq!(cache.len(), text.len() + 1);
    assert!(cache[..] == last.text.cache[..cache.len()], "the cache is that of a fresh prefill");
}

#[test]
fn a_cancelled_request_leaves_its_session_usable() {
    let tiny = Tiny::new("qwen2");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let job = Job::new(&mut plain, request(prompt(150, 9), &SamplingParams::default(), 12));
    for steps in 1..5 {
        let mut bench = Bench::new(drafting_options(&tiny, 2));
        let session = bench.engine.open_session();
        let mut request = job.request.clone();
        request.session = Some(session);
        let id = bench.engine.submit(request.clone()).unwrap();
        (0..steps).for_each(|_| bench.engine.step(&mut Vec::new()));
        bench.engine.cancel(id);
        assert_eq!(continued(&mut bench, &request), job.text.output()[..12], "after {steps} steps");
        bench.engine.close_session(session);
        assert_eq!(bench.log.lock().unwrap().open, 0);
    }
}
