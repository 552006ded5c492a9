//! `recycle`: what the target lately thought of behind each token (token recycling, Luo et al. 2024,
//! <https://arxiv.org/abs/2408.08696>).
//!
//! A pass computes a row of logits for every node it verifies, and most of what the rows say is thrown
//! away. Here the likeliest tokens of each row are kept as the successors of the node's token, those of
//! a later row in the place of an earlier one's. A draft is a fixed tree of ranks whose tokens are looked
//! up from the root downwards. Needs no training and no other model.

use std::collections::HashMap;

use foretoken_core::{BuildId, PathRates, SparseTree, TokenId, TreeBuilder};

use super::recency::{Place, Recency};
use super::{Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey, Sight};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "recycle",
    summary: "what the target lately thought of behind each token",
    source: "token recycling (Luo et al. 2024)",
    needs: Needs::Nothing,
    sight: Sight::likeliest(SUCCESSORS),
    nodes: 16,
    build: |Parts { ceilings: Ceilings { nodes, .. }, .. }| {
        Ok(Built::new(Recycle::new(nodes), nodes))
    },
};

/// Successors kept of a token.
const SUCCESSORS: usize = 8;
/// Tokens whose successors are kept per key, with the link of [`Recency`] a power of two: 2.25 MiB of
/// successors, and 1.9 MiB to find them.
const TOKENS: usize = (1 << 16) - 1;
/// Deepest node of a draft.
const DEPTH: usize = 6;
/// How often the successor of each rank is the token that follows, where there are successors: on the
/// built-in model, half of it greedy and half at temperature 0.8.
const RATES: [f64; SUCCESSORS] = [0.47, 0.084, 0.025, 0.019, 0.012, 0.009, 0.008, 0.007];

struct Recycle {
    /// The ranks of a whole draft.
    tree: SparseTree,
    sequences: HashMap<SequenceKey, Adjacency>,
    /// By guess of the tree, the node that it became.
    placed: Vec<Option<(BuildId, TokenId)>>,
    builder: TreeBuilder,
}

/// The likeliest successors of the tokens of one key.
struct Adjacency {
    /// Most tokens that have successors.
    most: usize,
    tokens: Recency,
    /// By a token's place.
    rows: Vec<Row>,
}

/// Successors of a token, the likeliest first.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    successors: [TokenId; SUCCESSORS],
    count: u32,
}

impl Row {
    fn successors(&self) -> &[TokenId] {
        &self.successors[..self.count as usize]
    }

    fn push(&mut self, token: TokenId) {
        if let Some(free) = self.successors.get_mut(self.count as usize) {
            *free = token;
            self.count += 1;
        }
    }
}

impl Adjacency {
    fn new(most: usize) -> Self {
        Self { most, tokens: Recency::new(most), rows: Vec::new() }
    }

    fn successors(&mut self, token: TokenId) -> &[TokenId] {
        match self.tokens.find(token) {
            Some(place) => self.rows[place].successors(),
            None => &[],
        }
    }

    /// A token's row, empty if it had none.
    fn row(&mut self, token: TokenId) -> &mut Row {
        let place = match self.tokens.claim(token) {
            Place::Known(place) => place,
            Place::New(place) => {
                self.rows.resize(self.rows.len().max(place + 1), Row::default());
                self.rows[place] = Row::default();
                place
            }
        };
        &mut self.rows[place]
    }

    /// Fills up rows with what followed their tokens in a text, the most recent first, and none that would
    /// take a more recent one's place.
    fn read(&mut self, text: &[TokenId]) {
        for pair in text.windows(2).rev().take(self.most) {
            let row = self.row(pair[0]);
            if !row.successors().contains(&pair[1]) {
                row.push(pair[1]);
            }
        }
    }

    /// Replaces a token's successors.
    fn learn(&mut self, token: TokenId, successors: &[TokenId]) {
        if successors.is_empty() {
            return;
        }
        let count = successors.len().min(SUCCESSORS);
        let row = self.row(token);
        row.successors[..count].copy_from_slice(&successors[..count]);
        row.count = count as u32;
    }
}

impl Recycle {
    fn new(nodes: usize) -> Self {
        let tree = PathRates::new(vec![RATES.to_vec(); DEPTH], []).best(nodes);
        let (sequences, placed) = (HashMap::new(), Vec::new());
        Self { tree, sequences, placed, builder: TreeBuilder::new(0) }
    }

    /// Looks the tree's tokens up; a guess without a token takes those below it away.
    fn fill(&mut self, task: &mut DraftTask) {
        let Self { tree, sequences, placed, builder } = self;
        let Some(adjacency) = sequences.get_mut(&task.key) else { return };
        let root = task.tree.token(0);
        builder.reset(root);
        placed.clear();
        for guess in tree.guesses() {
            if builder.len() > task.room.nodes {
                break;
            }
            let above = guess.parent.map_or(Some((BuildId::ROOT, root)), |parent| placed[parent]);
            placed.push(above.filter(|_| guess.depth as usize <= task.room.depth).and_then(
                |(parent, token)| {
                    let rank = guess.rank as usize;
                    let token = *adjacency.successors(token).get(rank)?;
                    Some((builder.propose(parent, token, RATES[rank] as f32).ok()?, token))
                },
            ));
        }
        builder.freeze(&mut task.tree);
    }
}

impl Drafter for Recycle {
    fn begin(&mut self, key: SequenceKey, prompt: &[TokenId]) {
        let adjacency = self.sequences.entry(key).or_insert_with(|| Adjacency::new(TOKENS));
        adjacency.read(prompt);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks.iter_mut().filter(|task| task.room.fits_a_node()) {
            self.fill(task);
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            let Some(adjacency) = self.sequences.get_mut(&task.key) else { continue };
            for node in 0..task.tree.len() {
                adjacency.learn(task.tree.token(node), task.choices.likeliest(node));
            }
        }
    }

    fn end(&mut self, key: SequenceKey) {
        self.sequences.remove(&key);
    }
}

#[cfg(test)]
mod tests;
