//! What the target would write behind each node of a draft that it has verified.
//!
//! Acceptance reads the rows of one path. Drafters that iterate on their own guesses learn from all rows,
//! also those of probes and of branches that lost.

use foretoken_core::{NodeId, Ranked, Rule, Sampler, Step, TokenId};

use super::Sight;

/// The tokens behind each node of the verified tree, and the buffers for finding them.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    chosen: Vec<Option<TokenId>>,
    /// Those of all nodes, one after the other.
    likeliest: Vec<TokenId>,
    /// By node, where its likeliest tokens end.
    ends: Vec<usize>,
    /// Tokens from below the root to the node.
    path: Vec<TokenId>,
    ranked: Vec<Ranked>,
}

impl Choices {
    /// What a drafter without an engine is shown: of each node in preorder, the best token behind it and the
    /// likeliest ones.
    pub fn new<'a>(nodes: impl IntoIterator<Item = (Option<TokenId>, &'a [TokenId])>) -> Self {
        let mut choices = Self::default();
        for (chosen, likeliest) in nodes {
            choices.chosen.push(chosen);
            choices.likeliest.extend_from_slice(likeliest);
            choices.ends.push(choices.likeliest.len());
        }
        choices
    }

    /// The best token behind a node, as drafts are ranked: at the node's position and behind its own path.
    /// None where nothing was drafted or can be drawn.
    pub fn get(&self, node: NodeId) -> Option<TokenId> {
        self.chosen.get(node).copied().flatten()
    }

    /// The likeliest tokens behind a node, the likeliest first, whatever the noise of its position; at
    /// the root also where nothing was drafted.
    pub fn likeliest(&self, node: NodeId) -> &[TokenId] {
        let start = node.checked_sub(1).and_then(|before| self.ends.get(before));
        let range = start.copied().unwrap_or(0)..self.ends.get(node).copied().unwrap_or(0);
        self.likeliest.get(range).unwrap_or_default()
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        self.chosen.clear();
        self.likeliest.clear();
        self.ends.clear();
    }

    /// Finds what `sight` is to see behind every node, which is behind the node's own path.
    pub(crate) fn read(
        &mut self,
        sight: Sight,
        step: &Step<'_>,
        rule: Rule,
        sampler: &mut Sampler,
    ) {
        self.clear();
        let Self { chosen, likeliest, ends, path, ranked } = self;
        let tree = step.tree;
        path.clear();
        for node in 0..tree.len() {
            if let Some(above) = (tree.depth(node) as usize).checked_sub(1) {
                path.truncate(above);
                path.push(tree.token(node));
            }
            let row = step.rows.row(node);
            // A row that nothing can be drawn from shows nothing.
            if sight.choices && tree.len() > 1 {
                let position = step.position_after(node);
                sampler.rank_under(rule, row, path, position, 1, ranked).ok();
                chosen.push(ranked.first().map(|best| best.token));
            }
            if sight.likeliest > 0 {
                sampler.likeliest(row, path, sight.likeliest, ranked).ok();
                likeliest.extend(ranked.iter().map(|best| best.token));
                ends.push(likeliest.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use foretoken_core::{BuildId, DraftTree, Noise, Role, SamplingParams, TreeBuilder};

    use super::*;
    use crate::drafters::verifying::verify;
    use crate::drafters::{DraftTask, SequenceKey};

    const ROW: [f32; 4] = [0.0, 2.0, 1.5, -1.0];

    /// A root with the children 1, which has the child 2, and 2.
    fn tree() -> DraftTree {
        let mut builder = TreeBuilder::new(3);
        let one = builder.push(BuildId::ROOT, 1, Role::Candidate).unwrap();
        builder.push(one, 2, Role::Probe).unwrap();
        builder.push(BuildId::ROOT, 2, Role::Candidate).unwrap();
        let mut tree = DraftTree::single(3);
        builder.freeze(&mut tree);
        tree
    }

    fn sampler(seed: u64) -> Sampler {
        let params =
            SamplingParams { temperature: 1.0, presence_penalty: 1.0, ..SamplingParams::default() };
        Sampler::new(params, Noise { seed, choice: 0 }, ROW.len()).unwrap()
    }

    /// What is chosen in preorder where every row is the same, but unreadable behind `unreadable` tokens.
    fn chosen(rule: Rule, seed: u64, unreadable: usize) -> [Option<TokenId>; 4] {
        let mut task = DraftTask::new(SequenceKey(1), vec![3], sampler(seed), rule);
        task.tree = tree();
        verify(
            &mut task,
            |text| if text.len() == unreadable { vec![f32::NAN; 4] } else { ROW.to_vec() },
        );
        [0, 1, 2, 3].map(|node| task.choices.get(node))
    }

    #[test]
    fn what_is_shown_by_hand_is_found_by_node() {
        let choices = Choices::new([(Some(4), &[4, 5][..]), (None, &[]), (Some(6), &[6])]);
        assert_eq!([0, 1, 2, 3].map(|node| choices.get(node)), [Some(4), None, Some(6), None]);
        let likeliest = [0, 1, 2, 3].map(|node| choices.likeliest(node));
        assert_eq!(likeliest, [&[4, 5][..], &[], &[6], &[]]);
    }

    #[test]
    fn rules_with_noise_of_their_own_show_the_likeliest_token_behind_each_path() {
        for rule in [Rule::Rejection, Rule::TYPICAL] {
            for seed in 0..10 {
                assert_eq!(chosen(rule, seed, 0), [Some(1), Some(2), Some(1), Some(1)]);
                assert_eq!(chosen(rule, seed, 3), [Some(1), Some(2), None, Some(1)]);
            }
        }
    }

    #[test]
    fn coupled_shows_what_is_drawn_behind_each_path() {
        let paths: [&[TokenId]; 4] = [&[], &[1], &[1, 2], &[2]];
        let mut firsts = Vec::new();
        for seed in 0..10 {
            let mut sampler = sampler(seed);
            let draw = |path: &[TokenId]| sampler.draw(&ROW, path, 1 + path.len() as u32).ok();
            let drawn = paths.map(draw);
            assert_eq!(chosen(Rule::Coupled, seed, 0), drawn);
            firsts.push(drawn[0]);
        }
        assert!(firsts.iter().any(|first| *first != Some(1)), "noise decides: {firsts:?}");
        assert_eq!(chosen(Rule::Coupled, 0, 2)[1], None);
    }
}
