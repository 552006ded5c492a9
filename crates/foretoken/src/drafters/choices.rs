//! What the target would write behind each node of a draft that it has verified.
//!
//! Acceptance reads the rows of one path. Drafters that iterate on their own guesses learn from all rows,
//! also those of probes and of branches that lost.

use foretoken_core::{NodeId, Ranked, Rule, Sampler, Step, TokenId};

/// The token chosen at each node of the verified tree, and the buffers for choosing.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    tokens: Vec<Option<TokenId>>,
    /// Tokens from below the root to the node.
    path: Vec<TokenId>,
    ranked: Vec<Ranked>,
}

impl Choices {
    /// The token behind a node; none where the draft's choices are not known or nothing could be drawn.
    pub fn get(&self, node: NodeId) -> Option<TokenId> {
        self.tokens.get(node).copied().flatten()
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
    }

    /// Takes the best token at every node, as drafts are ranked: at the node's position and behind its own
    /// path.
    pub(crate) fn choose(&mut self, step: &Step<'_>, rule: Rule, sampler: &mut Sampler) {
        let Self { tokens, path, ranked } = self;
        let tree = step.tree;
        path.clear();
        tokens.clear();
        tokens.extend((0..tree.len()).map(|node| {
            if let Some(above) = (tree.depth(node) as usize).checked_sub(1) {
                path.truncate(above);
                path.push(tree.token(node));
            }
            let row = step.rows.row(node);
            sampler.rank_under(rule, row, path, step.position_after(node), 1, ranked).ok()?;
            ranked.first().map(|best| best.token)
        }));
    }
}
