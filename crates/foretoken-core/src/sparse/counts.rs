//! Counting which paths of guesses were right.

use std::collections::BTreeMap;

/// How often each path of ranks was right as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathCounts {
    positions: u64,
    paths: BTreeMap<Vec<u32>, u64>,
}

impl PathCounts {
    /// Guesses per depth that are counted.
    pub const RANKS: usize = 10;

    /// Counts a position of a text at which the guesses of these ranks were right, from the first depth down
    /// to the first that had none: a path and all its beginnings. A rank of [`Self::RANKS`] or more ends the path.
    pub fn add(&mut self, right: impl IntoIterator<Item = u32>) {
        self.positions += 1;
        let mut path = Vec::new();
        for rank in right.into_iter().take_while(|&rank| (rank as usize) < Self::RANKS) {
            path.push(rank);
            *self.paths.entry(path.clone()).or_default() += 1;
        }
    }

    /// Positions counted.
    pub fn positions(&self) -> u64 {
        self.positions
    }

    /// What so many are of all positions; 0 where none was counted.
    pub fn share(&self, times: u64) -> f64 {
        times as f64 / self.positions.max(1) as f64
    }

    /// How often a path was right; never more often than its beginnings.
    pub fn rate(&self, path: &[u32]) -> f64 {
        self.paths.get(path).map_or(0.0, |&times| self.share(times))
    }

    /// Paths that were ever right and how many times, in the order of their ranks.
    pub fn iter(&self) -> impl Iterator<Item = (&[u32], u64)> {
        self.paths.iter().map(|(path, &times)| (&path[..], times))
    }
}
