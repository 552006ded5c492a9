//! Counting which guesses were right.

use std::collections::HashSet;

use foretoken_core::{PathCounts, SparseTree, TokenId};
use foretoken_model::{MedusaMeasurement, MedusaPath};

const RANKS: usize = PathCounts::RANKS;
/// Most paths that are kept.
const PATHS: usize = 512;
/// A path that was right less often tells nothing about the next text.
const LEAST: u64 = 3;
/// Nodes of the tree that says where steps begin.
const STEPPING: usize = 16;

/// By depth, the rank of the guess that was right, at one position of a text.
type Right = Vec<Option<u32>>;

/// What was right at successive positions of several texts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    texts: Vec<Vec<Right>>,
    positions: u64,
}

impl Tally {
    /// Positions counted.
    pub(super) fn positions(&self) -> u64 {
        self.positions
    }

    /// Begins a text and returns its number.
    pub(super) fn begin(&mut self) -> usize {
        self.texts.push(Vec::new());
        self.texts.len() - 1
    }

    /// Adds the next position of a text: by depth the guesses in order, and what turned out to be right.
    pub(super) fn add(&mut self, text: usize, guesses: &[Vec<TokenId>], right: &[TokenId]) {
        let rank = |(guesses, right): (&Vec<TokenId>, &TokenId)| {
            guesses.iter().position(|guess| guess == right).map(|rank| rank as u32)
        };
        self.texts[text].push(guesses.iter().zip(right).map(rank).collect());
        self.positions += 1;
    }

    /// The rates where steps begin; `None` where nothing was counted.
    ///
    /// Drafting does not stop at every position: where guesses are right it passes many by. Rates of all
    /// positions would promise too much, since steps begin more often where guesses are hard. So positions
    /// are counted where steps with a tree of a common size begin, chosen by the rates of all.
    pub(super) fn measurement(&self, heads: usize, temperature: f64) -> Option<MedusaMeasurement> {
        let all = Counts::of(heads, self.texts.iter().flatten());
        let tree = all.measurement(0.0).rates().best(STEPPING);
        let steps = self.texts.iter().flat_map(|text| steps(text, &tree));
        let counts = Counts::of(heads, steps);
        (counts.paths.positions() > 0).then(|| counts.measurement(temperature))
    }
}

/// The positions of a text where steps begin that draft with a tree.
fn steps<'a>(text: &'a [Right], tree: &SparseTree) -> impl Iterator<Item = &'a Right> {
    let paths: HashSet<Vec<u32>> = (0..tree.len()).map(|index| tree.path(index)).collect();
    let mut at = 0;
    std::iter::from_fn(move || {
        let right = text.get(at)?;
        let path: Vec<u32> = path(right).collect();
        let accepted = (1..=path.len()).take_while(|&end| paths.contains(&path[..end])).count();
        at += accepted + 1;
        Some(right)
    })
}

/// The longest path of right guesses.
fn path(right: &Right) -> impl Iterator<Item = u32> + '_ {
    right.iter().map_while(|rank| *rank)
}

/// How often what was right.
struct Counts {
    ranks: Vec<[u64; RANKS]>,
    paths: PathCounts,
}

impl Counts {
    fn of<'a>(heads: usize, positions: impl Iterator<Item = &'a Right>) -> Self {
        let mut counts = Self { ranks: vec![[0; RANKS]; heads], paths: PathCounts::default() };
        for right in positions {
            for (ranks, rank) in counts.ranks.iter_mut().zip(right) {
                if let Some(rank) = rank {
                    ranks[*rank as usize] += 1;
                }
            }
            counts.paths.add(path(right));
        }
        counts
    }

    fn measurement(&self, temperature: f64) -> MedusaMeasurement {
        let share = |times| self.paths.share(times);
        let rates = |times: &[u64; RANKS]| times.iter().copied().map(share).collect();
        let mut paths: Vec<_> = self.paths.iter().filter(|(_, times)| *times >= LEAST).collect();
        // A beginning is right at least as often and shorter, so it stands before what it begins.
        paths.sort_by_key(|(path, times)| (std::cmp::Reverse(*times), path.len()));
        let listed =
            |(path, times): (&[u32], u64)| MedusaPath { path: path.to_vec(), rate: share(times) };
        MedusaMeasurement {
            temperature,
            positions: self.paths.positions(),
            ranks: self.ranks.iter().map(rates).collect(),
            paths: paths.into_iter().take(PATHS).map(listed).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_that_steps_pass_by_are_not_counted() {
        // Alternating runs: three positions where the first guess is right, three where nothing is.
        let mut tally = Tally::default();
        let text = tally.begin();
        let guesses = vec![vec![5, 6, 7]];
        for position in 0..60 {
            let right = if position % 6 < 3 { 6 } else { 9 };
            tally.add(text, &guesses, &[right]);
        }
        assert_eq!(tally.positions(), 60);
        let found = tally.measurement(1, 0.5).unwrap();
        // Steps begin at 0, 2, 4, 5 of every six positions: half of them are right.
        assert_eq!((found.positions, found.temperature), (40, 0.5));
        assert_eq!(found.ranks, [[0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
        assert_eq!(found.paths, [MedusaPath { path: vec![1], rate: 0.5 }]);
        assert_eq!(Tally::default().measurement(1, 0.5), None);
    }
}
