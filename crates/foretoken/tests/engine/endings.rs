//! Where texts end: at the same token and the same letter, however long the accepted run is.

use foretoken::{EndOfText, FinishReason, SamplingParams};

use crate::models::{CONTEXT, Domain, EOS, Tiny, VOCAB, letter, options, prompt};
use crate::oracle::{Dice, Oracle};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request};

fn warm() -> SamplingParams {
    SamplingParams { temperature: 0.8, ..SamplingParams::default() }
}

/// An oracle that is always right and drafts to the end of its room and past every end of the text.
fn bench(tiny: &Tiny, jobs: &[Job]) -> Bench {
    let texts = jobs.iter().map(|job| job.text.tokens.clone()).collect();
    let oracle = Oracle { texts, rate: 1.0, rank: 1, depth: 48, vocab: VOCAB, dice: Dice(1) };
    Bench::new(options(tiny.source(), Domain::F32, 1)).drafted_by(oracle)
}

#[test]
fn every_limit_is_kept_to_the_token() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let jobs: Vec<_> =
        (1..24).map(|max| Job::new(&mut plain, request(prompt(12, 1), &warm(), max))).collect();
    let completions = bench(&tiny, &jobs).check(&jobs, 1);
    for (max, completion) in (1..).zip(&completions) {
        assert_eq!(completion.tokens.len(), max);
        assert_eq!(completion.finish_reason, FinishReason::Length);
    }
    assert_eq!(completions[0].stats.drafted, 0, "with one token to come nothing is drafted");
}

#[test]
fn the_context_ends_a_text_as_a_limit_does() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let job = |left| Job::new(&mut plain, request(prompt(CONTEXT - left, 1), &warm(), 90));
    let jobs: Vec<_> = [1, 2, 3, 9, 40].map(job).into_iter().collect();
    for (left, completion) in [1, 2, 3, 9, 40].into_iter().zip(bench(&tiny, &jobs).check(&jobs, 1))
    {
        assert_eq!(completion.tokens.len(), left);
        assert_eq!(completion.finish_reason, FinishReason::Length);
    }
}

#[test]
fn ends_and_stop_strings_cut_a_run_where_plain_text_ends() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let tokenizer = tiny.source().tokenizer().unwrap();
    let mut jobs = Vec::new();
    for seed in 0..12 {
        let mut eos = request(prompt(12, seed), &warm(), 40);
        eos.end_of_text = EndOfText::Ends;
        jobs.push(Job::new(&mut plain, eos));
        let stop = request(prompt(12, seed), &warm(), 40);
        jobs.push(Job::new(&mut plain, stop).stop_at(&tokenizer, 3 + 2 * seed as usize));
    }
    let mut bench = bench(&tiny, &jobs);
    let completions = bench.check(&jobs, 1);
    let cut = |reason| {
        let inside =
            completions.iter().filter(|c| c.finish_reason == reason && c.stats.cut_steps == 1);
        inside.count()
    };
    assert!(cut(FinishReason::Eos) >= 4 && cut(FinishReason::Stop) >= 4, "{completions:?}");
    for completion in &completions {
        let stats = &completion.stats;
        assert_eq!(stats.emitted, stats.accepted + stats.steps - stats.cut_steps);
    }
}

#[test]
fn at_one_token_a_stop_string_comes_before_the_end_of_text_and_both_before_the_limit() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let job = (0..).find_map(|seed| {
        let mut request = request(prompt(12, seed), &warm(), 40);
        request.end_of_text = EndOfText::Ends;
        let job = Job::new(&mut plain, request);
        let at = job.text.output().iter().position(|token| EOS.contains(token))?;
        (4..30).contains(&at).then_some((job, at))
    });
    let (mut job, at) = job.unwrap();
    let jobs = std::slice::from_mut(&mut job);
    jobs[0].request.max_tokens = Some(at + 1);
    let ended = bench(&tiny, jobs).check(jobs, 1).remove(0);
    assert_eq!((ended.finish_reason, ended.tokens.len()), (FinishReason::Eos, at + 1));
    assert_eq!(ended.text.chars().count(), at, "the ending token writes nothing");
    let eos = letter(jobs[0].text.output()[at]);
    jobs[0].request.stop = vec![eos.to_string()];
    let stopped = bench(&tiny, jobs).check(jobs, 1).remove(0);
    assert_eq!((stopped.finish_reason, stopped.tokens.len()), (FinishReason::Stop, at + 1));
    assert_eq!(stopped.text, ended.text);
    // What an unfinished stop string held back is shown when the text ends.
    let last = letter(jobs[0].text.output()[at - 1]);
    jobs[0].request.stop = vec![format!("{last}{last}{last}{last}")];
    assert_eq!(bench(&tiny, jobs).check(jobs, 1).remove(0).text, ended.text);
}
