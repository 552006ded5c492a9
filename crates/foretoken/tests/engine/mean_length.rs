//! How many tokens a pass yields with the built-in pair, on prompts of our own.

use foretoken::{
    AddSpecial, Engine, EngineOptions, Origin, ParseSpecial, Request, SpecStats, loop_free_len,
};

use crate::models::{demo, demo_draft};

/// Mean accepted length before the first loop, and of everything.
fn mean_lengths(temperature: f64) -> (f64, f64) {
    let mut options = EngineOptions::new(demo());
    (options.drafter, options.draft_model) = ("model".into(), Some(demo_draft()));
    let mut engine = Engine::new(options).unwrap();
    let (mut tokens, mut steps, mut all) = (0, 0, SpecStats::default());
    for line in include_str!("../../../../testdata/prompts.txt").lines() {
        let prompt = engine.tokenizer().encode(line, AddSpecial::Yes, ParseSpecial::No).unwrap();
        let mut request = Request { max_tokens: Some(160), seed: Some(7), ..Request::new(prompt) };
        request.sampling.temperature = temperature;
        let mut generation = engine.generate(request).unwrap();
        let emitted: Vec<_> = generation.by_ref().collect();
        all.merge(&generation.into_completion().unwrap().stats);
        let ids: Vec<_> = emitted.iter().map(|token| token.id).collect();
        let counted = &emitted[..loop_free_len(&ids)];
        tokens += counted.len();
        steps += counted.iter().filter(|token| token.origin == Origin::Target).count();
    }
    (tokens as f64 / steps as f64, all.mean_accepted_length())
}

#[test]
fn the_demo_pair_yields_more_than_two_tokens_per_pass() {
    let (greedy, greedy_all) = mean_lengths(0.0);
    let (_, sampled) = mean_lengths(0.8);
    println!("greedy before loops {greedy:.2}, all greedy {greedy_all:.2}, at 0.8 {sampled:.2}");
    assert!(greedy >= 2.3, "greedy text before its first loop: {greedy}");
    assert!(sampled >= 1.9, "text at temperature 0.8: {sampled}");
}
