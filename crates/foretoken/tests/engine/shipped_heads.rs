//! The built-in model with the heads that come with it.

use foretoken::{
    AddSpecial, Drafting, Engine, EngineOptions, MedusaChoices, ParseSpecial, Request,
    WeightFormat, loop_free_len,
};

use crate::models::{demo, demo_heads};
use crate::runs::accepted_lengths;

fn engine(format: WeightFormat, choices: &str) -> Engine {
    let mut options = EngineOptions::new(demo());
    "medusa".clone_into(&mut options.drafter);
    options.format = Some(format);
    options.medusa.heads = Some(demo_heads());
    options.medusa.choices = MedusaChoices::parse(choices).unwrap();
    Engine::new(options).unwrap()
}

/// One request per prompt of ours.
fn requests(engine: &Engine, temperature: f64, tokens: usize) -> Vec<Request> {
    let prompts = include_str!("../../../../testdata/prompts.txt").lines();
    let requests = prompts.map(|line| {
        let prompt = engine.tokenizer().encode(line, AddSpecial::Yes, ParseSpecial::No).unwrap();
        let mut request =
            Request { max_tokens: Some(tokens), seed: Some(7), ..Request::new(prompt) };
        request.sampling.temperature = temperature;
        request
    });
    requests.collect()
}

#[test]
fn text_is_the_undrafted_one_in_every_format() {
    let formats = [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Q8_0, WeightFormat::Q4_0];
    for format in formats {
        let mut engine = engine(format, "auto:12");
        for temperature in [0.0, 0.8] {
            let mut seen = Vec::new();
            for request in requests(&engine, temperature, 24) {
                let mut complete = |drafting| {
                    let request = Request { drafting, ..request.clone() };
                    engine.generate(request).unwrap().into_completion().unwrap()
                };
                let (plain, drafted) = (complete(Drafting::Off), complete(Drafting::On));
                assert_eq!(drafted.tokens, plain.tokens, "{format:?} at {temperature}");
                seen.push(drafted.stats);
            }
            let accepted = accepted_lengths(&seen);
            assert!(
                accepted.iter().all(|&steps| steps > 0),
                "steps that accept 0, 1 and more: {accepted:?} in {format:?} at {temperature}"
            );
        }
    }
}

#[test]
fn a_pass_yields_what_the_calibration_beside_the_heads_promises() {
    let calibration = demo_heads().open().unwrap().calibration().unwrap().clone();
    let mut engine = engine(WeightFormat::Bf16, "auto:32");
    for (temperature, least) in [(0.0, 1.4), (0.8, 1.4)] {
        let (mut tokens, mut passes) = (0, 0);
        for request in requests(&engine, temperature, 64) {
            let completion = engine.generate(request).unwrap().into_completion().unwrap();
            if loop_free_len(&completion.tokens) == completion.tokens.len() {
                tokens += completion.stats.emitted;
                passes += completion.stats.steps;
            }
        }
        let measured = tokens as f64 / passes as f64;
        let rates = calibration.measurements.iter().find(|m| m.temperature == temperature);
        let mut rates: Vec<f64> = rates.unwrap().paths.iter().map(|path| path.rate).collect();
        rates.sort_by(|a, b| b.total_cmp(a));
        let promised = 1.0 + rates.iter().take(32).sum::<f64>();
        println!("at {temperature}: {measured:.3} tokens per pass, {promised:.3} promised");
        assert!(measured >= least, "at {temperature}: {measured}");
        // These are other prompts than those that were measured, and few.
        assert!((measured / promised - 1.0).abs() < 0.2, "{measured} of {promised}");
    }
}
