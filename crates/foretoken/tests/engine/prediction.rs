//! `prediction`: right, wrong and unrelated predictions change no bit of a text, only how fast it comes.

use foretoken::{DraftOptions, EndOfText};

use crate::models::{CONTEXT, Domain, Tiny, VOCAB, options, prompt};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

fn bench(tiny: &Tiny, drafter: &str, together: usize) -> Bench {
    let mut options = options(tiny.source(), Domain::F32, 1);
    drafter.clone_into(&mut options.drafter);
    options.draft = DraftOptions::default();
    options.max_sequences = together;
    Bench::new(options)
}

/// Kinds of predictions of one text, by whether the drafter should be mostly right.
fn predictions(job: &Job, seed: u64) -> [(bool, Vec<u32>); 6] {
    let right = job.text.output().to_vec();
    let [mut replaced, mut inserted, mut deleted] = [0; 3].map(|_| right.clone());
    replaced[30] = (replaced[30] + 1) % VOCAB as u32;
    inserted.splice(20..20, prompt(7, seed + 100));
    deleted.drain(25..33);
    let unrelated = prompt(2 * CONTEXT, seed + 200);
    let right_and_more = [&right[..], &unrelated].concat();
    [
        (true, replaced),
        (true, inserted),
        (true, deleted),
        (true, right_and_more),
        (false, unrelated),
        (false, Vec::new()),
    ]
}

#[test]
fn no_prediction_changes_the_text_and_right_ones_are_followed() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let samplings = samplings();
    let job =
        |n: usize| Job::new(&mut plain, request(prompt(1 + 12 * n, n as u64), &samplings[n], 80));
    let texts: Vec<_> = (0..6).map(job).collect();
    for kind in 0..6 {
        let predicted = |(n, job): (usize, &Job)| {
            let mut request = job.request.clone();
            request.prediction = predictions(job, n as u64)[kind].1.clone();
            Job { request, text: job.text.clone() }
        };
        let jobs: Vec<_> = texts.iter().enumerate().map(predicted).collect();
        let followed = predictions(&jobs[0], 0)[kind].0;
        for (drafter, together) in [("prediction", 1), ("prediction", 3), ("prediction+suffix", 2)]
        {
            let mut bench = bench(&tiny, drafter, together);
            let completions = bench.check(&jobs, usize::from(together > 1));
            let name = format!("kind {kind}, {drafter}, {together} together");
            for completion in completions.iter().filter(|_| followed) {
                let mean = completion.stats.mean_accepted_length();
                assert!(mean > 6.0, "{mean:.1} tokens per pass: {name}");
            }
            let drafted = completions.iter().any(|completion| completion.stats.drafted > 0);
            let empty = jobs[0].request.prediction.is_empty();
            assert!(drafted != empty || drafter != "prediction", "{name}");
        }
    }
}

#[test]
fn a_prediction_goes_on_past_every_end_of_the_text() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let samplings = samplings();
    let job = |n: usize| {
        // A limit, the end of the context, an end-of-text token inside a draft.
        let (length, max) = [(9, 1), (9, 2), (CONTEXT - 6, 40), (CONTEXT - 1, 9), (20, 60)][n % 5];
        let mut request = request(prompt(length, n as u64), &samplings[n % 2], max);
        request.end_of_text = if n % 5 == 4 { EndOfText::Ends } else { EndOfText::Ignored };
        let mut job = Job::new(&mut plain, request);
        job.request.prediction = job.text.output().to_vec();
        job
    };
    let jobs: Vec<_> = (0..20).map(job).collect();
    let completions = bench(&tiny, "prediction", 3).check(&jobs, 1);
    assert!(completions.iter().any(|completion| completion.stats.cut_steps > 0), "cut by an end");
}

#[test]
fn every_request_of_a_session_has_its_own_prediction() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let job = Job::new(&mut plain, request(prompt(20, 3), &samplings()[1], 60));
    let mut bench = bench(&tiny, "prediction", 1);
    let session = bench.engine.open_session();
    let mut drafted = |prediction: &[u32]| {
        let mut request = job.request.clone();
        request.session = Some(session);
        request.prediction = prediction.to_vec();
        let completion = bench.run(vec![request], 0).remove(0).unwrap();
        assert_eq!(completion.tokens, job.text.output()[..60]);
        (completion.stats.drafted, completion.stats.accepted)
    };
    assert!(drafted(&job.text.output()[..60]).1 > 50);
    assert_eq!(drafted(&[]), (0, 0));
    assert!(drafted(&job.text.output()[..60]).1 > 50);
}
