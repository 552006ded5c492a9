//! `prediction`: follows a text that the caller expects, such as a file before its edit (what OpenAI calls
//! Predicted Outputs).
//!
//! The output is aligned with the prediction as it grows. While both agree the prediction is drafted, the deeper
//! the surer it has been; behind a difference up to three places where it may go on are branches of one tree.
//! The prediction never passes through the model, and without one the drafter abstains.

mod grams;
mod reader;
mod trust;

use std::collections::HashMap;

use foretoken_core::{BuildId, TokenId, TreeBuilder};

use self::reader::{Reader, is_sure};
use super::places::Place;
use super::{Built, Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, SequenceKey, Sight};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "prediction",
    summary: "the text that the caller expects, followed around its changes",
    source: "Predicted Outputs (OpenAI 2024); LLMA (Yang et al. 2023)",
    needs: Needs::Prediction,
    sight: Sight::TEXT,
    nodes: 32,
    build: |Parts { ceilings, .. }| Ok(Built::new(Prediction::new(ceilings), ceilings.nodes)),
};

/// Places that are drafted from.
const BRANCHES: usize = 3;

struct Prediction {
    ceilings: Ceilings,
    /// Of the sequences that have a prediction.
    readers: HashMap<SequenceKey, Reader>,
    places: Vec<Place>,
    branches: Vec<Branch>,
    builder: TreeBuilder,
}

/// The draft from one place, as far as it has grown.
struct Branch {
    /// The place behind its last node.
    place: Place,
    last: BuildId,
    depth: usize,
    /// Estimated probability that the node after the last one is accepted.
    probability: f64,
}

impl Prediction {
    fn new(ceilings: Ceilings) -> Self {
        Self {
            ceilings,
            readers: HashMap::new(),
            places: Vec::new(),
            branches: Vec::new(),
            builder: TreeBuilder::new(0),
        }
    }

    /// Grows the branches node by node, the most probable node first.
    fn fill(&mut self, task: &mut DraftTask) {
        let Self { ceilings, readers, places, branches, builder } = self;
        let Some(reader) = readers.get_mut(&task.key) else { return };
        reader.find(&task.prediction, &task.text, places);
        branches.clear();
        let mut left = 1.0;
        for &place in places.iter().take(BRANCHES) {
            let probability = left * reader.trust.estimate(place.agreeing);
            branches.push(Branch { place, last: BuildId::ROOT, depth: 0, probability });
            left -= probability;
        }
        let open = |branch: &Branch| {
            branch.depth < task.room.depth && branch.place.next < task.prediction.len()
        };
        // Where there is no doubt about the place, whatever is asked of a node one is sent.
        let least = usize::from(is_sure(places[0]));
        builder.reset(task.tree.token(0));
        while builder.len() <= ceilings.nodes.min(task.room.nodes) {
            let wanted = |branch: &Branch| {
                branch.probability >= ceilings.min_probability || builder.len() <= least
            };
            let best = branches
                .iter_mut()
                .filter(|branch| open(branch) && wanted(branch))
                .max_by(|a, b| a.probability.total_cmp(&b.probability));
            let Some(branch) = best else { break };
            let Place { next, agreeing } = branch.place;
            let token = task.prediction[next];
            let estimate = match branch.depth {
                0 => branch.probability,
                _ => reader.trust.estimate(agreeing),
            };
            let Ok(last) = builder.propose(branch.last, token, estimate as f32) else { break };
            branch.last = last;
            branch.depth += 1;
            branch.place = Place { next: next + 1, agreeing: agreeing + 1 };
            branch.probability *= reader.trust.estimate(agreeing + 1);
        }
        builder.freeze(&mut task.tree);
    }
}

impl Drafter for Prediction {
    fn begin(&mut self, key: SequenceKey, _: &[TokenId]) {
        self.readers.remove(&key);
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        let drafting = |task: &&mut DraftTask| task.room.fits_a_node();
        for task in tasks.iter_mut().filter(drafting).filter(|task| !task.prediction.is_empty()) {
            let begin = || Reader::new(&task.prediction, task.text.len());
            let reader = self.readers.entry(task.key).or_insert_with(begin);
            reader.take_in(&task.prediction, &task.text);
            self.fill(task);
        }
    }

    fn observe(&mut self, _: &[DraftTask]) {}

    fn end(&mut self, key: SequenceKey) {
        self.readers.remove(&key);
    }
}

#[cfg(test)]
mod tests;
