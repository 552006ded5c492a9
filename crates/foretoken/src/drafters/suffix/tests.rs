use foretoken_core::{Noise, Rule, Sampler, SamplingParams};

use super::*;

const WIDE: Room = Room { nodes: 99, depth: 99 };

fn task(key: SequenceKey, text: &[TokenId], room: Room) -> DraftTask {
    let noise = Noise { seed: 0, choice: 0 };
    let sampler = Sampler::new(SamplingParams::default(), noise, 100).unwrap();
    DraftTask { room, ..DraftTask::new(key, text.to_vec(), sampler, Rule::default()) }
}

/// What is proposed after a text: the tree's tokens and parents, in preorder.
fn propose(
    suffix: &mut SuffixDrafter,
    key: SequenceKey,
    text: &[TokenId],
    room: Room,
) -> Vec<(TokenId, usize)> {
    let mut tasks = [task(key, text, room)];
    suffix.propose(&mut tasks);
    let tree = &tasks[0].tree;
    assert_eq!(tree.check_integrity(), Ok(()));
    (1..tree.len()).map(|node| (tree.token(node), tree.parent(node).unwrap())).collect()
}

/// What a drafter that knows nothing else proposes.
fn alone(text: &[TokenId], room: Room) -> Vec<(TokenId, usize)> {
    let mut suffix = SuffixDrafter::new(20, 1000);
    suffix.begin(SequenceKey(1), text);
    propose(&mut suffix, SequenceKey(1), text, room)
}

fn chain(tokens: &[TokenId]) -> Vec<(TokenId, usize)> {
    tokens.iter().copied().zip(0..).collect()
}

#[test]
fn a_draft_is_as_long_as_its_history_allows_within_its_room() {
    let text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2];
    assert_eq!(alone(&text, WIDE), chain(&[3, 4, 5, 6]));
    assert_eq!(alone(&text, Room { nodes: 99, depth: 2 }), chain(&[3, 4]));
    assert_eq!(alone(&text, Room { nodes: 3, depth: 99 }), chain(&[3, 4, 5]));
    assert_eq!(alone(&text, Room::default()), []);
    let text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3];
    assert_eq!(alone(&text, WIDE), chain(&[4, 5, 6, 7, 8, 9]));
    // One token of history is too little, and there is no history of one token or none.
    assert_eq!(alone(&[1, 2, 3, 1], WIDE), []);
    assert_eq!(alone(&[1], WIDE), []);
    assert_eq!(alone(&[], WIDE), []);
}

#[test]
fn repetition_goes_on_beyond_the_text_and_fills_the_budget() {
    assert_eq!(alone(&[7; 64], WIDE), chain(&[7; 20]));
    let period: Vec<_> = (0..30).map(|i| i % 3).collect();
    let on: Vec<_> = (30..50).map(|i| i % 3).collect();
    assert_eq!(alone(&period, WIDE), chain(&on));
}

#[test]
fn shorter_histories_that_stood_elsewhere_more_recently_are_branches() {
    // After 5 1 2 came 11; the newest 1 2 was followed by 12.
    let text = [5, 1, 2, 11, 0, 5, 1, 2, 11, 6, 1, 2, 12, 9, 8, 5, 1, 2];
    let nodes = alone(&text, Room { nodes: 9, depth: 1 });
    assert_eq!(nodes, [(11, 0), (12, 0)]);
}

#[test]
fn a_key_remembers_its_earlier_texts_and_no_other_key_sees_them() {
    let mut suffix = SuffixDrafter::new(20, 1000);
    let (one, two) = (SequenceKey(1), SequenceKey(2));
    suffix.begin(one, &[1, 2, 3]);
    // The text's last tokens are learned after its last draft.
    suffix.observe(&[task(one, &[1, 2, 3, 4, 5, 6], WIDE)]);
    suffix.begin(one, &[9, 1, 2]);
    suffix.begin(two, &[9, 1, 2]);
    assert_eq!(propose(&mut suffix, one, &[9, 1, 2], WIDE), chain(&[3, 4, 5, 6]));
    assert_eq!(propose(&mut suffix, two, &[9, 1, 2], WIDE), []);
    suffix.end(one);
    suffix.begin(one, &[9, 1, 2]);
    assert_eq!(propose(&mut suffix, one, &[9, 1, 2], WIDE), []);
    assert_eq!(suffix.stores.len(), 2, "what is over takes no memory");
}

#[test]
fn a_conversation_that_goes_on_or_parts_from_itself_is_not_learned_twice() {
    let mut suffix = SuffixDrafter::new(20, 100_000);
    let key = SequenceKey(1);
    let mut text: Vec<_> = (0..1000).collect();
    let mut learn = |text: &[TokenId]| {
        suffix.begin(key, text);
        suffix.observe(&[task(key, text, WIDE)]);
        assert!(text.ends_with(suffix.stores[&key].automaton.newest()));
        assert_eq!(suffix.stores[&key].text, text);
        suffix.stores[&key].automaton.len()
    };
    assert_eq!(learn(&text), 1000);
    text.push(7);
    assert_eq!(learn(&text), 1001);
    // Another end: a break, the history of the parting, two tokens.
    text[1000] = 8;
    text.push(9);
    assert_eq!(learn(&text), 1001 + 1 + LONGEST + 2);
    text.push(10);
    assert_eq!(learn(&text), 1001 + 1 + LONGEST + 3);
    // Another end still where nothing follows the parting.
    assert_eq!(learn(&text[..500]), 1001 + 1 + LONGEST + 3 + 1 + LONGEST);
    assert_eq!(learn(&[]), 1001 + 1 + LONGEST + 3 + 1 + LONGEST + 1);
    assert_eq!(learn(&[5, 6]), 1001 + 1 + LONGEST + 3 + 1 + LONGEST + 1 + 2);
}

#[test]
fn at_the_limit_the_older_half_is_forgotten() {
    let mut suffix = SuffixDrafter::new(20, 100);
    let key = SequenceKey(1);
    let mut text: Vec<TokenId> = vec![90, 91, 92, 93];
    suffix.begin(key, &text);
    for token in 0..300 {
        text.push(token % 40);
        suffix.observe(&[task(key, &text, WIDE)]);
        let store = &suffix.stores[&key];
        assert!(store.automaton.len() <= 100, "{} tokens", store.automaton.len());
        assert!(store.automaton.len() >= 50 || text.len() < 100);
        assert!(text.ends_with(store.automaton.newest()));
        assert_eq!(store.text, text);
    }
    let next: Vec<_> = (300..320).map(|token| token % 40).collect();
    assert_eq!(propose(&mut suffix, key, &text, WIDE), chain(&next));
    text.extend([90, 91]);
    assert_eq!(propose(&mut suffix, key, &text, WIDE), [], "forgotten");
    // A text goes on although its beginning is forgotten.
    let before = suffix.stores[&key].automaton.len();
    suffix.begin(key, &text);
    assert_eq!(suffix.stores[&key].automaton.len(), before);
    // The smallest limits are limits too.
    for capacity in 0..4 {
        let mut suffix = SuffixDrafter::new(20, capacity);
        suffix.begin(key, &text);
        propose(&mut suffix, key, &text, WIDE);
        assert!(suffix.stores[&key].automaton.len() <= capacity.max(1));
    }
}

#[test]
fn a_file_with_a_tenth_of_its_lines_changed_is_copied_around_the_changes() {
    let noise = Noise { seed: 5, choice: 0 };
    let token = |which, index| {
        let uniform = noise.uniform(foretoken_core::Domain::DraftDraw, which, index);
        (uniform * 300.0) as TokenId
    };
    let old: Vec<_> = (0..2000).map(|index| token(0, index)).collect();
    // Lines of ten tokens.
    let changed = |index: u32| token(u32::from(index / 10 % 10 == 4), index);
    let new: Vec<_> = (0..2000).map(changed).collect();
    let whole = [old, new].concat();
    let mut suffix = SuffixDrafter::new(16, 1 << 20);
    let key = SequenceKey(1);
    suffix.begin(key, &whole[..2001]);
    let mut tasks = [task(key, &whole[..2001], Room { nodes: 16, depth: 16 })];
    let mut accepted_in_steps = [0; 17];
    while tasks[0].text.len() < whole.len() {
        let at = tasks[0].text.len();
        tasks[0].tree.set_single(whole[at - 1]);
        suffix.propose(&mut tasks);
        let (tree, mut node, mut accepted) = (&tasks[0].tree, 0, 0);
        while let Some(&next) = whole.get(at + accepted)
            && let Some(child) = tree.children(node).find(|&child| tree.token(child) == next)
        {
            (node, accepted) = (child, accepted + 1);
        }
        accepted_in_steps[accepted] += 1;
        let end = whole.len().min(at + accepted + 1);
        tasks[0].text.extend_from_slice(&whole[at..end]);
        suffix.observe(&tasks);
    }
    let steps: usize = accepted_in_steps.iter().sum();
    assert!(steps * 4 <= 1999, "{steps} steps: {accepted_in_steps:?}");
    // Nothing, one token and a whole draft.
    assert!([0, 1, 16].iter().all(|&count| accepted_in_steps[count] > 0), "{accepted_in_steps:?}");
}

/// An index of documents whose tokens are below 100.
fn corpus(folder: &std::path::Path, documents: &[&[TokenId]]) -> CorpusIndex {
    let letters: Vec<_> = ('\u{C0}'..).take(100).map(String::from).collect();
    let vocab: HashMap<_, _> = letters.iter().zip(0..).collect();
    let json = serde_json::json!({ "model": { "type": "BPE", "vocab": vocab, "merges": [] } });
    let tokenizer = foretoken_model::Tokenizer::from_json(json.to_string().as_bytes(), None);
    let (tokenizer, file) = (tokenizer.unwrap(), folder.join("corpus.index"));
    CorpusIndex::write(&file, documents.iter().copied(), &tokenizer, 100, &mut |_| {}).unwrap();
    CorpusIndex::open(&file, &tokenizer, 100).unwrap()
}

/// What each of two keys is told after a text with a corpus of these documents.
fn with_corpus(documents: &[&[TokenId]], text: &[TokenId], room: Room) -> Vec<(TokenId, usize)> {
    let folder = tempfile::tempdir().unwrap();
    let mut suffix = SuffixDrafter::new(20, 1000).with_corpus(corpus(folder.path(), documents));
    let [one, two] = [1, 2].map(|key| {
        suffix.begin(SequenceKey(key), text);
        propose(&mut suffix, SequenceKey(key), text, room)
    });
    assert_eq!(one, two, "all share the corpus");
    one
}

#[test]
fn a_corpus_says_what_followed_the_longest_end_most_often_within_its_documents() {
    let documents: [&[_]; 4] = [&[9, 1, 2, 3], &[8, 1, 2, 4, 5], &[7, 1, 2, 4], &[1, 2]];
    assert_eq!(with_corpus(&documents, &[6, 1, 2], WIDE), [(4, 0), (5, 1), (3, 0)]);
    assert_eq!(with_corpus(&documents, &[9, 1, 2], WIDE), [(3, 0)], "a longer end");
    assert_eq!(with_corpus(&documents, &[6, 1, 2], Room { nodes: 1, depth: 9 }), [(4, 0)]);
    // One token is too little, also where it is the whole text; documents do not run into one another.
    assert_eq!(with_corpus(&documents, &[6, 2], WIDE), []);
    assert_eq!(with_corpus(&documents, &[2], WIDE), []);
    assert_eq!(with_corpus(&documents, &[], WIDE), []);
    assert_eq!(with_corpus(&documents, &[5, 7], WIDE), []);
}

#[test]
fn a_match_in_the_corpus_comes_first_where_it_is_longer_by_more_than_its_discount() {
    let long: Vec<TokenId> = (10..30).chain([50, 51, 52, 53, 54, 55, 56]).collect();
    // The end of the text stands in it twice over: `agreeing` tokens followed by 60, and in the corpus.
    let own = |agreeing: usize, shared: usize| {
        let end = &long[20 - shared..20];
        let known = [&end[shared - agreeing..], &[60, 61, 62, 63, 64, 65, 66][..]].concat();
        let text = [&known, &[0][..], end].concat();
        with_corpus(&[&long], &text, Room { nodes: 99, depth: 1 })
    };
    assert_eq!(own(2, 8), [(50, 0), (60, 0)]);
    assert_eq!(own(3, 8), [(60, 0), (50, 0)], "8 less 5 is no more than 3");
    // No more than 16 tokens of the corpus are told apart: 11 by their discount.
    assert_eq!(own(10, 20), [(50, 0), (60, 0)]);
    assert_eq!(own(11, 20), [(60, 0), (50, 0)]);
}
