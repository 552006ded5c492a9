//! `oracle`: a drafter that knows the undrafted text and corrupts it.

use foretoken::TokenId;
use foretoken::drafters::{DraftTask, Drafter, SequenceKey};
use foretoken_core::{BuildId, Role, TreeBuilder};

/// Pseudo-random numbers that a test can repeat.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        (self.next() % sides as u64) as usize
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 * (0.5f64).powi(53) < probability
    }
}

/// Drafts trees along the texts it knows.
pub(crate) struct Oracle {
    /// Prompt and output, as far as is known; past their ends anything is drafted.
    pub(crate) texts: Vec<Vec<TokenId>>,
    /// How often the right token is among the children of a node of the right path.
    pub(crate) rate: f64,
    /// Most wrong siblings before and after it.
    pub(crate) rank: usize,
    /// Deepest path.
    pub(crate) depth: usize,
    /// Tokens to choose wrong ones from.
    pub(crate) vocab: usize,
    pub(crate) dice: Dice,
}

/// A tree being drawn within its room.
struct Drawing<'a> {
    builder: TreeBuilder,
    nodes: usize,
    vocab: usize,
    dice: &'a mut Dice,
}

impl Drawing<'_> {
    fn push(&mut self, parent: BuildId, token: TokenId, role: Role) -> Option<BuildId> {
        if self.builder.len() > self.nodes {
            return None;
        }
        self.builder.push(parent, token, role).ok()
    }

    fn wrong(&mut self, right: TokenId) -> TokenId {
        ((right as usize + 1 + self.dice.roll(self.vocab - 1)) % self.vocab) as TokenId
    }

    /// A wrong sibling of `ahead[0]`, with what is right behind it for bait.
    fn distract(&mut self, parent: BuildId, ahead: &[TokenId], depth: usize) {
        let token = self.wrong(ahead[0]);
        let mut at = self.push(parent, token, Role::Candidate);
        let bait = self.dice.roll(3).min(depth - 1).min(ahead.len() - 1);
        for &token in &ahead[1..=bait] {
            at = at.and_then(|at| self.push(at, token, Role::Candidate));
        }
    }

    /// A probe, sometimes on the right token, with one below it.
    fn probe(&mut self, parent: BuildId, right: TokenId, depth: usize) {
        let token = if self.dice.chance(0.5) { right } else { self.wrong(right) };
        let probe = self.push(parent, token, Role::Probe);
        let below = self.wrong(right);
        if let Some(probe) = probe.filter(|_| depth > 1) {
            // Below the right token this hangs on a candidate, if that is pushed later.
            self.push(probe, below, Role::Probe);
        }
    }
}

impl Oracle {
    /// What follows in the known text, and noise behind its end.
    fn ahead(&mut self, text: &[TokenId]) -> Vec<TokenId> {
        let known = self.texts.iter().find(|known| known.starts_with(text));
        let mut ahead = known.map_or(Vec::new(), |known| known[text.len()..].to_vec());
        ahead.truncate(self.depth);
        ahead.resize_with(self.depth, || self.dice.roll(self.vocab) as TokenId);
        ahead
    }

    fn draw(&mut self, task: &mut DraftTask) {
        let Some(&root) = task.text.last() else { return };
        let depth = (1 + self.dice.roll(self.depth)).min(task.room.depth);
        let ahead = self.ahead(&task.text);
        let builder = TreeBuilder::new(root);
        let (nodes, vocab) = (task.room.nodes, self.vocab);
        let mut drawing = Drawing { builder, nodes, vocab, dice: &mut self.dice };
        let mut at = BuildId::ROOT;
        for level in 0..depth {
            let (left, ahead) = (depth - level, &ahead[level..]);
            for _ in 0..drawing.dice.roll(self.rank + 1) {
                drawing.distract(at, ahead, left);
            }
            if drawing.dice.chance(0.2) {
                drawing.probe(at, ahead[0], left);
            }
            let right = drawing.dice.chance(self.rate);
            let next = right.then(|| drawing.push(at, ahead[0], Role::Candidate)).flatten();
            for _ in 0..drawing.dice.roll(self.rank + 1) {
                drawing.distract(at, ahead, left);
            }
            let Some(next) = next else { break };
            at = next;
        }
        drawing.builder.freeze(&mut task.tree);
    }
}

impl Drafter for Oracle {
    fn begin(&mut self, _: SequenceKey, _: &[TokenId]) {}

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks.iter_mut().filter(|task| task.room.fits_a_node()) {
            self.draw(task);
        }
    }

    fn observe(&mut self, _: &[DraftTask]) {}

    fn end(&mut self, _: SequenceKey) {}
}
