//! The definitions of the counters, on steps whose outcome is known.

use super::*;
use crate::{BuildId, Noise, Rows, Rule, Sampler, SamplingParams, Step, TreeBuilder, Verifier};

/// A target that always says the token after the last one.
struct Counting;

const ROWS: [[f32; 5]; 5] = {
    let mut rows = [[0.0; 5]; 5];
    let mut node = 0;
    while node < 5 {
        rows[node][(node + 1) % 5] = 1.0;
        node += 1;
    }
    rows
};

impl Rows for Counting {
    fn row(&self, node: usize) -> &[f32] {
        &ROWS[node]
    }
}

/// Verifies a chain from token 0 of which a number of tokens is right, and ends the text after `end`.
fn step(tree: &DraftTree, end: Option<usize>) -> Accepted {
    let noise = Noise { seed: 1, choice: 0 };
    let mut sampler = Sampler::new(SamplingParams::default(), noise, 5).unwrap();
    let mut out = Accepted::new();
    let step = Step { tree, rows: &Counting, position: 1, index: 0 };
    Verifier::new().verify(Rule::Coupled, &step, &mut sampler, &mut out);
    out.truncate(end.unwrap_or(usize::MAX));
    out
}

#[test]
fn counters_are_what_their_names_say() {
    let mut stats = SpecStats::default();
    let right = DraftTree::chain(&[0, 1, 2, 3]).unwrap();
    let half = DraftTree::chain(&[0, 1, 4]).unwrap();
    stats.record(&right, &step(&right, None));
    stats.record(&half, &step(&half, None));
    stats.record(&DraftTree::single(0), &step(&DraftTree::single(0), None));
    stats.record(&right, &step(&right, Some(2)));
    assert_eq!(stats.check_integrity(), Ok(()));
    let expected = SpecStats {
        steps: 4,
        drafted: 8,
        probes: 0,
        accepted: 3 + 1 + 2,
        drafted_by_position: vec![3, 3, 2],
        accepted_by_position: vec![3, 2, 1],
        emitted: 4 + 2 + 1 + 2,
        first_emitted: 4,
        cut_steps: 1,
        ..SpecStats::default()
    };
    assert_eq!(stats, expected);
    assert_eq!(stats.mean_accepted_length(), 9.0 / 4.0);
}

#[test]
fn probes_are_counted_apart() {
    let mut builder = TreeBuilder::new(0);
    let first = builder.push(BuildId::ROOT, 1, Role::Candidate).unwrap();
    builder.push(first, 3, Role::Probe).unwrap();
    builder.push(BuildId::ROOT, 4, Role::Probe).unwrap();
    builder.push(BuildId::ROOT, 3, Role::Candidate).unwrap();
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    let mut stats = SpecStats::default();
    stats.record(&tree, &step(&tree, None));
    assert_eq!((stats.drafted, stats.probes, stats.accepted), (2, 2, 1));
    assert_eq!(stats.drafted_by_position, [2]);
    assert_eq!(stats.check_integrity(), Ok(()));
}

#[test]
fn probes_that_the_text_took_were_drafted() {
    let mut builder = TreeBuilder::new(0);
    let first = builder.push(BuildId::ROOT, 1, Role::Probe).unwrap();
    let second = builder.push(first, 2, Role::Probe).unwrap();
    builder.push(second, 4, Role::Probe).unwrap();
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    for end in [None, Some(2)] {
        let mut stats = SpecStats::default();
        stats.record(&tree, &step(&tree, end));
        assert_eq!((stats.drafted, stats.probes, stats.accepted), (2, 1, 2));
        assert_eq!(stats.drafted_by_position, [1, 1]);
        assert_eq!(stats.check_integrity(), Ok(()));
    }
    let mut stats = SpecStats::default();
    stats.record(&tree, &step(&tree, Some(1)));
    assert_eq!((stats.drafted, stats.probes, stats.accepted), (1, 2, 1));
    assert_eq!(stats.check_integrity(), Ok(()));
}

#[test]
fn plain_decoding_emits_exactly_one_token_a_step() {
    let mut stats = SpecStats::default();
    assert_eq!((stats.mean_accepted_length(), stats.tokens_per_second()), (0.0, 0.0));
    let tree = DraftTree::single(0);
    for _ in 0..7 {
        stats.record(&tree, &step(&tree, None));
    }
    assert_eq!(stats.mean_accepted_length(), 1.0);
    stats.decode_time = Duration::from_secs(2);
    stats.prefill_time = Duration::from_secs(100);
    assert_eq!(stats.tokens_per_second(), 3.0, "six tokens after the first step");
    assert_eq!(stats.check_integrity(), Ok(()));
}

#[test]
fn a_step_that_fails_at_once_emits_nothing() {
    let mut stats = SpecStats::default();
    stats.record(&DraftTree::chain(&[0, 1]).unwrap(), &Accepted::new());
    assert_eq!((stats.steps, stats.drafted, stats.emitted), (0, 1, 0));
    assert_eq!(stats.check_integrity(), Ok(()));
}

#[test]
fn merging_adds_everything() {
    let right = DraftTree::chain(&[0, 1, 2, 3]).unwrap();
    let half = DraftTree::chain(&[0, 1, 4]).unwrap();
    let one = |tree: &DraftTree, seconds| {
        let mut stats = SpecStats::default();
        stats.record(tree, &step(tree, None));
        stats.record(tree, &step(tree, Some(1)));
        stats.prefill_time = Duration::from_secs(seconds);
        stats.decode_time = Duration::from_secs(2 * seconds);
        stats.draft_time = Duration::from_secs(3 * seconds);
        stats.verify_time = Duration::from_secs(4 * seconds);
        stats
    };
    let mut merged = one(&half, 1);
    merged.merge(&one(&right, 10));
    assert_eq!(merged.check_integrity(), Ok(()));
    let expected = SpecStats {
        steps: 4,
        drafted: 10,
        probes: 0,
        accepted: 1 + 1 + 3 + 1,
        drafted_by_position: vec![4, 4, 2],
        accepted_by_position: vec![4, 1, 1],
        emitted: 2 + 1 + 4 + 1,
        first_emitted: 2 + 4,
        cut_steps: 2,
        prefill_time: Duration::from_secs(11),
        decode_time: Duration::from_secs(22),
        draft_time: Duration::from_secs(33),
        verify_time: Duration::from_secs(44),
    };
    assert_eq!(merged, expected);
}

#[test]
fn a_broken_law_is_named() {
    let mut stats = SpecStats::default();
    let tree = DraftTree::chain(&[0, 1, 2]).unwrap();
    stats.record(&tree, &step(&tree, None));
    let damages: [fn(&mut SpecStats); 4] = [
        |stats| stats.emitted += 1,
        |stats| stats.drafted += 1,
        |stats| stats.accepted_by_position = vec![0, 2],
        |stats| stats.accepted_by_position[0] = 7,
    ];
    for (i, damage) in damages.iter().enumerate() {
        let mut broken = stats.clone();
        damage(&mut broken);
        assert!(broken.check_integrity().is_err(), "damage {i}");
    }
}
