//! Trees whose shape is chosen before their tokens are known (Medusa, Cai et al. 2024, section 2.3.3).
//!
//! A drafter that guesses every depth by itself has a list of tokens per depth, best first. A node of a
//! [`SparseTree`] says which of a list it takes: the path `[0, 2]` is the best token of the first depth
//! and, behind it, the third of the second. Which paths are worth their rows is known from how often
//! they were right.

mod counts;
mod rates;

use std::collections::{BinaryHeap, HashMap};

use thiserror::Error;

pub use counts::PathCounts;
pub use rates::PathRates;

use crate::MAX_NODES;

/// A node: which guess of its depth hangs on which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess {
    /// Index of the node above; `None` for children of the root.
    pub parent: Option<usize>,
    /// Place in its depth's list, from 0.
    pub rank: u32,
    /// Edges from the root, at least 1.
    pub depth: u32,
}

/// A tree of ranks. Its nodes are in order of merit with parents before children, so that any first part
/// of them is a tree; the root is none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseTree {
    guesses: Vec<Guess>,
}

/// Why paths of ranks are no tree.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SparseTreeError {
    /// There is no path.
    #[error("a tree has at least one path")]
    Empty,
    /// A path without a node.
    #[error("path {index} is empty")]
    EmptyPath {
        /// Its index.
        index: usize,
    },
    /// A path whose beginning is no path of the tree.
    #[error("path {path:?} needs the path {missing:?}, which is not in the tree")]
    Gap {
        /// The path.
        path: Vec<u32>,
        /// Its beginning that is missing.
        missing: Vec<u32>,
    },
    /// A path that is there twice.
    #[error("path {path:?} is there twice")]
    Twice {
        /// The path.
        path: Vec<u32>,
    },
    /// More nodes than a draft may have.
    #[error("{nodes} paths, where a draft has at most {} nodes", MAX_NODES - 1)]
    Full {
        /// How many were asked for.
        nodes: usize,
    },
}

impl SparseTree {
    /// The tree of these paths, in this order of merit; a path may be listed before its beginnings.
    pub fn from_paths(paths: &[Vec<u32>]) -> Result<Self, SparseTreeError> {
        if paths.is_empty() {
            return Err(SparseTreeError::Empty);
        }
        if paths.len() >= MAX_NODES {
            return Err(SparseTreeError::Full { nodes: paths.len() });
        }
        let mut listed: HashMap<&[u32], Option<usize>> = HashMap::new();
        for (index, path) in paths.iter().enumerate() {
            if path.is_empty() {
                return Err(SparseTreeError::EmptyPath { index });
            }
            if listed.insert(path, None).is_some() {
                return Err(SparseTreeError::Twice { path: path.clone() });
            }
        }
        let mut guesses: Vec<Guess> = Vec::with_capacity(paths.len());
        for path in paths {
            let mut parent = None;
            for end in 1..=path.len() {
                let Some(placed) = listed.get_mut(&path[..end]) else {
                    let (path, missing) = (path.clone(), path[..end].to_vec());
                    return Err(SparseTreeError::Gap { path, missing });
                };
                parent = Some(*placed.get_or_insert_with(|| {
                    guesses.push(Guess { parent, rank: path[end - 1], depth: end as u32 });
                    guesses.len() - 1
                }));
            }
        }
        Ok(Self { guesses })
    }

    /// The tree of all paths that take one of the first `ranks[d]` guesses at depth `d + 1`.
    pub fn cartesian(ranks: &[u32]) -> Result<Self, SparseTreeError> {
        let mut nodes = 0usize;
        let mut level = 1usize;
        for &count in ranks {
            level = level.saturating_mul(count as usize);
            nodes = nodes.saturating_add(level);
        }
        if nodes >= MAX_NODES {
            return Err(SparseTreeError::Full { nodes });
        }
        let mut paths: Vec<Vec<u32>> = vec![Vec::new()];
        let mut above = 0..1;
        for &count in ranks {
            let level = paths.len();
            for index in above {
                let child = |rank| [&paths[index][..], &[rank]].concat();
                let children: Vec<_> = (0..count).map(child).collect();
                paths.extend(children);
            }
            above = level..paths.len();
        }
        Self::from_paths(&paths[1..])
    }

    /// The best tree of at most `nodes` nodes: those paths of up to `ranks[d]` guesses at depth `d + 1`
    /// that are most often right, as far as `rate` says so for a whole path. No path may be right more
    /// often than its beginnings; paths that are never right are left out.
    ///
    /// Under that law no other tree of so many nodes has more expected tokens.
    pub fn best(ranks: &[usize], nodes: usize, mut rate: impl FnMut(&[u32]) -> f64) -> Self {
        let mut candidates = BinaryHeap::new();
        let mut guesses: Vec<Guess> = Vec::new();
        let mut grow = |candidates: &mut BinaryHeap<Candidate>, parent, path: &mut Vec<u32>| {
            let depth = path.len();
            for rank in 0..ranks.get(depth).copied().unwrap_or(0) as u32 {
                path.push(rank);
                let rate = rate(path);
                if rate > 0.0 {
                    let guess = Guess { parent, rank, depth: depth as u32 + 1 };
                    candidates.push(Candidate { rate, path: path.clone(), guess });
                }
                path.pop();
            }
        };
        grow(&mut candidates, None, &mut Vec::new());
        while guesses.len() < nodes.min(MAX_NODES - 1)
            && let Some(mut best) = candidates.pop()
        {
            guesses.push(best.guess);
            grow(&mut candidates, Some(guesses.len() - 1), &mut best.path);
        }
        Self { guesses }
    }

    /// The nodes in order of merit.
    pub fn guesses(&self) -> &[Guess] {
        &self.guesses
    }

    /// Nodes besides the root.
    pub fn len(&self) -> usize {
        self.guesses.len()
    }

    /// Whether the root is alone.
    pub fn is_empty(&self) -> bool {
        self.guesses.is_empty()
    }

    /// Keeps the best `nodes` nodes.
    pub fn truncate(&mut self, nodes: usize) {
        self.guesses.truncate(nodes);
    }

    /// Depth of the deepest node.
    pub fn depth(&self) -> usize {
        self.guesses.iter().map(|guess| guess.depth as usize).max().unwrap_or(0)
    }

    /// How long the list of guesses at a depth, from 1, must be.
    pub fn ranks(&self, depth: usize) -> usize {
        let there = self.guesses.iter().filter(|guess| guess.depth as usize == depth);
        there.map(|guess| guess.rank as usize + 1).max().unwrap_or(0)
    }

    /// The ranks from the root to a node.
    pub fn path(&self, index: usize) -> Vec<u32> {
        let mut path = Vec::new();
        let mut at = Some(index);
        while let Some(index) = at {
            path.push(self.guesses[index].rank);
            at = self.guesses[index].parent;
        }
        path.reverse();
        path
    }

    /// Tokens a step is expected to emit: the target's own, and each node's as often as `rate` says that
    /// its whole path is right.
    pub fn expected(&self, mut rate: impl FnMut(&[u32]) -> f64) -> f64 {
        1.0 + (0..self.len()).map(|index| rate(&self.path(index))).sum::<f64>()
    }
}

/// A path that may be next; the greatest is the best, of equals the shortest, then the first in order of
/// ranks.
#[derive(Debug, PartialEq)]
struct Candidate {
    rate: f64,
    path: Vec<u32>,
    guess: Guess,
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let shorter = || other.path.len().cmp(&self.path.len());
        let first = || other.path.cmp(&self.path);
        self.rate.total_cmp(&other.rate).then_with(shorter).then_with(first)
    }
}

#[cfg(test)]
mod tests;
