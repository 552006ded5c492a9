//! Running requests through an engine, and comparing what comes out with plain decoding.

use std::sync::{Arc, Mutex};

use foretoken::drafters::Drafter;
use foretoken::{
    Completion, EndOfText, Engine, EngineOptions, Error, Event, FinishReason, Origin, Request,
    SamplingParams, SpecStats, TokenId, Tokenizer,
};
use foretoken_core::Noise;

use crate::models::CONTEXT;
use crate::plain::{Plain, Text};
use crate::recorder::{Log, Recorded, Recorder};

/// Tokens decoded beyond what a request may emit, so that drafts can run past its end.
const BEYOND: usize = 12;

/// A request and the text that plain decoding writes for it.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) text: Text,
}

/// An engine whose target writes down what it does.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) log: Arc<Mutex<Log>>,
}

pub(crate) type Outcome = Result<Completion, Error>;

/// A seeded request of at most `max_tokens`, with ends of text ignored.
pub(crate) fn request(
    prompt: Vec<TokenId>,
    sampling: &SamplingParams,
    max_tokens: usize,
) -> Request {
    let mut request = Request::new(prompt);
    request.sampling = sampling.clone();
    request.seed = Some(7);
    request.max_tokens = Some(max_tokens);
    request.end_of_text = EndOfText::Ignored;
    request
}

/// Some sampling parameters, the greedy ones first.
pub(crate) fn samplings() -> [SamplingParams; 6] {
    let greedy = SamplingParams::default();
    let warm = SamplingParams { temperature: 0.8, ..greedy.clone() };
    let nucleus = SamplingParams { top_p: 0.9, ..warm.clone() };
    let narrow = SamplingParams { top_k: Some(12), min_p: 0.05, ..warm.clone() };
    let penalties = SamplingParams {
        repetition_penalty: 1.2,
        presence_penalty: 0.3,
        frequency_penalty: 0.2,
        logit_bias: vec![(17, 2.5), (40, f32::NEG_INFINITY)],
        ..greedy.clone()
    };
    let all =
        SamplingParams { temperature: 0.8, top_p: 0.95, top_k: Some(40), ..penalties.clone() };
    [greedy, warm, nucleus, narrow, penalties, all]
}

impl Job {
    pub(crate) fn new(plain: &mut Plain, request: Request) -> Self {
        let noise = Noise { seed: request.seed.unwrap(), choice: request.choice };
        let count = request.max_tokens.unwrap() + BEYOND;
        let text = plain.decode(&request.prompt, &request.sampling, noise, count);
        Self { request, text }
    }

    /// Adds a stop string: two letters of what is written from the `at`-th token on.
    pub(crate) fn stop_at(mut self, tokenizer: &Tokenizer, at: usize) -> Self {
        self.request.stop =
            vec!["zzz".to_owned(), tokenizer.decode(&self.text.output()[at..at + 2])];
        self
    }

    /// Where and why the text ends, found in the plain text by the plainest means, for tokens that
    /// write whole characters.
    pub(crate) fn expected(&self, tokenizer: &Tokenizer, eos: &[TokenId]) -> (usize, FinishReason) {
        let (output, request) = (self.text.output(), &self.request);
        for count in 1.. {
            let text = tokenizer.decode(&output[..count]);
            if request.stop.iter().any(|stop| text.contains(stop)) {
                return (count, FinishReason::Stop);
            }
            if request.end_of_text == EndOfText::Ends && eos.contains(&output[count - 1]) {
                return (count, FinishReason::Eos);
            }
            if Some(count) == request.max_tokens || self.text.prompt + count == CONTEXT {
                return (count, FinishReason::Length);
            }
        }
        unreachable!("a request has a limit")
    }

    /// What the completion's text must be.
    pub(crate) fn expected_text(
        &self,
        tokenizer: &Tokenizer,
        end: (usize, FinishReason),
    ) -> String {
        let (count, reason) = end;
        let shown = if reason == FinishReason::Eos { count - 1 } else { count };
        let text = tokenizer.decode(&self.text.output()[..shown]);
        let stops = self.request.stop.iter().filter_map(|stop| text.find(stop));
        stops.min().map_or(text.clone(), |cut| text[..cut].to_owned())
    }

    /// Compares a run with the plain text: tokens, deciding rows, cache, and the end.
    pub(crate) fn check(&self, engine: &Engine, completion: &Completion, recorded: &Recorded) {
        let Text { rows, cache, prompt, .. } = &self.text;
        let end = self.expected(engine.tokenizer(), engine.checkpoint().eos());
        assert_eq!(completion.tokens, self.text.output()[..end.0], "the emitted tokens");
        assert_eq!(completion.finish_reason, end.1, "the reason of the end");
        assert_eq!(completion.text, self.expected_text(engine.tokenizer(), end), "the text");
        for (index, row) in rows[..end.0].iter().enumerate() {
            let seen = recorded.rows.get(&(prompt - 1 + index));
            assert!(seen == Some(row), "the row that decided output token {index}");
        }
        assert_eq!(recorded.cache.len(), prompt + end.0 - 1, "the cache is cut to the text");
        for (position, (seen, known)) in recorded.cache.iter().zip(cache).enumerate() {
            assert!(seen == known, "keys and values at position {position}");
        }
    }
}

impl Bench {
    pub(crate) fn new(options: EngineOptions) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let engine = Engine::new(options).unwrap();
        Self { engine: engine.with_target(|target| Recorder::around(target, &log)), log }
    }

    pub(crate) fn drafted_by(mut self, drafter: impl Drafter + 'static) -> Self {
        self.engine = self.engine.with_drafters("test", |_| vec![Box::new(drafter)]);
        self
    }

    /// Runs requests to their ends, each submitted `stagger` steps after the one before.
    pub(crate) fn run(&mut self, requests: Vec<Request>, stagger: usize) -> Vec<Outcome> {
        let mut requests = requests.into_iter();
        let (mut ids, mut runs) = (Vec::new(), Vec::new());
        let (mut step, mut events) = (0, Vec::new());
        loop {
            while step >= ids.len() * stagger {
                let Some(request) = requests.next() else { break };
                ids.push(self.engine.submit(request).unwrap());
                runs.push((Vec::new(), None));
            }
            if self.engine.is_idle() && requests.len() == 0 {
                break;
            }
            self.engine.step(&mut events);
            step += 1;
            for event in events.drain(..) {
                let run = ids.iter().position(|id| *id == event.request()).unwrap();
                let (tokens, outcome) = &mut runs[run];
                assert!(outcome.is_none(), "nothing follows the end");
                match event {
                    Event::Token(_, token) => tokens.push(token),
                    Event::Finished(_, completion) => *outcome = Some(Ok(completion)),
                    Event::Failed(_, error) => *outcome = Some(Err(error)),
                }
            }
        }
        let ended = runs.into_iter().map(|(tokens, outcome)| {
            let outcome = outcome.unwrap();
            if let Ok(completion) = &outcome {
                check_stream(completion, &tokens);
            }
            outcome
        });
        ended.collect()
    }

    /// Runs jobs and compares all of them with plain decoding.
    pub(crate) fn check(&mut self, jobs: &[Job], stagger: usize) -> Vec<Completion> {
        let before = self.log.lock().unwrap().sequences.len();
        let requests = jobs.iter().map(|job| job.request.clone()).collect();
        let outcomes = self.run(requests, stagger);
        let log = self.log.lock().unwrap();
        assert_eq!(log.open, 0, "every sequence is closed");
        let recorded = &log.sequences[before..];
        let compare = |((job, outcome), recorded): ((&Job, Outcome), &Recorded)| {
            let completion = outcome.unwrap();
            job.check(&self.engine, &completion, recorded);
            completion
        };
        jobs.iter().zip(outcomes).zip(recorded).map(compare).collect()
    }
}

/// In how many steps no drafted token was accepted, one, and more.
pub(crate) fn accepted_lengths<'a>(all: impl IntoIterator<Item = &'a SpecStats>) -> [u64; 3] {
    let mut lengths = [0; 3];
    for stats in all {
        let reached = |depth| stats.accepted_by_position.get(depth).copied().unwrap_or(0);
        lengths[0] += stats.steps - reached(0);
        lengths[1] += reached(0) - reached(1);
        lengths[2] += reached(1);
    }
    lengths
}

/// What streamed is what was returned, and the statistics keep their laws.
fn check_stream(completion: &Completion, tokens: &[foretoken::Token]) {
    let stats = &completion.stats;
    assert_eq!(stats.check_integrity(), Ok(()));
    assert_eq!(stats.emitted, completion.tokens.len() as u64, "what was emitted is returned");
    let ids: Vec<_> = tokens.iter().map(|token| token.id).collect();
    assert_eq!(ids, completion.tokens, "tokens stream in order");
    let text: String = tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(text, completion.text, "the streamed pieces are the text");
    let drafted = tokens.iter().filter(|token| token.origin == Origin::Drafted).count();
    assert_eq!(drafted as u64, stats.accepted, "drafted tokens say so");
}
