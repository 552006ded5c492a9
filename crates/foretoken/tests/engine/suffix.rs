//! `suffix`: in every format, alone and in a batch, it is right at times and changes no bit.

use foretoken::{DraftOptions, SamplingParams};

use crate::models::{DOMAINS, Domain, Tiny, options, prompt};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

fn bench(tiny: &Tiny, domain: Domain, drafter: &str, together: usize) -> Bench {
    let mut options = options(tiny.source(), domain, 1);
    drafter.clone_into(&mut options.drafter);
    options.draft = DraftOptions::default();
    options.max_sequences = together;
    Bench::new(options)
}

#[test]
fn nothing_differs_whether_none_one_or_all_of_a_draft_is_accepted() {
    let tiny = Tiny::new("llama-gqa");
    for domain in DOMAINS {
        let mut plain = Plain::new(&tiny.source(), domain);
        let samplings = samplings();
        // Prompts that repeat themselves, and the texts that a small model repeats by itself.
        let job = |n: usize| {
            let prompt = prompt(1 + 9 * n, n as u64).repeat(1 + n % 3);
            Job::new(&mut plain, request(prompt, &samplings[n % 6], 80))
        };
        let jobs: Vec<_> = (0..9).map(job).collect();
        for drafter in ["suffix", "suffix+lookup"] {
            for together in [1, 3] {
                let mut bench = bench(&tiny, domain, drafter, together);
                bench.check(&jobs, usize::from(together > 1));
                let seen = bench.log.lock().unwrap().coverage;
                let name = format!("{drafter}, {domain:?}, {together} together: {seen:?}");
                println!("{name}");
                assert!(seen.none > 0 && seen.one > 0 && seen.full > 0, "0, 1, all: {name}");
            }
        }
    }
}

#[test]
fn what_a_session_wrote_before_is_drafted_again_and_only_there() {
    let tiny = Tiny::new("qwen3");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let sampling = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    let job = Job::new(&mut plain, request(prompt(20, 3), &sampling, 60));
    let mut bench = bench(&tiny, Domain::F32, "suffix", 1);
    let sessions = [bench.engine.open_session(), bench.engine.open_session()];
    let mut accepted = |session: usize| {
        let mut request = job.request.clone();
        request.session = Some(sessions[session]);
        let completion = bench.run(vec![request], 0).remove(0).unwrap();
        assert_eq!(completion.tokens, job.text.output()[..60]);
        completion.stats.accepted
    };
    let first = accepted(0);
    assert!(accepted(0) >= first + 40, "the same text again is known");
    assert_eq!(accepted(1), first, "but not to another session");
}
