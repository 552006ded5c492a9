//! What goes wrong stays with the request it belongs to.

use foretoken::drafters::{DraftTask, Drafter, SequenceKey};
use foretoken::{Engine, Error, Event, ForwardError, Request, Rule, SamplingParams, TokenId};
use foretoken_core::DraftTree;

use crate::models::{CONTEXT, Domain, Tiny, VOCAB, options, prompt};
use crate::oracle::{Dice, Oracle};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

fn three_jobs(tiny: &Tiny) -> Vec<Job> {
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let samplings = samplings();
    let job = |n: usize| Job::new(&mut plain, request(prompt(20 + n, n as u64), &samplings[n], 24));
    (0..3).map(job).collect()
}

fn bench(tiny: &Tiny, jobs: &[Job]) -> Bench {
    let texts = jobs.iter().map(|job| job.text.tokens.clone()).collect();
    let oracle = Oracle { texts, rate: 0.8, rank: 2, depth: 5, vocab: VOCAB, dice: Dice(3) };
    Bench::new(options(tiny.source(), Domain::F32, 1)).drafted_by(oracle)
}

#[test]
fn a_row_that_is_no_number_fails_its_sequence_alone() {
    let tiny = Tiny::new("llama-gqa");
    let jobs = three_jobs(&tiny);
    let mut bench = bench(&tiny, &jobs);
    // The second sequence's row that decides its output token 9.
    let position = jobs[1].request.prompt.len() + 8;
    bench.log.lock().unwrap().spoiled = Some((1, position));
    let outcomes = bench.run(jobs.iter().map(|job| job.request.clone()).collect(), 1);
    for index in [0, 2] {
        let log = bench.log.lock().unwrap();
        jobs[index].check(&bench.engine, outcomes[index].as_ref().unwrap(), &log.sequences[index]);
    }
    match &outcomes[1] {
        Err(Error::Sample { position: named, .. }) => assert_eq!(*named, position + 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.log.lock().unwrap().open, 0, "the failed sequence is closed");
}

#[test]
fn cancelling_one_leaves_the_others() {
    let tiny = Tiny::new("llama-gqa");
    let jobs = three_jobs(&tiny);
    let mut bench = bench(&tiny, &jobs);
    let ids: Vec<_> =
        jobs.iter().map(|job| bench.engine.submit(job.request.clone()).unwrap()).collect();
    let (mut events, mut steps) = (Vec::new(), 0);
    while !bench.engine.is_idle() {
        bench.engine.step(&mut events);
        steps += 1;
        if steps == 3 {
            bench.engine.cancel(ids[1]);
            assert_eq!(bench.log.lock().unwrap().open, 2, "its sequence is closed at once");
            events.retain(|event| event.request() != ids[1]);
        }
    }
    assert!(events.iter().all(|event| event.request() != ids[1]), "no event follows");
    for index in [0, 2] {
        let finished = events.iter().find_map(|event| match event {
            Event::Finished(id, completion) if *id == ids[index] => Some(completion),
            _ => None,
        });
        let log = bench.log.lock().unwrap();
        jobs[index].check(&bench.engine, finished.unwrap(), &log.sequences[index]);
    }
    // A waiting request is cancelled too, and unknown ones are left alone.
    let waiting = bench.engine.submit(jobs[0].request.clone()).unwrap();
    bench.engine.cancel(waiting);
    bench.engine.cancel(waiting);
    assert!(bench.engine.is_idle());
    drop(bench.engine.generate(jobs[0].request.clone()).unwrap());
    assert!(bench.engine.is_idle(), "a dropped generation is cancelled");
    assert_eq!(bench.log.lock().unwrap().open, 0);
}

#[test]
fn a_full_cache_fails_what_does_not_fit_alone_and_gives_its_blocks_back() {
    let tiny = Tiny::new("llama-gqa");
    let mut options = options(tiny.source(), Domain::F32, 1);
    options.context = Some(64);
    options.max_sequences = 1;
    let mut engine = Engine::new(options).unwrap();
    let (mut sessions, mut refused) = (Vec::new(), None);
    for n in 0..40 {
        let session = engine.open_session();
        sessions.push(session);
        let mut request = request(prompt(60, n), &SamplingParams::default(), 3);
        request.session = Some(session);
        match engine.generate(request).unwrap().into_completion() {
            Ok(completion) => assert_eq!(completion.tokens.len(), 3),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let error = refused.expect("sessions fill the cache");
    assert!(matches!(error, Error::Forward(ForwardError::Cache(_))), "{error}");
    assert!(error.to_string().contains("KV cache is full"), "{error}");
    let again = request(prompt(60, 99), &SamplingParams::default(), 3);
    assert!(engine.generate(again.clone()).unwrap().into_completion().is_err(), "still full");
    engine.close_session(sessions[0]);
    assert!(
        engine.generate(again).unwrap().into_completion().is_ok(),
        "a closed session makes room"
    );
}

/// Every defect a drafter can have.
struct Broken {
    steps: usize,
}

impl Drafter for Broken {
    fn begin(&mut self, _: SequenceKey, _: &[TokenId]) {}

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks {
            self.steps += 1;
            let root = task.tree.token(0);
            let too_long = vec![root; task.room.nodes + 2];
            let too_deep = vec![root; task.room.depth + 2];
            let tokens = match self.steps % 5 {
                0 => too_long,
                1 => too_deep,
                2 => vec![root, VOCAB as TokenId],
                3 => vec![(root + 1) % VOCAB as TokenId, 1],
                _ => vec![root, 1],
            };
            task.tree = DraftTree::chain(&tokens).unwrap();
        }
    }

    fn observe(&mut self, _: &[DraftTask]) {}

    fn end(&mut self, _: SequenceKey) {}
}

#[test]
fn a_broken_drafter_costs_no_request_its_text() {
    let tiny = Tiny::new("llama-gqa");
    let mut jobs = three_jobs(&tiny);
    // Three passes of prompt, in which nothing may be drafted.
    let long = request(prompt(CONTEXT - 20, 5), &SamplingParams::default(), 8);
    jobs.push(Job::new(&mut Plain::new(&tiny.source(), Domain::F32), long));
    let options = options(tiny.source(), Domain::F32, 1);
    Bench::new(options).drafted_by(Broken { steps: 0 }).check(&jobs, 1);
}

/// Makes a mistake in a request.
type Change<'a> = &'a dyn Fn(&mut Request);

#[test]
fn mistakes_of_a_request_are_named_when_it_is_made() {
    let tiny = Tiny::new("llama-gqa");
    let mut engine = Engine::new(options(tiny.source(), Domain::F32, 1)).unwrap();
    let refusal = |engine: &mut Engine, change: &dyn Fn(&mut Request)| {
        let mut request = Request::new(vec![1, 2, 3]);
        change(&mut request);
        engine.submit(request).unwrap_err().to_string()
    };
    let nan = SamplingParams { temperature: f64::NAN, ..SamplingParams::default() };
    let cases: [(Change<'_>, &str); 12] = [
        (&|r| r.prompt.clear(), "prompt is empty"),
        (&|r| r.prompt = vec![1; CONTEXT], "context holds 320"),
        (&|r| r.prompt.push(96), "token id 96 is outside the vocabulary of 96"),
        (&|r| r.max_tokens = Some(0), "max_tokens is 0"),
        (&|r| r.stop = vec![String::new()], "stop string is empty"),
        (&|r| r.sampling = nan.clone(), "temperature is NaN"),
        (&|r| r.rule = Rule::Typical { threshold: 0.0, alpha: 1.0 }, "typical acceptance"),
        (&|r| r.prediction = vec![5, 97], "token id 97 is outside the vocabulary of 96"),
        (&|r| r.forced = Some(vec![5, 98]), "token id 98 is outside the vocabulary of 96"),
        (&|r| r.forced = Some(Vec::new()), "forced text is empty"),
        (
            &|r| (r.forced, r.max_tokens) = (Some(vec![1; 318]), None),
            "318 tokens behind a prompt of 3",
        ),
        (
            &|r| (r.forced, r.rule) = (Some(vec![1]), Rule::Rejection),
            "leaves nothing to rejection acceptance",
        ),
    ];
    for (change, named) in cases {
        let message = refusal(&mut engine, change);
        assert!(message.contains(named), "{message}");
        assert!(engine.is_idle(), "nothing was queued");
    }
    let session = engine.open_session();
    let mut request = Request::new(vec![1]);
    request.session = Some(session);
    engine.submit(request.clone()).unwrap();
    assert!(matches!(engine.submit(request.clone()), Err(Error::Session { .. })), "busy");
    engine.close_session(session);
    assert!(engine.is_idle(), "closing cancels");
    assert!(matches!(engine.submit(request), Err(Error::Session { .. })), "closed");
}
