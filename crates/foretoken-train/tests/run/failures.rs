//! What goes wrong is named, and costs at most the steps since the last checkpoint.

use std::fs;
use std::num::NonZeroUsize;

use foretoken_train::{
    CosineSchedule, Learner, OutputFolder, Run, RunError, RunOptions, Start, check_memory,
};

use crate::support::{Fault, Faulty, compute, count, model, open, options, plan};

fn faulty(at: u64, fault: Fault) -> Faulty {
    Faulty { inner: model(&compute(1)), at, fault, step: 0 }
}

#[test]
fn training_that_diverges_stops_with_its_step_and_can_go_on() {
    let mut compute = compute(1);
    let whole = tempfile::tempdir().expect("a folder");
    let mut run = open(&compute, options(7), whole.path()).expect("the run starts");
    run.train(&mut compute, &mut |_| {}).expect("it trains");
    for (fault, what) in [(Fault::Loss, "loss"), (Fault::Gradient, "gradient")] {
        let folder = tempfile::tempdir().expect("a folder");
        let start = |learner, compute: &_| {
            let folder = OutputFolder::open(folder.path()).expect("a folder");
            Run::open(compute, learner, plan(options(7)), folder, Start::Resume)
        };
        let mut run = start(faulty(5, fault), &compute).expect("the run starts");
        let error = run.train(&mut compute, &mut |_| {}).expect_err("it diverges").to_string();
        let wanted = format!(
            "the {what} of step 5 is not finite: training diverged; lower the learning rate or warm up for \
             longer (the checkpoint of step 3 is kept)"
        );
        assert_eq!(error, wanted);
        drop(run);
        let mut run = start(faulty(0, fault), &compute).expect("it goes on");
        assert_eq!(run.done(), 3);
        run.train(&mut compute, &mut |_| {}).expect("it trains");
        let of = |folder: &std::path::Path| fs::read(folder.join("model.safetensors")).expect("it");
        assert!(of(folder.path()) == of(whole.path()), "{what}");
    }
}

#[test]
fn a_rate_too_high_leaves_no_checkpoint_without_numbers() {
    let mut compute = compute(1);
    let folder = tempfile::tempdir().expect("a folder");
    let schedule = CosineSchedule { peak: f32::MAX, end: f32::MAX, warm_up: 0, steps: 2 };
    let wild = RunOptions { schedule, ..options(2) };
    let mut run = open(&compute, wild, folder.path()).expect("the run starts");
    run.step(&mut compute).expect("the first loss is finite");
    let error = run.save().expect_err("the parameters are not").to_string();
    assert!(error.starts_with("the outcome of step 1 is not finite"), "{error}");
    drop(run);
    assert_eq!(open(&compute, wild, folder.path()).expect("the first checkpoint").done(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_at_once() {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("file");
    fs::write(&file, "mine").expect("a file");
    let error = open(&compute(1), options(2), &file).expect_err("a file is no folder");
    assert!(matches!(error, RunError::Write { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot write `{}`: ", file.display())));
    assert_eq!(fs::read(&file).expect("it is there"), b"mine");

    let model = root.path().join("model");
    fs::create_dir(&model).expect("a folder");
    fs::write(model.join("config.json"), "{}").expect("a file");
    let error = open(&compute(1), options(2), &model).expect_err("somebody's model").to_string();
    assert_eq!(error, format!("`{}` holds a model already; name another folder", model.display()));
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one() {
    let mut compute = compute(1);
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = open(&compute, options(7), folder.path()).expect("the run starts");
    // In the way of every later checkpoint, whoever runs the test.
    let mut told = |_: foretoken_train::Event<'_>| {
        let _ = fs::write(folder.path().join("checkpoint.new"), "");
    };
    let error = run.train(&mut compute, &mut told).expect_err("it cannot be written").to_string();
    assert!(error.starts_with("cannot write `") && error.contains("checkpoint.new`: "), "{error}");
    fs::remove_file(folder.path().join("checkpoint.new")).expect("the file");
    drop(run);
    assert_eq!(open(&compute, options(7), folder.path()).expect("it goes on").done(), 0);
}

/// A device that is always full stands in for the history's file.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_costs_nothing() {
    let mut compute = compute(1);
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = open(&compute, options(7), folder.path()).expect("the run starts");
    let full = folder.path().join("history.jsonl.new");
    std::os::unix::fs::symlink("/dev/full", &full).expect("a link");
    let error = run.train(&mut compute, &mut |_| {}).expect_err("the disk is full").to_string();
    assert!(error.starts_with(&format!("cannot write `{}`: No space", full.display())), "{error}");
    drop(run);
    fs::remove_file(&full).expect("the link");
    let mut run = open(&compute, options(7), folder.path()).expect("it goes on");
    assert_eq!(run.done(), 3);
    run.train(&mut compute, &mut |_| {}).expect("it trains");
}

#[test]
fn a_folder_in_which_somebody_runs_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = open(&compute(1), options(7), folder.path()).expect("the run starts");
    let error = open(&compute(1), options(7), folder.path()).expect_err("it is taken").to_string();
    let wanted = "another run is under way in `";
    assert!(error.starts_with(wanted), "{error}");
    drop(run);
    assert!(open(&compute(1), options(7), folder.path()).is_ok());
}

#[test]
fn damaged_checkpoints_are_named() {
    let compute = compute(1);
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(&compute, options(7), folder.path()).expect("the run starts"));
    let path = folder.path().join("checkpoint/group-0.safetensors");
    let bytes = fs::read(&path).expect("the tensors");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("it is written");
    let error = open(&compute, options(7), folder.path()).expect_err("half a file").to_string();
    assert!(error.starts_with(&format!("`{}` is damaged (", path.display())), "{error}");
    let fails = |bytes: &[u8], wanted: &str| {
        fs::write(&path, bytes).expect("it is written");
        let error = open(&compute, options(7), folder.path()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    };
    fails(&bytes[..7], "its 7 bytes end before its header does");
    fails(&[&[u8::MAX; 8], &bytes[8..]].concat(), "end before its header does");
    fails(&[&bytes[..], &[0]].concat(), &format!("bytes, not {}", bytes.len()));
    fails(&[&1u64.to_le_bytes(), &bytes[8..]].concat(), "is damaged (");
    let renamed = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).expect(from);
        [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
    };
    fails(&renamed("\"F32\"", "\"I32\""), "` holds I32, not F32");
    let wanted = "`model.norm.weight` should have 16 values and is missing";
    fails(&renamed("\"model.norm.weight\"", "\"model.nerm.weight\""), wanted);
    fails(&renamed("model.norm.weight.exp_avg\"", "model.norm.weight.exp_abg\""), "exp_avg`");
    // A hole of a gigabyte, which is not to be read.
    fs::write(&path, (1u64 << 30).to_le_bytes()).expect("it is written");
    let file = fs::File::options().write(true).open(&path).expect("the file");
    file.set_len((1 << 30) + 8).expect("a hole");
    let error = open(&compute, options(7), folder.path()).expect_err("no header").to_string();
    assert!(error.contains("its header has 1073741824 bytes"), "{error}");
    fs::write(&path, bytes).expect("it is written");
    let path = folder.path().join("checkpoint/state.json");
    let text = fs::read_to_string(&path).expect("the state");
    for (from, to, wanted) in [
        ("\"row\": 0", "\"row\": 100000", "the corpus has no document 0 with a row 100000"),
        ("\"done\": 0", "\"done\": -1", "a number is missing"),
        ("}", "", "is damaged ("),
    ] {
        fs::write(&path, text.replace(from, to)).expect("it is written");
        let error = open(&compute, options(7), folder.path()).expect_err(from).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn too_little_memory_is_told_with_the_numbers() {
    let error = check_memory(1 << 50, 1 << 40).expect_err("nobody has so much").to_string();
    let start = "training 1125899906842624 parameters needs about 16778240.0 GiB of memory and ";
    assert!(error.starts_with(start), "{error}");
    assert!(check_memory(1000, 1000).is_ok());
}

/// Products of sizes like these are beyond a word; those of powers of two wrap to 0.
#[test]
fn sizes_beyond_all_memory_are_refused_like_others() {
    let huge = usize::MAX / 2 + 1;
    for (sequences, length) in [(huge, 2), (2, huge), (huge, huge), (huge - 1, 3)] {
        assert_eq!(RunOptions::steps_for(1 << 20, count(sequences), length), 1);
        let folder = tempfile::tempdir().expect("a folder");
        let (compute, folder) = (compute(1), OutputFolder::open(folder.path()).expect("a folder"));
        let (sequences, piece) = (count(sequences), count(sequences));
        let options = RunOptions { sequences, piece, length, ..options(1) };
        let plan = foretoken_train::Plan { options, ..plan(crate::support::options(1)) };
        let refused = Run::open(&compute, model(&compute), plan, folder, Start::Resume);
        assert!(matches!(refused, Err(RunError::Memory { .. })), "{sequences} x {length}");
    }
}

#[test]
fn a_run_needs_memory_for_what_is_still_to_come() {
    let (folder, compute) = (tempfile::tempdir().expect("a folder"), compute(1));
    let plan = plan(RunOptions { piece: NonZeroUsize::new(1 << 40).expect("some"), ..options(1) });
    let model = model(&compute);
    let parameters: usize = model.groups().iter().map(|group| group.count()).sum();
    let step = model.step_bytes(plan.options.length << 40);
    let folder = OutputFolder::open(folder.path()).expect("a folder");
    match Run::open(&compute, model, plan, folder, Start::Anew) {
        // Gradients and two moments: the values are there.
        Err(RunError::Memory { needed, .. }) => assert_eq!(needed, 12 * parameters + step),
        other => panic!("nobody has so much: {:?}", other.err()),
    }
}

#[test]
fn options_without_meaning_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut endless = options(1);
    endless.schedule.peak = f32::NAN;
    let cases = [
        (options(0), "a run has at least one step"),
        (RunOptions { length: 0, ..options(1) }, "a sequence has at least one token"),
        (endless, "learning rates and the limit of gradients are finite and not negative"),
    ];
    for (options, wanted) in cases {
        let plan = foretoken_train::Plan { options, ..plan(crate::support::options(1)) };
        let compute = compute(1);
        let folder = OutputFolder::open(folder.path()).expect("a folder");
        let refused = Run::open(&compute, model(&compute), plan, folder, Start::Resume);
        assert_eq!(refused.expect_err(wanted).to_string(), wanted);
    }
}
