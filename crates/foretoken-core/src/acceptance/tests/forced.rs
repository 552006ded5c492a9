use crate::{Accepted, BuildId, DraftTree, Role, TokenId, TreeBuilder, follow};

/// Below the root: 1 with 2 and 3 below it, then 4; a probe 9.
fn tree() -> DraftTree {
    let mut builder = TreeBuilder::new(0);
    let one = builder.push(BuildId::ROOT, 1, Role::Candidate).unwrap();
    builder.push(one, 2, Role::Candidate).unwrap();
    builder.push(one, 3, Role::Candidate).unwrap();
    builder.push(BuildId::ROOT, 9, Role::Probe).unwrap();
    builder.push(BuildId::ROOT, 4, Role::Candidate).unwrap();
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    tree
}

fn emitted(text: &[TokenId]) -> Accepted {
    let mut out = Accepted::new();
    // What an earlier step left is written over.
    follow(&tree(), &[1, 2, 7], &mut out);
    follow(&tree(), text, &mut out);
    out
}

#[test]
fn a_given_text_is_emitted_up_to_the_first_token_that_is_not_drafted() {
    let tree = tree();
    for (text, drafted) in
        [(&[5, 1][..], 0), (&[9, 1], 1), (&[4, 4], 1), (&[1, 8, 3], 1), (&[1, 3, 6, 6], 2)]
    {
        let out = emitted(text);
        assert_eq!((out.tokens(), out.drafted()), (&text[..=drafted], drafted));
        let path: Vec<_> = out.path()[1..].iter().map(|&node| tree.token(node)).collect();
        assert_eq!((path.as_slice(), out.is_cut()), (&text[..drafted], false));
        assert_eq!(tree.parent(*out.path().last().unwrap()).is_none(), drafted == 0);
    }
}

#[test]
fn a_text_that_ends_on_a_drafted_token_cuts_the_step() {
    let out = emitted(&[1, 3]);
    assert_eq!((out.tokens(), out.drafted(), out.path().len()), (&[1, 3][..], 2, 2));
    assert!(out.is_cut());
}
