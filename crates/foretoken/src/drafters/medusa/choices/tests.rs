//! What is understood, what is refused and how, and the published trees by their counts.

use super::*;

fn tree(text: &str) -> SparseTree {
    match MedusaChoices::parse(text).unwrap() {
        MedusaChoices::Tree(tree) => tree,
        MedusaChoices::Best { .. } => panic!("{text} is a tree"),
    }
}

fn by_depth(tree: &SparseTree) -> Vec<usize> {
    let at = |depth| tree.guesses().iter().filter(|guess| guess.depth as usize == depth).count();
    (1..=tree.depth()).map(at).collect()
}

#[test]
fn published_trees_have_the_counts_that_are_known_of_them() {
    for (name, counts) in [
        ("mc_sim_7b_63", &[10, 28, 23, 2][..]),
        ("vicuna_7b_stage2", &[10, 23, 23, 7]),
        ("vicuna_13b_stage2", &[10, 19, 25, 9]),
        ("vicuna_33b_stage2", &[10, 24, 24, 5]),
        ("vicuna_33b_stage1", &[10, 34, 19]),
        ("zephyr_stage2", &[10, 27, 23, 3]),
    ] {
        assert_eq!((tree(name).len(), &by_depth(&tree(name))[..]), (63, counts), "{name}");
    }
    assert_eq!(MedusaChoices::names().count(), 6);
    let tree = tree("mc_sim_7b_63");
    let ranks: Vec<_> = (1..=4).map(|depth| tree.ranks(depth)).collect();
    assert_eq!(ranks, [10, 10, 10, 2]);
    let children = |path: &[u32]| {
        let of = |guess: &Guess| guess.parent.map_or(vec![], |parent| tree.path(parent)) == path;
        tree.guesses().iter().filter(|&guess| of(guess)).count()
    };
    assert_eq!([10, 10, 10, 7], [&[][..], &[0], &[0, 0], &[1]].map(children));
    let leaves = |depth: u32| {
        let leaf = |&index: &usize| {
            tree.guesses()[index].depth == depth
                && tree.guesses().iter().all(|guess| guess.parent != Some(index))
        };
        (0..tree.len()).filter(leaf).count()
    };
    assert_eq!([0, 18, 22, 2], [1, 2, 3, 4].map(leaves));
}

#[test]
fn trees_are_named_listed_described_and_read() {
    let listed = tree(" [[0], [1], [0, 1]]");
    assert_eq!((listed.len(), listed.path(2)), (3, vec![0, 1]));
    assert_eq!(by_depth(&tree("cartesian:2, 3")), [2, 6]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[0], [1], [0, 1]]\n").unwrap();
    assert_eq!(tree(file.path().to_str().unwrap()), listed);
    for (text, nodes) in [("auto", None), ("auto:24", Some(24))] {
        let choices = MedusaChoices::parse(text).unwrap();
        assert_eq!(choices, MedusaChoices::Best { nodes });
        assert_eq!(choices.nodes(), nodes);
    }
}

#[test]
fn what_is_no_tree_is_refused_by_name() {
    for (text, message) in [
        ("auto:0", "`auto:0` cannot be drafted: auto takes a number of nodes from 1 to 512"),
        ("auto:513", "from 1 to 512"),
        ("cartesian:", "cartesian takes numbers of guesses, such as 4,2,1"),
        ("cartesian:2,x", "cartesian takes numbers"),
        ("cartesian:0", "at least one path"),
        ("cartesian:99,99", "at most 1023 nodes"),
        ("[0, 1]", "a tree is a JSON list of lists of ranks"),
        ("[[0], [-1]]", "a tree is a JSON list of lists of ranks"),
        ("[[0, 0]]", "path [0, 0] needs the path [0], which is not in the tree"),
        ("[[0], [0]]", "path [0] is there twice"),
        ("[]", "at least one path"),
        ("no_such_tree", "it is no file (No such file"),
        ("no_such_tree", "nor one of mc_sim_7b_63, vicuna_7b_stage2"),
    ] {
        let error = MedusaChoices::parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{error} / {message}");
    }
}

#[test]
fn heads_must_have_the_guesses_of_a_tree() {
    check(&tree("cartesian:3,2"), 2, 3).unwrap();
    let deep = check(&tree("cartesian:3,2"), 1, 3).unwrap_err().to_string();
    assert!(
        deep.starts_with("`[0, 0]` cannot be drafted: there are 1 heads of 3 tokens"),
        "{deep}"
    );
    let wide = check(&tree("cartesian:3,2"), 2, 2).unwrap_err().to_string();
    assert!(wide.starts_with("`[2]` cannot be drafted"), "{wide}");
}
