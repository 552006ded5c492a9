//! What the engine does to a draft, for tests of drafters.

use foretoken_core::{NodeId, Rows, Step, TokenId, Verifier};

use super::{DraftTask, Sight};

struct AllRows(Vec<Vec<f32>>);

impl Rows for AllRows {
    fn row(&self, node: NodeId) -> &[f32] {
        &self.0[node]
    }
}

/// Verifies a task's draft by a target with `logits` behind a text, and makes what is accepted part of the
/// text.
pub(super) fn verify(task: &mut DraftTask, logits: impl Fn(&[TokenId]) -> Vec<f32>) {
    let mut path = Vec::new();
    let row = |node| {
        task.tree.path(node, &mut path);
        let below = path[1..].iter().map(|&node| task.tree.token(node));
        logits(&task.text.iter().copied().chain(below).collect::<Vec<_>>())
    };
    let rows = AllRows((0..task.tree.len()).map(row).collect());
    let position = task.position();
    let step = Step { tree: &task.tree, rows: &rows, position, index: task.step };
    Verifier::new().verify(task.rule, &step, &mut task.sampler, &mut task.accepted);
    let sight = Sight::CHOICES.and(Sight::likeliest(8));
    task.choices.read(sight, &step, task.rule, &mut task.sampler);
    for &token in task.accepted.tokens() {
        task.text.push(token);
        task.sampler.commit(token);
    }
}

/// The logits of a target of `vocab` tokens that is sure of one.
pub(super) fn sure_of(token: TokenId, vocab: usize) -> Vec<f32> {
    let mut logits = vec![0.0; vocab];
    logits[token as usize] = 9.0;
    logits
}
