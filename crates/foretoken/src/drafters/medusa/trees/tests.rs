//! Trees against numbers that others published, and against the cost of their rows.

use super::*;
use crate::drafters::MedusaChoices;

fn named(name: &str) -> SparseTree {
    match MedusaChoices::parse(name).unwrap() {
        MedusaChoices::Tree(tree) => tree,
        MedusaChoices::Best { .. } => panic!("{name} is a tree"),
    }
}

#[test]
fn published_rates_give_the_published_tree_its_arithmetic() {
    let expected = published(5).expected(&named("mc_sim_7b_63"));
    assert!((expected - 2.3400).abs() < 5e-5, "{expected}");
    // Ranks behind the fifth count as never right, so that the best tree holds none.
    let best = published(5).best(63);
    assert!((1..=5).all(|depth| best.ranks(depth) <= 5));
    assert!(published(5).expected(&best) > expected);
    assert_eq!(published(2).best(63).depth(), 2);
}

fn measurement(temperature: f64, first: f64) -> MedusaMeasurement {
    let ranks = vec![vec![first, 1.0 - first], vec![first, 1.0 - first]];
    MedusaMeasurement { temperature, positions: 9, ranks, paths: Vec::new() }
}

#[test]
fn each_measured_temperature_has_its_tree() {
    let calibration = MedusaCalibration {
        model: String::new(),
        text: String::new(),
        measurements: vec![measurement(0.0, 0.9), measurement(1.0, 0.4)],
        frequent: Vec::new(),
    };
    let trees = MedusaTrees::best(Some(&calibration), 2, Size::Nodes(2));
    let paths = |temperature| {
        let tree = trees.nearest(temperature).tree();
        (0..tree.len()).map(|index| tree.path(index)).collect::<Vec<_>>()
    };
    for greedy in [0.0, 0.3] {
        assert_eq!(paths(greedy), [vec![0], vec![0, 0]]);
    }
    for warm in [0.6, 2.0] {
        assert_eq!(paths(warm), [vec![1], vec![0]]);
    }
    assert_eq!(trees.nearest(0.0).lengths(), [1, 1]);
    assert_eq!(trees.nearest(1.0).lengths(), [2]);
}

fn paying(points: &[(usize, f64)], head: f64) -> SparseTree {
    let cost = CostCurve::new(points.to_vec()).unwrap();
    Size::Pays { cost: &cost, head, most: 40 }.best(&published(5))
}

#[test]
fn a_tree_grows_as_long_as_its_rows_pay() {
    let nodes = |points, head| paying(points, head).len();
    assert_eq!(nodes(&[(1, 1.0), (64, 1.0)], 0.0), 40, "rows that cost nothing");
    assert_eq!(nodes(&[(1, 1.0), (64, 64.0)], 0.0), 1, "rows that cost as much as passes");
    assert!((2..40).contains(&nodes(&[(1, 1.0), (64, 2.0)], 0.0)));
}

#[test]
fn a_tree_grows_as_deep_as_its_heads_pay() {
    let depth = |head| paying(&[(1, 1.0), (64, 1.1)], head).depth();
    assert_eq!([0.0, 0.01, 0.1, 1.0].map(depth), [4, 3, 2, 1]);
    let one = paying(&[(1, 1.0), (64, 1.1)], 1.0);
    assert_eq!(one.len(), 5, "the rows of one head cost next to nothing");
}

/// Expected tokens per step by heads (rows) and guesses per head (columns), with the best 63 nodes.
fn table() -> String {
    let mut table = String::from("| heads | top-1 | top-2 | top-3 | top-4 | top-5 to top-10 |\n");
    table.push_str("|---|---|---|---|---|---|\n");
    for heads in 2..=5 {
        let rates = published(heads);
        let cell = |top| {
            let tree = SparseTree::best(&vec![top; heads], 63, |path| rates.rate(path));
            assert!(top < 6 || tree == rates.best(63), "no rate is known behind the fifth");
            format!("{:.2}", rates.expected(&tree))
        };
        let cells: Vec<_> = (1..=10).map(cell).collect();
        table.extend(["| ", &heads.to_string(), " | ", &cells[..5].join(" | "), " |\n"]);
    }
    table
}

#[test]
fn the_table_in_the_documentation_is_computed() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/medusa.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&table()), "docs/medusa.md must hold this table:\n{}", table());
}
