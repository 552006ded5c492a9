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
