//! `medusa`: heads on the target's own hidden state guess the tokens ahead (Cai et al. 2024,
//! <https://arxiv.org/abs/2401.10774>).
//!
//! Each head guesses one depth, whatever the others guess: head `k` the token `k + 1` places behind the
//! root. So one pass of the heads gives a list of tokens per depth, and a tree chosen before says which
//! combinations are sent. Heads run on one state per sequence, that of the last accepted token, all
//! sequences in one pass. In the first step of a request no state is known and nothing is drafted.

mod choices;
#[cfg(test)]
mod fixed;
mod guesser;
mod lists;
mod load;
mod trees;

use foretoken_core::TokenId;
use foretoken_model::Heads;

pub use choices::MedusaChoices;
pub(crate) use guesser::Guesser;
pub(crate) use lists::Lists;
pub(crate) use load::LoadedHeads;
pub use trees::MedusaTrees;
use trees::Size;

use super::{Built, DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey, Sight};
use crate::Error;

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "medusa",
    summary: "heads on the target's own hidden state guess a tree of tokens",
    source: "Medusa (Cai et al. 2024)",
    needs: Needs::MedusaHeads,
    sight: Sight::HIDDEN,
    nodes: 63,
    build,
};

fn build(parts: Parts<'_>) -> Result<Built, Error> {
    let Parts { heads, medusa, ceilings, tokens, cost, vocab, .. } = parts;
    let missing = || Error::NoMedusaHeads { drafter: INFO.name };
    let LoadedHeads { heads, calibration, seconds, .. } = heads.ok_or_else(missing)?;
    let size = match &medusa.choices {
        MedusaChoices::Tree(tree) => Size::Given(tree),
        MedusaChoices::Best { nodes } => match (nodes.or(tokens), cost, seconds) {
            (Some(nodes), ..) => Size::Nodes(nodes),
            (None, Some(cost), Some(seconds)) => {
                let head = seconds / heads.count() as f64;
                Size::Pays { cost, head, most: ceilings.nodes }
            }
            _ => Size::Nodes(trees::UNMEASURED),
        },
    };
    let trees = MedusaTrees::best(calibration.as_ref(), heads.count(), size);
    let nodes = trees.most_nodes();
    Ok(Built::new(MedusaDrafter::new(heads, trees, vocab), nodes))
}

/// Drafts with heads: those of the engine's options, or of one's own.
pub struct MedusaDrafter {
    guesser: Guesser,
}

impl MedusaDrafter {
    /// Heads for a target of so many tokens, and which of their guesses are sent; guesses deeper than there are
    /// heads are not. An engine that did not
    /// build them itself must be told to show its hidden states
    /// ([`Engine::with_sight`](crate::Engine::with_sight)).
    pub fn new(heads: Box<dyn Heads>, trees: MedusaTrees, vocab: usize) -> Self {
        Self { guesser: Guesser::new(heads, trees, vocab) }
    }
}

impl Drafter for MedusaDrafter {
    fn begin(&mut self, _: SequenceKey, _: &[TokenId]) {}

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.guesser.read(tasks.iter().map(|task| {
            let drafts = task.room.fits_a_node() && !task.hidden.is_empty();
            drafts.then_some(task.hidden.as_slice())
        }));
        for (index, task) in tasks.iter_mut().enumerate() {
            if let Some(guesses) = self.guesser.guess(index, task, &[], task.room) {
                guesses.freeze(&mut task.tree);
            }
        }
    }

    fn observe(&mut self, _: &[DraftTask]) {}

    fn end(&mut self, _: SequenceKey) {}
}

#[cfg(test)]
mod tests {
    use foretoken_core::{Noise, Rule, Sampler, SamplingParams, SparseTree};

    use super::fixed::Fixed;
    use super::*;
    use crate::drafters::Room;

    #[test]
    fn a_tree_deeper_than_the_heads_is_cut_to_their_depth() {
        let noise = Noise { seed: 0, choice: 0 };
        let sampler = Sampler::new(SamplingParams::default(), noise, 3).unwrap();
        let task = DraftTask::new(SequenceKey(1), vec![2], sampler, Rule::Coupled);
        let room = Room { nodes: 9, depth: 9 };
        let mut tasks = [DraftTask { room, hidden: vec![0.0], ..task }];
        let heads = Fixed { count: 2, ..Fixed::new(vec![0.0, 1.0, 0.5]) };
        let trees = MedusaTrees::fixed(&SparseTree::cartesian(&[1, 1, 1, 1]).unwrap());
        MedusaDrafter::new(Box::new(heads), trees, 3).propose(&mut tasks);
        assert_eq!(tasks[0].tree.tokens(), [2, 1, 1]);
    }
}
