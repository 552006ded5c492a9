//! `--medusa-choices`: trees that users name, list or describe.

use std::fs::File;
use std::io::Read;

use foretoken_core::{Guess, SparseTree};

use crate::Error;

/// Files longer than this list no tree.
const LONGEST: u64 = 1 << 20;

/// The trees of `medusa/model/medusa_choices.py` in <https://github.com/FasterDecoding/Medusa>, best paths
/// first: each word is a path, each digit the rank of the guess at its depth. Most were found for heads of
/// one model in the second stage of training, whose name they have.
const NAMED: &[(&str, &str)] = &[
    (
        "mc_sim_7b_63",
        "0 00 1 01 2 000 10 02 3 03 4 04 20 05 001 5 06 6 07 010 11 7 08 002 30 09 8 9 100 020 12 003 \
         40 21 004 005 0000 011 006 030 50 13 007 008 009 60 040 14 70 012 200 31 22 80 050 15 101 021 \
         90 060 0001 16 070",
    ),
    (
        "vicuna_7b_stage2",
        "0 00 1 01 000 10 2 02 001 03 3 010 20 4 002 04 11 100 0000 5 003 05 020 30 011 06 6 07 004 40 \
         12 08 7 030 0001 005 21 006 101 0010 200 50 09 012 8 040 021 13 007 0002 008 110 0100 60 9 013 \
         0003 102 050 31 0020 70 14",
    ),
    (
        "vicuna_13b_stage2",
        "0 00 1 000 01 10 2 02 001 010 3 03 20 002 0000 04 100 11 4 003 05 020 5 30 011 06 004 0001 07 \
         005 12 0010 030 101 40 006 08 200 09 6 7 21 50 012 0002 8 040 0100 021 007 110 13 0020 9 008 \
         050 0003 009 013 102 0011 300 1000",
    ),
    (
        "vicuna_33b_stage1",
        "0 1 00 2 01 3 10 4 02 5 03 000 6 04 20 7 11 05 30 8 9 06 07 001 12 40 010 08 09 21 002 50 13 \
         003 100 14 60 020 31 22 004 70 011 15 41 005 030 90 80 16 006 23 012 32 040 200 17 101 007 51 \
         24 008 021",
    ),
    (
        "vicuna_33b_stage2",
        "0 00 1 01 000 10 2 02 001 03 3 010 20 04 4 002 11 100 05 5 0000 003 30 020 06 011 6 004 07 7 \
         12 40 8 030 005 0001 08 21 09 101 200 006 50 0010 13 012 040 007 021 9 110 0002 60 008 0100 70 \
         013 050 14 009 31 102 22",
    ),
    (
        "zephyr_stage2",
        "0 00 1 01 2 000 10 02 3 03 4 20 001 04 5 05 010 11 6 002 30 06 7 07 08 003 100 09 020 12 40 8 \
         9 21 011 004 0000 50 030 13 005 006 60 200 101 012 040 14 31 22 007 70 021 008 013 050 15 009 \
         110 0001 0010 41 23",
    ),
];

/// Which guesses of the heads are sent.
#[derive(Debug, Clone, PartialEq)]
pub enum MedusaChoices {
    /// Those that are most often right together: the best tree of so many nodes, or of as many as pay where
    /// that is known.
    Best {
        /// How many.
        nodes: Option<usize>,
    },
    /// Those of a tree.
    Tree(SparseTree),
}

impl Default for MedusaChoices {
    fn default() -> Self {
        Self::Best { nodes: None }
    }
}

impl MedusaChoices {
    /// Understands `auto`, `auto:N`, `cartesian:2,2,2`, the name of a published tree, a JSON list of paths
    /// such as `[[0], [0, 0], [1]]`, or the name of a file with such a list.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |problem: String| Error::MedusaChoices { choices: text.to_owned(), problem };
        if text == "auto" {
            return Ok(Self::default());
        }
        if let Some(nodes) = text.strip_prefix("auto:") {
            let nodes = nodes
                .parse()
                .ok()
                .filter(|nodes| (1..=crate::DraftOptions::MAX_TOKENS).contains(nodes));
            let nodes = nodes
                .ok_or_else(|| refuse("auto takes a number of nodes from 1 to 512".to_owned()))?;
            return Ok(Self::Best { nodes: Some(nodes) });
        }
        let tree = if let Some(counts) = text.strip_prefix("cartesian:") {
            let counts: Result<Vec<u32>, _> = counts.split(',').map(|n| n.trim().parse()).collect();
            let counts = counts.map_err(|_| {
                refuse("cartesian takes numbers of guesses, such as 4,2,1".to_owned())
            })?;
            SparseTree::cartesian(&counts)
        } else if let Some((_, words)) = NAMED.iter().find(|(name, _)| *name == text) {
            SparseTree::from_paths(&published(words))
        } else if text.trim_start().starts_with('[') {
            SparseTree::from_paths(&listed(text).map_err(refuse)?)
        } else {
            SparseTree::from_paths(&listed(&read(text).map_err(refuse)?).map_err(refuse)?)
        };
        tree.map(Self::Tree).map_err(|cause| refuse(cause.to_string()))
    }

    /// The names of published trees.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// How many nodes the tree has, where that was said.
    pub fn nodes(&self) -> Option<usize> {
        match self {
            Self::Best { nodes } => *nodes,
            Self::Tree(tree) => Some(tree.len()),
        }
    }
}

/// The paths of a published tree.
fn published(words: &str) -> Vec<Vec<u32>> {
    let path = |word: &str| word.bytes().map(|digit| u32::from(digit - b'0')).collect();
    words.split_whitespace().map(path).collect()
}

fn listed(json: &str) -> Result<Vec<Vec<u32>>, String> {
    serde_json::from_str(json)
        .map_err(|cause| format!("a tree is a JSON list of lists of ranks: {cause}"))
}

fn read(file: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let names = || MedusaChoices::names().collect::<Vec<_>>().join(", ");
    read.map(|_| text).map_err(|cause| {
        format!(
            "it is no file ({cause}), and neither auto, auto:N, cartesian:N,N,.., a JSON list of paths, \
             nor one of {}",
            names()
        )
    })
}

/// Whether so many heads, each with so many tokens, have the guesses of a tree.
pub(super) fn check(tree: &SparseTree, heads: usize, tokens: usize) -> Result<(), Error> {
    let beyond = |guess: &Guess| guess.depth as usize > heads || guess.rank as usize >= tokens;
    let Some(index) = tree.guesses().iter().position(beyond) else { return Ok(()) };
    let choices = format!("{:?}", tree.path(index));
    let problem = format!(
        "there are {heads} heads of {tokens} tokens; choose paths of at most {heads} ranks below {tokens}"
    );
    Err(Error::MedusaChoices { choices, problem })
}

#[cfg(test)]
mod tests;
