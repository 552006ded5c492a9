//! Losslessness: the oracle corrupts its drafts in every way, and nothing that decides the text differs
//! from plain decoding by one bit.

use foretoken::{EndOfText, FinishReason, Isa, KvType, ModelSource, WeightFormat};

use crate::models::{Domain, Tiny, VOCAB, demo, options, prompt};
use crate::oracle::{Dice, Oracle};
use crate::plain::Plain;
use crate::runs::{Bench, Job, request, samplings};

/// How the oracle corrupts.
#[derive(Debug, Clone, Copy)]
struct Shape {
    rate: f64,
    rank: usize,
    depth: usize,
}

const NARROW: Shape = Shape { rate: 0.75, rank: 1, depth: 6 };
const WIDE: Shape = Shape { rate: 0.9, rank: 5, depth: 24 };

/// Prompts of one token and around the edges of chunks and of the rows a pass feeds.
const LENGTHS: [usize; 12] = [1, 63, 64, 65, 2, 127, 128, 129, 9, 130, 31, 200];

/// One request per prompt length; a third end at ends of text, a third at stop strings.
fn jobs(source: &ModelSource, domain: Domain, lengths: &[usize]) -> Vec<Job> {
    let mut plain = Plain::new(source, domain);
    let tokenizer = source.tokenizer().unwrap();
    let samplings = samplings();
    let job = |(index, &length): (usize, &usize)| {
        let sampling = &samplings[(index / 3 + index) % samplings.len()];
        let mut request = request(prompt(length, index as u64), sampling, 28 + index);
        request.choice = (index % 2) as u32;
        request.end_of_text = if index % 3 == 1 { EndOfText::Ends } else { EndOfText::Ignored };
        let job = Job::new(&mut plain, request);
        if index % 3 == 2 { job.stop_at(&tokenizer, 9 + index) } else { job }
    };
    lengths.iter().enumerate().map(job).collect()
}

fn oracle(jobs: &[Job], Shape { rate, rank, depth }: Shape) -> Oracle {
    let texts = jobs.iter().map(|job| job.text.tokens.clone()).collect();
    Oracle { texts, rate, rank, depth, vocab: VOCAB, dice: Dice(5) }
}

/// Runs all jobs with drafts of a shape, `together` at a time, and checks that the cell saw what it is
/// about.
fn cell(
    source: &ModelSource,
    domain: Domain,
    jobs: &[Job],
    shape: Shape,
    threads: usize,
    together: usize,
) {
    let mut options = options(source.clone(), domain, threads);
    options.max_sequences = together;
    let mut bench = Bench::new(options).drafted_by(oracle(jobs, shape));
    let completions = bench.check(jobs, if together == 1 { 0 } else { 2 });
    let seen = bench.log.lock().unwrap().coverage;
    let name = format!("{domain:?} {shape:?} threads {threads} together {together}: {seen:?}");
    println!("{name}");
    assert!(seen.drafted > 0 && seen.probes > 0, "drafts and probes are sent: {name}");
    assert!(seen.none > 0 && seen.one > 0 && seen.full > 0, "accepted 0, 1 and all: {name}");
    assert!(seen.ranked > 0 && seen.gapped > 0, "a later sibling, a gap: {name}");
    assert!(seen.behind_prompt > 0, "a draft behind a prompt: {name}");
    assert!(shape.depth < 24 || seen.widest >= 100, "a wide tree: {name}");
    for reason in [FinishReason::Eos, FinishReason::Stop] {
        let inside = |c: &foretoken::Completion| c.finish_reason == reason && c.stats.cut_steps > 0;
        assert!(completions.iter().any(inside), "{reason:?} inside a run: {name}");
    }
    // The room of a draft leaves the last token before a limit to the target.
    let limited = |c: &foretoken::Completion| c.finish_reason == FinishReason::Length;
    assert!(completions.iter().filter(|c| limited(c)).all(|c| c.stats.cut_steps == 0), "{name}");
}

/// All cells of one weight format on the smallest model.
fn format_cells(format: WeightFormat) {
    let tiny = Tiny::new("llama-gqa");
    let levels = Isa::ALL.iter().copied().filter(|isa| isa.is_available());
    for isa in levels.map(Some) {
        for kv in [KvType::F32, KvType::Bf16] {
            let domain = Domain { format, kv, isa };
            let jobs = jobs(&tiny.source(), domain, &LENGTHS);
            cell(&tiny.source(), domain, &jobs, NARROW, 1, 1);
            cell(&tiny.source(), domain, &jobs, WIDE, 2, 3);
            cell(&tiny.source(), domain, &jobs, NARROW, 3, 3);
        }
    }
}

#[test]
fn f32_text_is_the_undrafted_text() {
    format_cells(WeightFormat::F32);
}

#[test]
fn bf16_text_is_the_undrafted_text() {
    format_cells(WeightFormat::Bf16);
}

#[test]
fn q8_0_text_is_the_undrafted_text() {
    format_cells(WeightFormat::Q8_0);
}

#[test]
fn q4_0_text_is_the_undrafted_text() {
    format_cells(WeightFormat::Q4_0);
}

#[test]
fn every_family_writes_the_undrafted_text() {
    let families =
        ["mistral-window", "qwen2", "qwen2-window", "qwen3", "llama-biases", "llama3-rope"];
    for (index, family) in families.into_iter().enumerate() {
        println!("{family}");
        let tiny = Tiny::new(family);
        let formats = [WeightFormat::Q8_0, WeightFormat::F32];
        let domain = Domain { format: formats[index % 2], kv: KvType::Bf16, isa: None };
        let jobs = jobs(&tiny.source(), domain, &LENGTHS);
        cell(&tiny.source(), domain, &jobs, WIDE, 1, 3);
        cell(&tiny.source(), domain, &jobs, NARROW, 2, 3);
    }
}

#[test]
fn the_demo_writes_the_undrafted_text() {
    let formats = [(WeightFormat::Bf16, KvType::Bf16), (WeightFormat::Q4_0, KvType::F32)];
    for (format, kv) in formats {
        let domain = Domain { format, kv, isa: None };
        let jobs = jobs(&demo(), domain, &[5, 66, 12]);
        let mut bench = Bench::new(options(demo(), domain, 2)).drafted_by(oracle(&jobs, NARROW));
        bench.check(&jobs, 2);
        let seen = bench.log.lock().unwrap().coverage;
        assert!(seen.drafted > 0 && seen.none > 0 && seen.full > 0 && seen.gapped > 0, "{seen:?}");
    }
}
