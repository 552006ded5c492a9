//! Medusa against the paper: buffers, candidates and accepted paths of `testdata/make_medusa_reference.py`.

use std::fs;

use foretoken::drafters::DraftTask;
use foretoken::{DraftOptions, MedusaChoices, MedusaSource, ModelSource, SamplingParams, TokenId};
use foretoken_core::{DraftTree, NodeId};
use serde_json::Value;

use crate::models::{Domain, Tiny, options, root};
use crate::runs::{Bench, request};

/// A verified draft and its accepted path.
type Step = (DraftTree, Vec<NodeId>);

fn see(task: &DraftTask) -> Option<Step> {
    (task.tree.len() > 1).then(|| (task.tree.clone(), task.accepted.path().to_vec()))
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn lists(value: &Value) -> Vec<Vec<usize>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn tokens(letters: &Value) -> Vec<TokenId> {
    letters.as_str().unwrap().chars().map(|letter| letter as TokenId - 0xC0).collect()
}

/// The reference sorts nodes by length, then ranks; preorder sorts them by ranks alone.
fn preorder(reference: &Value) -> Vec<NodeId> {
    let indices = numbers(&reference["tree_indices"]);
    let rank = |node: usize| (indices[node] - 1) % 10;
    let paths: Vec<Vec<usize>> = lists(&reference["ancestors"])
        .into_iter()
        .map(|path| path.into_iter().skip(1).map(rank).collect())
        .collect();
    let place = |path: &Vec<usize>| paths.iter().filter(|&other| other < path).count();
    paths.iter().map(place).collect()
}

#[test]
fn buffers_candidates_and_accepted_paths_are_those_of_the_paper() {
    let folder = root().join("testdata/medusa");
    let reference = fs::read_to_string(folder.join("reference.json")).unwrap();
    let reference: Value = serde_json::from_str(&reference).unwrap();
    let nodes = preorder(&reference);
    let (ancestors, retrieve) = (lists(&reference["ancestors"]), lists(&reference["retrieve"]));
    let tiny = Tiny::new("llama-gqa");
    let mut options = options(tiny.source(), Domain::F32, 1);
    "medusa".clone_into(&mut options.drafter);
    options.draft = DraftOptions::default();
    options.medusa.choices = MedusaChoices::parse("mc_sim_7b_63").unwrap();
    options.medusa.heads =
        Some(MedusaSource::Folder(ModelSource::Folder(folder.join("reference"))));
    let (mut bench, steps) = Bench::new(options).watched(see);
    let mut compared = 0;
    for run in reference["runs"].as_array().unwrap() {
        steps.lock().unwrap().clear();
        let request = request(tokens(&run["prompt"]), &SamplingParams::default(), 150);
        bench.run(vec![request], 0).remove(0).unwrap();
        let steps = steps.lock().unwrap();
        for (index, wanted) in run["steps"].as_array().unwrap().iter().enumerate() {
            let (tree, path) = &steps[index];
            let candidates = tokens(&wanted[0]);
            assert_eq!(tree.len(), candidates.len());
            for (node, token) in candidates.into_iter().enumerate() {
                assert_eq!(tree.token(nodes[node]), token, "step {index}, node {node}");
                assert_eq!(tree.depth(nodes[node]) as usize, ancestors[node].len() - 1);
                for other in 0..tree.len() {
                    let sees = tree.is_ancestor_or_self(nodes[other], nodes[node]);
                    assert_eq!(sees, ancestors[node].contains(&other), "{node} sees {other}");
                }
            }
            let [leaf, length] = [1, 2].map(|at| wanted[at].as_u64().unwrap() as usize);
            let accepted: Vec<_> = retrieve[leaf][..=length].iter().map(|&n| nodes[n]).collect();
            assert_eq!(*path, accepted, "step {index}");
            compared += 1;
        }
    }
    assert_eq!(compared, 200);
}
