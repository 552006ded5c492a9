//! `suffix` and `recycle`: in every format, alone and in a batch, they are right at times and change no bit.

use std::fs;
use std::path::{Path, PathBuf};

use foretoken::{DraftOptions, Engine, ModelSource, SamplingParams, TokenId};
use foretoken_model::CorpusIndex;

use crate::models::{DOMAINS, Domain, Tiny, VOCAB, demo, options, prompt};
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
        for drafter in ["suffix", "suffix+lookup", "recycle"] {
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
    for (drafter, more) in [("suffix", 40), ("recycle", 1)] {
        let mut bench = bench(&tiny, Domain::F32, drafter, 1);
        let sessions = [bench.engine.open_session(), bench.engine.open_session()];
        let mut accepted = |session: usize| {
            let mut request = job.request.clone();
            request.session = Some(sessions[session]);
            let completion = bench.run(vec![request], 0).remove(0).unwrap();
            assert_eq!(completion.tokens, job.text.output()[..60]);
            completion.stats.accepted
        };
        let first = accepted(0);
        assert!(accepted(0) >= first + more, "{drafter}: the same text again is known");
        assert_eq!(accepted(1), first, "{drafter}: but not to another session");
    }
}

/// An index of these documents for a model.
fn index(folder: &Path, documents: &[Vec<TokenId>], source: &ModelSource) -> PathBuf {
    let file = folder.join("corpus.index");
    let (documents, tokenizer) = (documents.iter().map(Vec::as_slice), source.tokenizer().unwrap());
    CorpusIndex::write(&file, documents, &tokenizer, VOCAB, &mut |_| {}).unwrap();
    file
}

#[test]
fn a_corpus_is_shown_to_all_and_changes_no_text_whatever_its_file_says() {
    let tiny = Tiny::new("llama-gqa");
    let mut plain = Plain::new(&tiny.source(), Domain::F32);
    let samplings = samplings();
    let job = |n: usize| Job::new(&mut plain, request(prompt(1 + 9 * n, 5), &samplings[n], 60));
    let jobs: Vec<_> = (0..6).map(job).collect();
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<_> = jobs.iter().map(|job| job.text.tokens.clone()).collect();
    let file = index(folder.path(), &documents, &tiny.source());
    let whole = fs::read(&file).unwrap();
    let accepted = |damage: &dyn Fn(&mut [u8])| -> Vec<u64> {
        let mut bytes = whole.clone();
        damage(&mut bytes[32..]);
        fs::write(&file, bytes).unwrap();
        let mut options = options(tiny.source(), Domain::F32, 1);
        "suffix".clone_into(&mut options.drafter);
        options.suffix_corpus = Some(file.clone());
        let completions = Bench::new(options).check(&jobs, 1);
        completions.iter().map(|completion| completion.stats.accepted).collect()
    };
    let known = accepted(&|_| {});
    assert!(known.iter().all(|&accepted| accepted > 40), "every text is in the corpus: {known:?}");
    // Tokens that no vocabulary has, tokens of another text, positions behind the end.
    accepted(&|body| body.fill(254));
    accepted(&|body| body.chunks_exact_mut(4).for_each(|word| word[0] ^= 1));
    let half = |body: &mut [u8]| {
        let half = body.len() / 2;
        body[half..].fill(255);
    };
    let damaged = accepted(&half);
    assert!(damaged.iter().sum::<u64>() < known.iter().sum(), "{damaged:?} against {known:?}");
}

#[test]
fn an_index_that_does_not_belong_to_the_model_is_refused_by_name() {
    let (tiny, folder) = (Tiny::new("llama-gqa"), tempfile::tempdir().unwrap());
    let refusal = |source: ModelSource| {
        let mut options = options(tiny.source(), Domain::F32, 1);
        "suffix".clone_into(&mut options.drafter);
        options.suffix_corpus = Some(index(folder.path(), &[vec![1, 2, 3]], &source));
        Engine::new(options).err().map(|error| error.to_string())
    };
    assert_eq!(refusal(tiny.source()), None);
    let refused = refusal(demo()).unwrap();
    assert!(refused.contains("corpus.index") && refused.contains("another tokenizer"), "{refused}");
}
