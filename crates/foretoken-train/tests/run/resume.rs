//! A run that dies at any step goes on to the same bits, and to none of another run's.

use std::fs;
use std::path::Path;

use foretoken_model::{Checkpoint, ModelSource, OpenOptions};
use foretoken_train::data::Document;
use foretoken_train::{Event, OutputFolder, Run, RunError, RunOptions, Start};

use crate::support::{compute, corpus, count, every, model, open, options, plan};

const STEPS: u64 = 8;

/// Everything that a run leaves behind.
fn outcome(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names =
        ["checkpoint/group-0.safetensors", "checkpoint/state.json", "checkpoint/history.jsonl"];
    let names = names.into_iter().chain(["history.jsonl", "model.safetensors", "config.json"]);
    names.map(|name| (name.to_owned(), fs::read(folder.join(name)).expect(name))).collect()
}

#[test]
fn a_run_that_dies_at_any_step_ends_at_the_same_bits() {
    let mut compute = compute(2);
    let folder = tempfile::tempdir().expect("a folder");
    let mut whole = open(&compute, options(STEPS), folder.path()).expect("the run starts");
    let mut told = Vec::new();
    let mut tell = |event: Event<'_>| match event {
        Event::Step(progress) => told.push((progress.point.step, 's')),
        Event::Checkpoint { step } => told.push((step, 'c')),
    };
    whole.train(&mut compute, &mut tell).expect("it trains");
    let wanted = outcome(folder.path());
    let saved: Vec<_> =
        told.iter().filter(|(_, what)| *what == 'c').map(|(step, _)| *step).collect();
    assert_eq!((told.len() - saved.len(), saved), (STEPS as usize, vec![3, 6, 8]));
    let points: Vec<_> = whole.history().points().collect();
    assert_eq!(points.len(), STEPS as usize);
    assert!(points[7].loss < points[0].loss, "it learns");
    let validated: Vec<_> =
        points.iter().filter(|point| !point.validation.is_empty()).map(|p| p.step).collect();
    assert_eq!(validated, [4, 8]);
    assert_eq!(points[3].tokens, 4 * 36);

    for dies in 0..=STEPS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut run = open(&compute, options(STEPS), folder.path()).expect("the run starts");
        for step in 1..=dies {
            run.step(&mut compute).expect("a step");
            if step % 3 == 0 {
                run.save().expect("a checkpoint");
            }
        }
        drop(run);
        let mut run = open(&compute, options(STEPS), folder.path()).expect("it goes on");
        assert_eq!(run.done(), dies / 3 * 3, "after {dies} steps");
        run.train(&mut compute, &mut |_| {}).expect("it trains");
        assert!(outcome(folder.path()) == wanted, "died after {dies} steps");
    }
}

#[test]
fn what_was_trained_is_a_model() {
    let mut compute = compute(1);
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = open(&compute, options(2), folder.path()).expect("the run starts");
    run.train(&mut compute, &mut |_| {}).expect("it trains");
    let source = ModelSource::Folder(folder.path().to_owned());
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default()).expect("a model");
    assert_eq!(checkpoint.spec().vocab, 61);
    assert!(source.tokenizer().is_ok());
    // A run that is at its end can be called again.
    drop(run);
    let mut again = open(&compute, options(2), folder.path()).expect("it is there");
    again.train(&mut compute, &mut |_| panic!("nothing is left to do")).expect("it ends");
}

#[test]
fn threads_change_no_bit_of_a_run() {
    let outcomes = [1, 3].map(|threads| {
        let mut compute = compute(threads);
        let folder = tempfile::tempdir().expect("a folder");
        let mut run = open(&compute, options(3), folder.path()).expect("the run starts");
        run.train(&mut compute, &mut |_| {}).expect("it trains");
        outcome(folder.path())
    });
    assert!(outcomes[0] == outcomes[1]);
}

fn refusal(folder: &Path, options: RunOptions) -> String {
    let refused = open(&compute(1), options, folder).expect_err("another run");
    assert!(matches!(refused, RunError::OtherRun { .. }), "{refused}");
    let message = refused.to_string();
    let (start, end) = ("its ", "; name another folder, or begin anew");
    let start = message.find(start).expect("what differs") + start.len();
    message[start..].strip_suffix(end).expect("what to do").to_owned()
}

#[test]
fn another_run_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = options(STEPS);
    drop(open(&compute(1), first, folder.path()).expect("the run starts"));
    let mut schedule = first.schedule;
    schedule.peak = 0.5;
    let cases = [
        (options(9), "number of steps is 8, not 9"),
        (RunOptions { seed: 6, ..first }, "seed is 5, not 6"),
        (RunOptions { length: 13, ..first }, "length of sequences is 12, not 13"),
        (RunOptions { sequences: count(4), ..first }, "number of sequences per step is 3, not 4"),
        (RunOptions { piece: count(1), ..first }, "number of sequences at once is 2, not 1"),
        (RunOptions { schedule, ..first }, "learning rate is 0.01, not 0.5"),
        (RunOptions { clip: 2.0, ..first }, "limit of gradients is 1, not 2"),
    ];
    for (options, wanted) in cases {
        assert_eq!(refusal(folder.path(), options), wanted);
    }
    // What changes no bit may change.
    let free = RunOptions { validate_every: every(1), ..first };
    assert_eq!(open(&compute(1), free, folder.path()).expect("the same run").done(), 0);
}

#[test]
fn other_text_and_other_methods_are_refused() {
    let compute = compute(1);
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(&compute, options(STEPS), folder.path()).expect("the run starts"));
    let mut other = plan(options(STEPS));
    other.text.push(&Document::new(vec![1, 2], vec![true; 2]).expect("a document"));
    let refused = |plan, start| {
        let folder = OutputFolder::open(folder.path()).expect("a folder");
        Run::open(&compute, model(&compute), plan, folder, start)
    };
    let message = refused(other, Start::Resume).expect_err("other text").to_string();
    assert!(message.contains("checkpoint of another run: its text is "), "{message}");
    let mut other = plan(options(STEPS));
    other.identity[0].1 = "draft".to_owned();
    let message = refused(other, Start::Resume).expect_err("another method").to_string();
    assert!(message.contains("its method is base, not draft;"), "{message}");
    let mut other = plan(options(STEPS));
    other.text = corpus(3);
    assert_eq!(refused(other, Start::Anew).expect("it begins anew").done(), 0);
}
