use foretoken_core::{Noise, Rule, Sampler, SamplingParams};

use super::*;

/// What is proposed after a text: the tree's tokens and parents, in preorder.
fn propose(text: &[TokenId], nodes: usize, depth: usize) -> Vec<(TokenId, Option<usize>)> {
    let mut lookup = LookupDrafter::new(64, 1000);
    let key = SequenceKey(1);
    lookup.begin(key, text);
    let noise = Noise { seed: 0, choice: 0 };
    let sampler = Sampler::new(SamplingParams::default(), noise, 100).unwrap();
    let task = DraftTask::new(key, text.to_vec(), sampler, Rule::default());
    let mut tasks = [DraftTask { room: Room { nodes, depth }, ..task }];
    lookup.propose(&mut tasks);
    let tree = &tasks[0].tree;
    (1..tree.len()).map(|node| (tree.token(node), tree.parent(node))).collect()
}

#[test]
fn what_followed_the_last_pair_is_proposed_and_trusted_by_the_common_history() {
    let text = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2];
    let chain =
        |tokens: &[TokenId]| -> Vec<_> { tokens.iter().copied().zip((0..).map(Some)).collect() };
    assert_eq!(propose(&text, 9, 9), chain(&[3, 4, 5, 6]));
    let text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3];
    assert_eq!(propose(&text, 9, 9), chain(&[4, 5, 6, 7, 8, 9]));
    assert_eq!(propose(&text, 9, 2), chain(&[4, 5]));
    assert_eq!(propose(&text, 3, 9), chain(&[4, 5, 6]));
    assert_eq!(propose(&[1, 2, 3, 1], 9, 9), []);
    assert_eq!(propose(&[1], 9, 9), []);
}

#[test]
fn longer_histories_come_first_and_the_most_recent_among_equals() {
    // After 5 1 2 came 11, after 6 1 2 came 12, after 7 1 2 came 13.
    let text = [5, 1, 2, 11, 6, 1, 2, 12, 7, 1, 2, 13, 0, 1, 2];
    let children = |text: &[TokenId]| -> Vec<TokenId> {
        let all = propose(text, 9, 1);
        all.into_iter().map(|(token, _)| token).collect()
    };
    assert_eq!(children(&text), [13, 12, 11]);
    let text = [5, 1, 2, 11, 6, 1, 2, 12, 7, 1, 2, 13, 5, 1, 2];
    assert_eq!(children(&text), [11, 13, 12]);
}

#[test]
fn what_followed_more_often_is_proposed_first_among_equals() {
    // After 1 2 came 12 once and 13 twice, the once most recently.
    let text = [5, 1, 2, 13, 6, 1, 2, 13, 7, 1, 2, 12, 0, 1, 2];
    assert_eq!(propose(&text, 1, 1), [(13, Some(0))]);
    assert_eq!(propose(&text, 2, 1), [(13, Some(0)), (12, Some(0))]);
}

/// Feeds a text token by token behind its first ones, and says what was proposed first in each step.
fn follow(lookup: &mut LookupDrafter, text: &[TokenId], first: usize) -> Vec<Option<TokenId>> {
    let (key, noise) = (SequenceKey(1), Noise { seed: 0, choice: 0 });
    lookup.begin(key, &text[..first]);
    let sampler = Sampler::new(SamplingParams::default(), noise, 5000).unwrap();
    let task = DraftTask::new(key, text[..first].to_vec(), sampler, Rule::default());
    let mut tasks = [DraftTask { room: Room { nodes: 1, depth: 1 }, ..task }];
    let step = |&token: &TokenId| {
        let task = &mut tasks[0];
        task.text.push(token);
        task.tree.set_single(token);
        lookup.propose(&mut tasks);
        let tree = &tasks[0].tree;
        (tree.len() > 1).then(|| tree.token(1))
    };
    text[first..].iter().map(step).collect()
}

#[test]
fn the_place_that_is_followed_is_not_lost_among_many() {
    let part: Vec<TokenId> = (10..20).chain([1, 2]).chain(20..30).collect();
    // More places of the pair 1 2 than are looked at, all more recent.
    let others = (0..PLACES as TokenId + 9).flat_map(|number| [1, 2, 100 + number]);
    let text: Vec<_> = part.iter().copied().chain(others).chain(part.iter().copied()).collect();
    let first = text.len() - part.len();
    let proposed = follow(&mut LookupDrafter::new(8, 1000), &text, first);
    let expected: Vec<_> = part[2..].iter().copied().map(Some).collect();
    assert_eq!(proposed[1..part.len() - 1], expected);
}

#[test]
fn at_the_limit_the_older_half_is_forgotten() {
    const CAPACITY: usize = 100;
    // Each pair comes again after 40 tokens, but for one that comes again after 1000.
    let mut text: Vec<TokenId> = (0..1000).map(|index| index % 40).collect();
    (text[0], text[1]) = (90, 91);
    text.extend([90, 91]);
    let mut lookup = LookupDrafter::new(8, CAPACITY);
    let proposed = follow(&mut lookup, &text, 0);
    let index = &lookup.sequences[&SequenceKey(1)];
    assert!(index.earlier.len() <= CAPACITY && index.newest.len() <= CAPACITY);
    assert_eq!(index.start + index.earlier.len(), text.len() - 1);
    let next: Vec<_> = (43..1000).map(|index| Some((index + 1) % 40)).collect();
    assert_eq!(proposed[43..1000], next);
    assert_eq!(proposed[1001], None, "forgotten");
    let wide = follow(&mut LookupDrafter::new(8, 2000), &text, 0);
    assert_eq!(wide[1001], Some(2));
    // The smallest limits are limits too.
    for capacity in 0..4 {
        follow(&mut LookupDrafter::new(8, capacity), &text, 0);
    }
}
