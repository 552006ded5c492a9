//! The draft of one sequence while it grows, level by level.
//!
//! In ranked growth children are the tokens that the rule is most likely to accept, and the draft that is
//! sent is the best of what was grown. Sampled growth serves `rejection`: children are drawn from the
//! draft's own law, and nothing drawn is left out.

use foretoken_core::{
    BuildId, Distribution, DraftSampler, DraftTree, Ranked, Role, Rule, SampleError, Sampler,
    TokenId, TreeBuilder,
};

use super::bridge::Rows;
use crate::drafters::confidence::{Bucket, Confidence};
use crate::drafters::{Ceilings, DraftTask, Room};

/// A grown node; node 0 is the root.
#[derive(Debug, Clone, Copy)]
struct Node {
    parent: usize,
    token: TokenId,
    depth: u32,
    /// Estimated probability that the whole path to the node is accepted.
    value: f64,
    /// Where its own estimate came from; none for the root and for drawn nodes.
    bucket: Option<Bucket>,
    built: Option<BuildId>,
    sent: bool,
}

/// Tells the draws of this method from those of others that draft for the same sequence.
const DRAFTER: u32 = 0;

/// How children are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growing {
    /// By score.
    Ranked,
    /// By drawing.
    Sampled,
}

pub(super) struct Growth {
    growing: Growing,
    ceilings: Ceilings,
    /// Ranks tokens that are not the target's; without it the target's own sampler does.
    own: Option<Sampler>,
    room: Room,
    nodes: Vec<Node>,
    /// Nodes whose rows come with the next pass.
    frontier: Vec<usize>,
    /// First node of the newest level.
    level: usize,
    builder: TreeBuilder,
    order: Vec<usize>,
    path: Vec<TokenId>,
    ranked: Vec<Ranked>,
    q: Distribution,
    drawn: Vec<TokenId>,
    drawer: DraftSampler,
}

impl Growth {
    pub(super) fn new(ceilings: Ceilings, own: Option<Sampler>) -> Self {
        Self {
            growing: Growing::Ranked,
            ceilings,
            own,
            room: Room::default(),
            nodes: Vec::new(),
            frontier: Vec::new(),
            level: 0,
            builder: TreeBuilder::new(0),
            order: Vec::new(),
            path: Vec::new(),
            ranked: Vec::new(),
            q: Distribution::new(),
            drawn: Vec::new(),
            drawer: DraftSampler::new(),
        }
    }

    /// Begins the draft of a task with its root alone in the frontier.
    pub(super) fn restart(&mut self, task: &DraftTask, room: Room) {
        let drawing = task.rule == Rule::Rejection && !task.sampler.is_greedy();
        let sampled = drawing && self.own.is_none();
        self.growing = if sampled { Growing::Sampled } else { Growing::Ranked };
        self.drawer.begin(task.sampler.noise().at_step(task.step), DRAFTER);
        let root = task.text.last().copied().unwrap_or_default();
        // Below as many ancestors as may be sent nothing can be.
        let nodes = room.nodes.min(self.ceilings.nodes);
        self.room = Room { nodes, depth: room.depth.min(nodes) };
        self.nodes.clear();
        self.builder.reset(root);
        let built = Some(BuildId::ROOT);
        let root =
            Node { parent: 0, token: root, depth: 0, value: 1.0, bucket: None, built, sent: true };
        self.nodes.push(root);
        self.frontier.clear();
        self.frontier.push(0);
        self.level = 1;
    }

    /// How large the draft may be; without nodes the sequence is not drafting.
    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// Most children of a node.
    pub(super) fn width(&self) -> usize {
        self.ceilings.width
    }

    /// Whether the drafted tokens are the draft's own rather than the target's.
    pub(super) fn drafts_own_tokens(&self) -> bool {
        self.own.is_some()
    }

    /// No draft in this step.
    pub(super) fn rest(&mut self) {
        self.room = Room::default();
    }

    /// The frontier's only token, when the draft is a chain.
    pub(super) fn tip(&self) -> TokenId {
        self.nodes[self.frontier[0]].token
    }

    /// The tokens of a draft that is a chain, with the tip.
    pub(super) fn chain(&mut self) -> &[TokenId] {
        self.collect_path(self.frontier[0]);
        &self.path
    }

    /// How many levels below the tip of a chain are to be grown on from.
    pub(super) fn ahead(&self) -> usize {
        self.room.depth.saturating_sub(self.nodes[self.frontier[0]].depth as usize + 1)
    }

    /// Writes the tree whose rows the next pass computes.
    pub(super) fn freeze(&mut self, out: &mut DraftTree) {
        self.builder.freeze(out);
    }

    /// Grows the frontier by one level; `rows` has the logits at the nodes of the last frozen tree.
    /// Returns whether there is a next level to grow.
    pub(super) fn grow(
        &mut self,
        task: &mut DraftTask,
        confidence: &Confidence,
        rows: &mut Rows<'_>,
    ) -> bool {
        self.level = self.nodes.len();
        let frontier = std::mem::take(&mut self.frontier);
        let mut outcome = Ok(());
        for &node in &frontier {
            let built = self.nodes[node].built.and_then(|id| self.builder.node(id).ok());
            let row = rows.at(built.unwrap_or(0));
            outcome = outcome.and_then(|()| match self.growing {
                Growing::Ranked => self.rank_children(node, row, task, confidence),
                Growing::Sampled => self.draw_children(node, row, task),
            });
        }
        self.frontier = frontier;
        let deeper = self.nodes.last().is_some_and(|n| (n.depth as usize) < self.room.depth);
        outcome.is_ok() && deeper && self.choose_frontier()
    }

    fn rank_children(
        &mut self,
        node: usize,
        row: &[f32],
        task: &mut DraftTask,
        confidence: &Confidence,
    ) -> Result<(), SampleError> {
        self.collect_path(node);
        let Node { depth, value, .. } = self.nodes[node];
        let position = task.position() + depth;
        let width = self.ceilings.width;
        let sampler = self.own.as_mut().unwrap_or(&mut task.sampler);
        let ranked = &mut self.ranked;
        sampler.rank_under(task.rule, row, &self.path, position, width.max(2), ranked)?;
        let best = self.ranked.first().map_or(0.0, |first| first.score);
        let second = self.ranked.get(1).map_or(f64::NEG_INFINITY, |second| second.score);
        for (rank, &Ranked { token, score }) in self.ranked.iter().take(width).enumerate() {
            let bucket = match rank {
                0 => Bucket::leader(best - second),
                _ => Bucket::follower(best - score),
            };
            self.nodes.push(Node {
                parent: node,
                token,
                depth: depth + 1,
                value: value * confidence.estimate(bucket),
                bucket: Some(bucket),
                built: None,
                sent: false,
            });
        }
        Ok(())
    }

    /// Draws children of a node, unless the budget cannot hold all of them: that is decided before
    /// drawing.
    fn draw_children(
        &mut self,
        node: usize,
        row: &[f32],
        task: &mut DraftTask,
    ) -> Result<(), SampleError> {
        if self.nodes.len() - 1 + self.ceilings.width > self.room.nodes {
            return Ok(());
        }
        self.collect_path(node);
        let Node { depth, value, built, .. } = self.nodes[node];
        task.sampler.distribution(row, &self.path, &mut self.q)?;
        self.drawer.draw(&self.q, self.ceilings.width, &mut self.drawn);
        let Some(parent) = built else { return Ok(()) };
        let Ok(ids) = self.builder.push_sampled(parent, self.q.iter(), &self.drawn) else {
            return Ok(());
        };
        for (&token, id) in self.drawn.iter().zip(ids) {
            self.nodes.push(Node {
                parent: node,
                token,
                depth: depth + 1,
                value: value * self.q.probability(token),
                bucket: None,
                built: Some(id),
                sent: true,
            });
        }
        Ok(())
    }

    /// Picks the most promising nodes of the newest level for the next pass.
    fn choose_frontier(&mut self) -> bool {
        self.frontier.clear();
        // A drawn node's own probability may stop what is below it, never the node itself.
        let bar = self.ceilings.min_probability;
        let nodes = &self.nodes;
        self.frontier.extend((self.level..nodes.len()).filter(|&n| nodes[n].value >= bar));
        self.frontier
            .sort_unstable_by(|&a, &b| nodes[b].value.total_cmp(&nodes[a].value).then(a.cmp(&b)));
        self.frontier.truncate(self.ceilings.width);
        if self.growing == Growing::Sampled {
            let left = self.room.nodes - (nodes.len() - 1);
            self.frontier.truncate(left / self.ceilings.width);
            return !self.frontier.is_empty();
        }
        // Enough nodes at least as good as anything below the frontier: the draft is complete.
        let best = self.frontier.first().map_or(0.0, |&n| nodes[n].value);
        if nodes[1..].iter().filter(|n| n.value > best).count() >= self.room.nodes {
            self.frontier.clear();
        }
        for &index in &self.frontier {
            let Node { parent, token, .. } = self.nodes[index];
            let Some(parent) = self.nodes[parent].built else { continue };
            self.nodes[index].built = self.builder.push(parent, token, Role::Candidate).ok();
        }
        !self.frontier.is_empty()
    }

    /// Writes the draft to send: everything drawn, or the best of what was ranked.
    ///
    /// A child is never better than its parent, so the best nodes are closed under parents. The best
    /// one is always sent: without trials its estimate could never recover.
    pub(super) fn finish(&mut self, out: &mut DraftTree) {
        if self.growing == Growing::Ranked {
            self.order.clear();
            self.order.extend(1..self.nodes.len());
            let nodes = &self.nodes;
            self.order.sort_unstable_by(|&a, &b| {
                nodes[b].value.total_cmp(&nodes[a].value).then(a.cmp(&b))
            });
            self.order.truncate(self.room.nodes);
            let enough = |&&n: &&usize| nodes[n].value >= self.ceilings.min_probability;
            let sent = self.order.iter().take_while(enough).count().max(1).min(self.order.len());
            self.order.truncate(sent);
            self.builder.reset(self.nodes[0].token);
            for &index in &self.order {
                let Node { parent, token, value, .. } = self.nodes[index];
                let Node { value: above, built, .. } = self.nodes[parent];
                let built = if parent == 0 { Some(BuildId::ROOT) } else { built };
                let Some(parent) = built else { continue };
                // Rates that fade may reach 0.
                let estimate = (value / above.max(f64::MIN_POSITIVE)) as f32;
                self.nodes[index].built = self.builder.propose(parent, token, estimate).ok();
                self.nodes[index].sent = self.nodes[index].built.is_some();
            }
        }
        self.builder.freeze(out);
    }

    /// Counts which sent nodes the target agreed with.
    pub(super) fn learn(&self, emitted: &[TokenId], confidence: &mut Confidence) {
        let mut at = 0;
        for &token in emitted {
            let mut next = None;
            for (index, node) in self.nodes.iter().enumerate().skip(1) {
                if node.parent != at || !node.sent {
                    continue;
                }
                if let Some(bucket) = node.bucket {
                    confidence.learn(bucket, node.token == token);
                }
                if node.token == token {
                    next = Some(index);
                }
            }
            let Some(next) = next else { return };
            at = next;
        }
    }

    fn collect_path(&mut self, node: usize) {
        self.path.clear();
        let mut at = node;
        while at != 0 {
            self.path.push(self.nodes[at].token);
            at = self.nodes[at].parent;
        }
        self.path.reverse();
    }
}

#[cfg(test)]
mod tests {
    use foretoken_core::{Noise, Sampler, SamplingParams};

    use super::*;
    use crate::drafters::SequenceKey;

    const ROW: [f32; 5] = [0.0, 1.0, 0.75, -1.0, 0.5];

    /// The first level of a draft of two tokens: tokens and where their estimates come from.
    fn level(rule: Rule, temperature: f64, seed: u64) -> Vec<(TokenId, Option<Bucket>)> {
        let params = SamplingParams { temperature, ..SamplingParams::default() };
        let sampler = Sampler::new(params, Noise { seed, choice: 0 }, ROW.len()).unwrap();
        let mut task = DraftTask::new(SequenceKey(1), vec![3], sampler, rule);
        let ceilings = Ceilings { nodes: 2, width: 2, min_probability: 0.0 };
        let mut growth = Growth::new(ceilings, None);
        growth.restart(&task, Room { nodes: 2, depth: 1 });
        growth.rank_children(0, &ROW, &mut task, &Confidence::new()).unwrap();
        growth.nodes[1..].iter().map(|node| (node.token, node.bucket)).collect()
    }

    #[test]
    fn typical_acceptance_is_drafted_for_by_likelihood_with_margins_over_temperature() {
        for temperature in [0.1, 1.0] {
            let margin = 0.25 / temperature;
            let (leader, follower) = (Bucket::leader(margin), Bucket::follower(margin));
            for seed in 0..20 {
                let likeliest = [(1, Some(leader)), (2, Some(follower))];
                assert_eq!(level(Rule::TYPICAL, temperature, seed), likeliest);
            }
        }
        let first: Vec<TokenId> =
            (0..20).map(|seed| level(Rule::Coupled, 1.0, seed)[0].0).collect();
        assert!(first.iter().any(|&token| token != 1), "coupled ranks by noise: {first:?}");
    }
}
