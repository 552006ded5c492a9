use foretoken_core::{Noise, Rule, Sampler, SamplingParams};

use super::*;
use crate::drafters::Room;
use crate::drafters::verifying::verify;

const VOCAB: usize = 100;
const KEY: SequenceKey = SequenceKey(1);
const WIDE: Room = Room { nodes: 99, depth: 99 };

fn task(key: SequenceKey, text: &[TokenId], room: Room) -> DraftTask {
    let noise = Noise { seed: 0, choice: 0 };
    let sampler = Sampler::new(SamplingParams::default(), noise, VOCAB).unwrap();
    DraftTask { room, ..DraftTask::new(key, text.to_vec(), sampler, Rule::default()) }
}

/// A row under which these tokens are the likeliest, the first one most.
fn row(tokens: &[TokenId]) -> Vec<f32> {
    let mut row = vec![-9.0; VOCAB];
    for (rank, &token) in tokens.iter().enumerate() {
        row[token as usize] = -(rank as f32);
    }
    row
}

/// Shows the drafter a draft that was verified with these rows, one behind each token of a chain.
fn observe(recycle: &mut Recycle, task: &mut DraftTask, rows: &[Vec<f32>]) {
    verify(task, |text| rows[text.len() - 1].clone());
    recycle.observe(std::slice::from_ref(task));
}

/// What is proposed after a token: tokens and parents in preorder.
fn propose(
    recycle: &mut Recycle,
    key: SequenceKey,
    token: TokenId,
    room: Room,
) -> Vec<(TokenId, usize)> {
    let mut tasks = [task(key, &[token], room)];
    recycle.propose(&mut tasks);
    let tree = &tasks[0].tree;
    assert_eq!(tree.check_integrity(), Ok(()));
    (1..tree.len()).map(|node| (tree.token(node), tree.parent(node).unwrap())).collect()
}

fn with_prompt(nodes: usize, prompt: &[TokenId]) -> Recycle {
    let mut recycle = Recycle::new(nodes);
    recycle.begin(KEY, prompt);
    recycle
}

#[test]
fn the_likeliest_successors_of_every_node_are_kept_and_the_last_one_counts() {
    let mut recycle = with_prompt(4, &[]);
    assert_eq!(propose(&mut recycle, KEY, 5, WIDE), [], "nothing is known");
    let mut observed = task(KEY, &[5], WIDE);
    observe(&mut recycle, &mut observed, &[row(&[6, 7])]);
    assert_eq!(propose(&mut recycle, KEY, 5, WIDE), [(6, 0), (7, 0)]);
    let mut observed = task(KEY, &[5], WIDE);
    observed.tree.set_chain(&[5, 6, 5]).unwrap();
    let rows = [row(&[1]), row(&[8, 9]), row(&[6, 4])];
    observe(&mut recycle, &mut observed, &rows);
    let second = propose(&mut recycle, KEY, 5, WIDE);
    assert_eq!(second, [(6, 0), (8, 1), (4, 0)], "the later 5 has replaced the earlier");
}

#[test]
fn rows_that_nothing_can_be_drawn_from_teach_nothing() {
    let mut recycle = with_prompt(4, &[]);
    observe(&mut recycle, &mut task(KEY, &[5], WIDE), &[row(&[6])]);
    let before = propose(&mut recycle, KEY, 5, WIDE);
    observe(&mut recycle, &mut task(KEY, &[5], WIDE), &[vec![f32::NAN; VOCAB]]);
    assert_eq!(propose(&mut recycle, KEY, 5, WIDE), before);
    assert!(!before.is_empty());
}

#[test]
fn what_followed_a_token_in_the_prompt_stands_in_until_a_row_is_known() {
    let mut recycle = with_prompt(4, &[1, 2, 1, 3, 1, 2, 8]);
    let known = propose(&mut recycle, KEY, 1, WIDE);
    assert_eq!(known, [(2, 0), (8, 1), (3, 0)], "the most recent first");
    assert_eq!(propose(&mut recycle, KEY, 1, Room { nodes: 9, depth: 1 }), [(2, 0), (3, 0)]);
    assert_eq!(propose(&mut recycle, KEY, 1, Room { nodes: 1, depth: 9 }), [(2, 0)]);
    assert_eq!(propose(&mut recycle, KEY, 1, Room::default()), []);
    observe(&mut recycle, &mut task(KEY, &[1], WIDE), &[row(&[9, 7, 6, 5, 4, 3, 2, 1])]);
    recycle.begin(KEY, &[1, 2, 1, 3]);
    assert_eq!(propose(&mut recycle, KEY, 1, Room { nodes: 9, depth: 1 }), [(9, 0), (7, 0)]);
}

#[test]
fn no_key_sees_anothers_successors_and_what_is_over_takes_no_memory() {
    let mut recycle = with_prompt(4, &[1, 2]);
    let other = SequenceKey(2);
    recycle.begin(other, &[]);
    assert_eq!(propose(&mut recycle, KEY, 1, WIDE), [(2, 0)]);
    assert_eq!(propose(&mut recycle, other, 1, WIDE), []);
    recycle.end(KEY);
    recycle.begin(KEY, &[]);
    assert_eq!(propose(&mut recycle, KEY, 1, WIDE), []);
    assert_eq!(recycle.sequences.len(), 2);
}

#[test]
fn at_the_limit_the_token_not_used_for_longest_is_forgotten() {
    let mut adjacency = Adjacency::new(2);
    adjacency.learn(1, &[10]);
    adjacency.learn(2, &[20, 21]);
    assert_eq!(adjacency.successors(1), [10]);
    adjacency.learn(3, &[30]);
    assert!(adjacency.successors(2).is_empty(), "used longest ago");
    assert_eq!(adjacency.successors(1), [10]);
    assert_eq!(adjacency.successors(3), [30]);
    adjacency.learn(3, &[]);
    assert_eq!(adjacency.successors(3), [30], "no row says nothing");
    assert_eq!(adjacency.rows.len(), 2);
}

#[test]
fn of_a_text_beyond_the_limit_the_end_is_kept() {
    let mut adjacency = Adjacency::new(3);
    adjacency.read(&[1, 2, 3, 4, 5, 6]);
    assert_eq!([1, 2, 3, 4, 5].map(|token| adjacency.successors(token).len()), [0, 0, 1, 1, 1]);
}

#[test]
fn guesses_without_a_token_take_no_room() {
    let mut recycle = with_prompt(16, &[1, 2, 8, 1, 3]);
    let wide = propose(&mut recycle, KEY, 1, WIDE);
    assert_eq!(wide, [(3, 0), (2, 0), (8, 2), (1, 3)], "3 has no successors");
    assert_eq!(propose(&mut recycle, KEY, 1, Room { nodes: 3, depth: 9 }), wide[..3]);
}

#[test]
fn a_smaller_budget_takes_the_first_part_of_the_tree() {
    let prompt: Vec<_> = (0..40).flat_map(|token| [token, (token * 7 + 1) % 40]).collect();
    let sizes = [1, 4, 16, 64];
    let trees = sizes.map(|nodes| Recycle::new(nodes).tree);
    for (tree, nodes) in trees.iter().zip(sizes) {
        assert_eq!(tree.len(), nodes);
        assert_eq!(tree.guesses(), &trees[3].guesses()[..nodes]);
        let mut recycle = with_prompt(nodes, &prompt);
        assert!(propose(&mut recycle, KEY, 3, WIDE).len() <= nodes);
    }
}
