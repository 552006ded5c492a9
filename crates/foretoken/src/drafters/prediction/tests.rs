use foretoken_core::{Noise, Rule, Sampler, SamplingParams, TokenId};

use super::*;
use crate::drafters::Room;

const WIDE: Room = Room { nodes: 99, depth: 99 };

/// A sequence behind a prompt of one token, and what was proposed last.
struct Text {
    drafter: Prediction,
    tasks: [DraftTask; 1],
}

impl Text {
    fn new(prediction: &[TokenId], min_probability: f64) -> Self {
        let ceilings = Ceilings { nodes: 32, width: 1, min_probability };
        let mut drafter = Prediction::new(ceilings);
        let sampler =
            Sampler::new(SamplingParams::default(), Noise { seed: 0, choice: 0 }, 100).unwrap();
        let task = DraftTask::new(SequenceKey(1), vec![99], sampler, Rule::default());
        let task = DraftTask { room: WIDE, prediction: prediction.to_vec(), ..task };
        drafter.begin(task.key, &[99]);
        let mut text = Self { drafter, tasks: [task] };
        text.propose();
        text
    }

    /// Proposes and returns the tree's tokens and parents, in preorder.
    fn propose(&mut self) -> Vec<(TokenId, usize)> {
        let task = &mut self.tasks[0];
        task.tree.set_single(task.text[task.text.len() - 1]);
        self.drafter.propose(&mut self.tasks);
        let tree = &self.tasks[0].tree;
        assert_eq!(tree.check_integrity(), Ok(()));
        (1..tree.len()).map(|node| (tree.token(node), tree.parent(node).unwrap())).collect()
    }

    /// Writes tokens in one step.
    fn write(&mut self, tokens: &[TokenId]) {
        self.tasks[0].text.extend_from_slice(tokens);
        self.drafter.observe(&self.tasks);
    }

    /// The tokens of the branch that was proposed first, and of those that begin otherwise.
    fn branches(&mut self) -> Vec<Vec<TokenId>> {
        let mut branches: Vec<Vec<TokenId>> = Vec::new();
        for (token, parent) in self.propose() {
            if parent == 0 {
                branches.push(Vec::new());
            }
            branches.last_mut().unwrap().push(token);
        }
        branches
    }

    /// Writes a text as a target would that chooses it; returns the steps it took.
    fn steps(&mut self, text: &[TokenId]) -> usize {
        let mut written = 0;
        for steps in 1.. {
            self.propose();
            let (tree, mut node, mut accepted) = (&self.tasks[0].tree, 0, 0);
            while let Some(&next) = text.get(written + accepted)
                && let Some(child) = tree.child_with_token(node, next)
            {
                (node, accepted) = (child, accepted + 1);
            }
            let end = text.len().min(written + accepted + 1);
            self.write(&text[written..end]);
            written = end;
            if written == text.len() {
                return steps;
            }
        }
        unreachable!("a step writes a token")
    }
}

/// Tokens that never repeat.
fn fresh(from: TokenId, count: TokenId) -> Vec<TokenId> {
    (from..from + count).collect()
}

#[test]
fn the_prediction_is_drafted_from_its_beginning_within_its_room() {
    let predicted = fresh(0, 60);
    let mut text = Text::new(&predicted, 0.0);
    assert_eq!(text.branches(), [predicted[..32].to_vec()]);
    text.write(&predicted[..5]);
    assert_eq!(text.branches(), [predicted[5..37].to_vec()]);
    text.tasks[0].room = Room { nodes: 99, depth: 3 };
    assert_eq!(text.branches(), [predicted[5..8].to_vec()]);
    text.tasks[0].room = Room { nodes: 2, depth: 99 };
    assert_eq!(text.branches(), [predicted[5..7].to_vec()]);
    text.tasks[0].room = Room::default();
    assert!(text.branches().is_empty());
    text.tasks[0].room = WIDE;
    text.write(&predicted[5..58]);
    assert_eq!(text.branches(), [predicted[58..].to_vec()]);
    text.write(&predicted[58..]);
    assert!(text.branches().is_empty(), "nothing is predicted behind its end");
    text.write(&[7, 8, 9]);
    assert_eq!(text.branches()[0][..4], predicted[10..14], "but it may be written again");
}

#[test]
fn without_a_prediction_nothing_is_proposed_and_nothing_kept() {
    let mut text = Text::new(&[], 0.0);
    assert!(text.propose().is_empty());
    text.write(&[1, 2, 3]);
    assert!(text.propose().is_empty());
    assert!(text.drafter.readers.is_empty());
}

#[test]
fn depth_follows_how_sure_the_place_is() {
    let predicted = fresh(0, 1000);
    let mut text = Text::new(&predicted, 0.3);
    let first = text.branches()[0].len();
    text.write(&predicted[..300]);
    let later = text.branches()[0].len();
    assert!(first < later && later == 32, "{first}, {later}");
    // A text that only begins as predicted is given up.
    let mut text = Text::new(&predicted, 0.1);
    text.steps(&fresh(2000, 40));
    assert!(text.propose().is_empty(), "{:?}", text.propose());
    // And found again.
    text.write(&predicted[500..510]);
    assert_eq!(text.branches()[0][..8], predicted[510..518]);
}

#[test]
fn behind_a_difference_the_places_nearby_are_branches() {
    let predicted = fresh(0, 100);
    let behind = |written: &[TokenId]| {
        let mut text = Text::new(&predicted, 0.0);
        text.write(&predicted[..40]);
        text.write(written);
        let firsts: Vec<_> = text.branches().iter().map(|branch| branch[0]).collect();
        firsts
    };
    assert_eq!(behind(&[200]), [40, 41], "put in, or in place of one");
    assert_eq!(behind(&[43])[0], 44, "left out");
    assert_eq!(behind(&[200, 201, 202, 45])[0], 46, "some in place of others");
    assert_eq!(behind(&[200, 41])[0], 42);
    assert_eq!(behind(&[10, 11, 12])[0], 13, "an earlier part again");
    assert_eq!(behind(&[90, 91])[0], 92, "a part far ahead");
}

#[test]
fn of_equal_places_the_nearest_ahead_is_first() {
    // 7 8 stands before 10, 30 and 50 others.
    let mut predicted = fresh(100, 90);
    for at in [10, 30, 50] {
        predicted[at..at + 2].copy_from_slice(&[7, 8]);
    }
    let mut text = Text::new(&predicted, 0.0);
    text.write(&predicted[..28]);
    text.write(&[300, 301, 7, 8]);
    assert_eq!(text.branches()[0][0], predicted[32]);
}

type Edit<'a> = &'a dyn Fn(&mut Vec<TokenId>);

#[test]
fn a_part_far_away_is_found_by_tokens_that_stand_everywhere() {
    let predicted: Vec<_> = (0..200).flat_map(|number| [1, 2, 300 + number]).collect();
    let mut text = Text::new(&predicted, 0.0);
    text.write(&predicted[..60]);
    text.write(&[900, 449, 1, 2, 450, 1, 2]);
    assert_eq!(text.branches()[0][0], 451);
}

#[test]
fn edits_cost_a_few_steps_each() {
    let old = fresh(0, 1000);
    let edit = |change: &dyn Fn(&mut Vec<TokenId>)| {
        let mut new = old.clone();
        change(&mut new);
        let steps = Text::new(&old, 0.1).steps(&new);
        (new.len() as f64 / steps as f64, steps)
    };
    let (_, untouched) = edit(&|_| {});
    assert!(untouched <= 33, "{untouched}");
    let edits: [(&str, Edit); 4] = [
        ("insert", &|new| drop(new.splice(500..500, fresh(2000, 6)))),
        ("delete", &|new| drop(new.drain(400..470))),
        ("replace", &|new| drop(new.splice(300..306, fresh(2000, 5)))),
        ("move", &|new| {
            let part: Vec<_> = new.drain(200..280).collect();
            drop(new.splice(700..700, part));
        }),
    ];
    for (name, change) in edits {
        let (length, steps) = edit(change);
        println!("{name}: {length:.1} tokens per step, {steps} steps");
        assert!(steps <= untouched + 14, "{name}: {steps} steps instead of {untouched}");
    }
}

#[test]
fn hostile_repetition_is_drafted_as_any_text() {
    let mut text = Text::new(&vec![5; 5000], 0.0);
    assert_eq!(text.branches(), [vec![5; 32]]);
    text.write(&[6, 5, 5]);
    assert_eq!(text.branches()[0][..8], [5; 8]);
    let steps = text.steps(&vec![5; 4000]);
    assert!(steps <= 4000 / 33 + 12, "{steps}");
}

#[test]
fn a_request_that_begins_anew_has_its_own_prediction() {
    let mut text = Text::new(&fresh(0, 20), 0.0);
    text.write(&fresh(0, 5));
    text.propose();
    let task = &mut text.tasks[0];
    task.prediction = fresh(50, 20);
    text.drafter.begin(task.key, &task.text);
    assert_eq!(text.branches()[0][0], 50);
    assert_eq!(text.drafter.readers.len(), 1);
    text.drafter.end(SequenceKey(1));
    assert!(text.drafter.readers.is_empty());
}
