use foretoken_core::DraftTree;

use super::*;

/// What is merged of places in a text, each given by the index of the token after it and its common
/// history: tokens and parents in preorder, and the tokens in the order of merit.
fn merge(
    text: &[TokenId],
    places: &[(usize, usize)],
    (nodes, depth): (usize, usize),
) -> (Vec<(TokenId, usize)>, Vec<TokenId>) {
    let mut builder = TreeBuilder::new(99);
    let places = places.iter().map(|&(next, agreeing)| Place { next, agreeing });
    Merger::default().merge(places, Room { nodes, depth }, &mut builder, |place, depth| {
        text.get(place.next + depth).copied()
    });
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    assert_eq!(tree.check_integrity(), Ok(()));
    let merit = tree.order().skip(1).map(|node| tree.token(node)).collect();
    let nodes = (1..tree.len()).map(|node| (tree.token(node), tree.parent(node).unwrap()));
    (nodes.collect(), merit)
}

#[test]
fn a_place_is_followed_twice_as_far_as_it_agrees_within_the_room() {
    let text = [1, 2, 3, 4, 5, 6, 7];
    assert_eq!(merge(&text, &[(1, 2)], (9, 9)).0, [(2, 0), (3, 1), (4, 2), (5, 3)]);
    assert_eq!(merge(&text, &[(1, 2)], (9, 3)).0, [(2, 0), (3, 1), (4, 2)]);
    assert_eq!(merge(&text, &[(1, 2)], (2, 9)).0, [(2, 0), (3, 1)]);
    assert_eq!(merge(&text, &[(5, 9)], (9, 9)).0, [(6, 0), (7, 1)], "the end of the text");
    assert_eq!(merge(&text, &[(1, 0)], (9, 9)).0, [], "nothing agrees");
    assert_eq!(merge(&text, &[], (9, 9)).0, []);
}

#[test]
fn what_followed_more_often_comes_first_among_equals_then_what_was_named_first() {
    // After three places 1 follows, after two of them 5; after the first one 2.
    let text = [2, 3, 0, 1, 4, 0, 1, 5, 0, 1, 5, 0];
    let places = [(0, 1), (3, 1), (6, 1), (9, 1)];
    let (tree, merit) = merge(&text, &places, (9, 9));
    assert_eq!(merit, [1, 5, 2, 3, 4]);
    assert_eq!(tree, [(1, 0), (5, 1), (4, 1), (2, 0), (3, 4)]);
    assert_eq!(merge(&text, &places, (3, 9)).1, [1, 5, 2]);
    // A longer history beats any number.
    let places = [(0, 2), (3, 1), (6, 1), (9, 1)];
    assert_eq!(merge(&text, &places, (4, 9)).1, [2, 3, 0, 1]);
}
