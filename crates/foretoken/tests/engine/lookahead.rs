//! `lookahead` and `jacobi`: the text stays what it is, at all ends, and they see what they are to see.

use foretoken::drafters::DraftTask;
use foretoken::{
    EndOfText, EngineOptions, FinishReason, LookaheadShape, SamplingParams, TokenId, WeightFormat,
};
use foretoken_core::{Noise, Role, Sampler};

use crate::models::{CONTEXT, Domain, EOS, Tiny, VOCAB, options, prompt};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

fn drafting(tiny: &Tiny, domain: Domain, drafter: &str) -> EngineOptions {
    let mut options = options(tiny.source(), domain, 1);
    drafter.clone_into(&mut options.drafter);
    options.draft.tokens = None;
    options
}

#[test]
fn in_every_format_and_company_the_text_is_the_undrafted_text() {
    let tiny = Tiny::new("llama-gqa");
    for format in [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Q8_0, WeightFormat::Q4_0] {
        let domain = Domain { format, ..Domain::F32 };
        let mut plain = Plain::new(&tiny.source(), domain);
        let [greedy, warm, .., penalties, all] = samplings();
        let cases = [
            (0, 1, &greedy),
            (1, 130, &greedy),
            (2, 40, &warm),
            (3, 9, &penalties),
            (5, 64, &all),
            // A text that repeats single tokens, where blocks settle.
            (10, 12, &greedy),
        ];
        let job = |(seed, length, sampling)| {
            Job::new(&mut plain, request(prompt(length, seed), sampling, 100))
        };
        let jobs: Vec<_> = cases.into_iter().map(job).collect();
        for drafter in ["lookahead", "jacobi", "lookup+lookahead"] {
            for together in [1, 3] {
                let mut options = drafting(&tiny, domain, drafter);
                options.max_sequences = together;
                // Short blocks, so that whole ones are right at times.
                options.draft.tokens = (drafter == "jacobi").then_some(2);
                options.lookahead = Some(LookaheadShape::new(7, 5, 7).unwrap());
                let mut bench = Bench::new(options);
                bench.check(&jobs, if together == 1 { 0 } else { 2 });
                let seen = bench.log.lock().unwrap().coverage;
                let name = format!("{format:?} {drafter} {together} together: {seen:?}");
                println!("{name}");
                assert_eq!(seen.probes > 0, drafter != "jacobi", "{name}");
                assert!(seen.none > 0 && seen.one > 0 && seen.full > 0, "0, 1 and more: {name}");
                assert!(seen.behind_prompt > 0, "the first pass drafts: {name}");
            }
        }
    }
}

#[test]
fn every_family_writes_the_undrafted_text() {
    for family in ["mistral-window", "qwen2", "qwen3", "llama3-rope"] {
        let tiny = Tiny::new(family);
        let mut plain = Plain::new(&tiny.source(), Domain::F32);
        let [greedy, warm, ..] = samplings();
        let cases = [(20, &greedy), (70, &warm)];
        let job =
            |(length, sampling)| Job::new(&mut plain, request(prompt(length, 3), sampling, 50));
        let jobs: Vec<_> = cases.into_iter().map(job).collect();
        for drafter in ["lookahead", "jacobi"] {
            let mut bench = Bench::new(drafting(&tiny, Domain::F32, drafter));
            bench.check(&jobs, 1);
            let seen = bench.log.lock().unwrap().coverage;
            assert!(seen.drafted > 0 && seen.none > 0, "{family} {drafter}: {seen:?}");
        }
    }
}

#[test]
fn no_end_of_a_text_disturbs_a_window() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let greedy = SamplingParams::default();
    // One token as a prompt, which leaves the pool empty; one token to write; the end of the context.
    let sizes = [(1, 1), (1, 2), (1, 30), (5, 1), (5, 3)];
    let near = (1..14).map(|left| (CONTEXT - left, 90));
    let job = |(length, max)| Job::new(&mut plain, request(prompt(length, 8), &greedy, max));
    let jobs: Vec<_> = sizes.into_iter().chain(near).map(job).collect();
    let shapes = ["7,5,7", "20,7,20", "0,3,4", "1,2,1"];
    let shapes = shapes.map(|shape| ("lookahead", Some(LookaheadShape::parse(shape).unwrap())));
    for (drafter, shape) in shapes.into_iter().chain([("jacobi", None)]) {
        let mut options = drafting(&tiny, Domain::F32, drafter);
        options.lookahead = shape;
        let completions = Bench::new(options).check(&jobs, 1);
        assert!(completions.iter().all(|c| c.finish_reason == FinishReason::Length));
    }
}

#[test]
fn an_end_of_text_inside_a_guess_ends_the_text_there() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let greedy = SamplingParams::default();
    let mut cut = 0;
    for seed in 0..12 {
        let job = Job::new(&mut plain, request(prompt(12, seed), &greedy, 40));
        let end = job.text.output()[..40].iter().position(|token| EOS.contains(token));
        let Some(end) = end else { continue };
        let mut bench = Bench::new(drafting(&tiny, Domain::F32, "lookahead"));
        let session = bench.engine.open_session();
        let mut request = job.request.clone();
        request.session = Some(session);
        // The first time around the pool learns the text beyond its end.
        for end_of_text in [EndOfText::Ignored, EndOfText::Ends] {
            request.end_of_text = end_of_text;
            let completion = bench.run(vec![request.clone()], 0).remove(0).unwrap();
            let length = if end_of_text == EndOfText::Ends { end + 1 } else { 40 };
            assert_eq!(completion.tokens, job.text.output()[..length], "{seed} {end_of_text:?}");
            cut += completion.stats.cut_steps;
        }
    }
    assert!(cut > 0, "a guess holds an end of the text");
}

/// A node of a verified draft: its tokens below the root, its role, and what was shown of it.
struct Node {
    below: Vec<TokenId>,
    role: Role,
    choice: Option<TokenId>,
    likeliest: Vec<TokenId>,
}

/// The text before a step and the nodes of its draft.
fn see(task: &DraftTask) -> Option<(Vec<TokenId>, Vec<Node>)> {
    let DraftTask { tree, text, accepted, choices, .. } = task;
    if tree.len() == 1 {
        assert_eq!(choices.get(0), None, "nothing is chosen where nothing is drafted");
        return None;
    }
    let mut path = Vec::new();
    let nodes = (0..tree.len()).map(|node| {
        tree.path(node, &mut path);
        Node {
            below: path[1..].iter().map(|&node| tree.token(node)).collect(),
            role: tree.role(node),
            choice: choices.get(node),
            likeliest: choices.likeliest(node).to_vec(),
        }
    });
    let before = text[..text.len() - accepted.tokens().len()].to_vec();
    Some((before, nodes.collect()))
}

#[test]
fn every_node_shows_what_plain_decoding_writes_behind_it() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let (mut probes, mut ranked) = (0, Vec::new());
    for (drafter, sampling) in samplings().iter().flat_map(|s| [("lookahead", s), ("recycle", s)]) {
        let options = drafting(&tiny, Domain::F32, drafter);
        let (mut bench, seen) = Bench::new(options).watched(see);
        let request = request(prompt(30, 2), sampling, 12);
        let noise = Noise { seed: request.seed.unwrap(), choice: request.choice };
        bench.run(vec![request.clone()], 0).remove(0).unwrap();
        for (before, nodes) in seen.lock().unwrap().iter().step_by(3) {
            let mut sampler = Sampler::new(sampling.clone(), noise, VOCAB).unwrap();
            sampler.prompt(&request.prompt);
            before[request.prompt.len()..].iter().for_each(|&token| sampler.commit(token));
            for Node { below, role, choice, likeliest } in nodes {
                let text = [&before[..], below].concat();
                let row = plain.teacher(&text).pop().unwrap();
                if drafter == "recycle" {
                    sampler.likeliest(&row, below, 8, &mut ranked).unwrap();
                    let expected: Vec<_> = ranked.iter().map(|best| best.token).collect();
                    assert_eq!((choice, likeliest), (&None, &expected), "behind {below:?}");
                    continue;
                }
                let written = sampler.draw(&row, below, text.len() as u32).ok();
                assert_eq!((*choice, likeliest), (written, &vec![]), "behind {below:?}");
                probes += usize::from(*role == Role::Probe);
            }
        }
    }
    assert!(probes > 100, "{probes} probes were compared");
    assert_eq!(ranked.len(), 8, "so many were compared");
}
