//! `model`: a smaller model drafts (Leviathan et al. 2023, Chen et al. 2023).
//!
//! The draft runs through the same seam as the target: a tree hung on committed positions. A chain
//! (`width` 1) commits each drafted token and rewinds what the target refused; a tree is fed again
//! whole at every level, since many rows cost a small model little more than one, and keeps the
//! rows of the accepted path. Both learn how far the draft may be trusted (`confidence`). Chains can take
//! several tokens per pass where the draft has Medusa heads of its own (`nested`).

mod bridge;
mod growth;
mod nested;

use std::collections::HashMap;

use foretoken_core::{DraftTree, NodeId, TokenId};
use foretoken_model::{Heads, SequenceId, Target, Translation, Wants};

pub(crate) use self::bridge::Bridge;
use self::bridge::Rows;
use self::growth::Growth;
use self::nested::Nested;
use super::confidence::Confidence;
use super::places::shared_prefix;
use super::{
    Built, Ceilings, DraftModel, DraftTask, Drafter, DrafterInfo, MedusaTrees, Needs, Parts, Room,
    SequenceKey, Sight,
};
use crate::{DraftOptions, Error};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "model",
    summary: "a smaller model drafts a chain or a tree",
    source: "Leviathan et al. 2023; Chen et al. 2023; EAGLE-2 (Li et al. 2024) for the tree's shape",
    needs: Needs::DraftModel,
    sight: Sight::TEXT,
    nodes: 8,
    build,
};

fn build(Parts { ceilings, model, .. }: Parts<'_>) -> Result<Built, Error> {
    let missing = || Error::NoDraftModel { drafter: INFO.name };
    let DraftModel { model, heads, bridge } = model.ok_or_else(missing)?;
    let drafter = ModelDrafter::with_bridge(model, ceilings, bridge);
    let drafter = match heads {
        Some(heads) => {
            let trees = heads.unmeasured_trees();
            drafter.with_heads(heads.heads, trees)
        }
        None => drafter,
    };
    Ok(Built::new(drafter, ceilings.nodes))
}

/// Rows per pass while a prompt is read.
const PROMPT_ROWS: usize = 128;

/// Drafts with a model: that of the engine's options, or of one's own.
pub struct ModelDrafter {
    model: Box<dyn Target>,
    ceilings: Ceilings,
    bridge: Bridge,
    /// Heads of the model, where it has some.
    nested: Option<Nested>,
    sequences: HashMap<SequenceKey, State>,
}

/// One sequence in the draft's cache.
struct State {
    cache: SequenceId,
    /// The text as the draft reads it, where that is not as the target does.
    translation: Option<Translation>,
    /// Tokens committed to the draft's cache; drafted ones among them may turn out refused.
    fed: Vec<TokenId>,
    /// How many of them are known to be text.
    verified: usize,
    growth: Growth,
    confidence: Confidence,
    /// The tree of the last pass.
    work: DraftTree,
    /// Whether its rows are still uncommitted.
    pending: bool,
    item: Option<usize>,
    /// The rows of the last pass that are kept; a chain has grown by the last of them.
    path: Vec<NodeId>,
}

impl State {
    fn new(cache: SequenceId, ceilings: Ceilings, bridge: &Bridge) -> Self {
        Self {
            cache,
            translation: bridge.translation(),
            fed: Vec::new(),
            verified: 0,
            growth: Growth::new(ceilings, bridge.own_sampler()),
            confidence: Confidence::new(),
            work: DraftTree::single(0),
            pending: false,
            item: None,
            path: Vec::new(),
        }
    }

    /// Whether the sequence drafts in this step.
    fn drafts(&self) -> bool {
        self.growth.room().nodes > 0
    }

    /// Forgets what is no part of the text and begins a draft, if there is room for one.
    fn restart(&mut self, model: &mut dyn Target, bridge: &Bridge, task: &DraftTask) {
        bridge.read(task, &mut self.translation);
        let text = text(self.translation.as_ref(), task);
        // Positions past the draft's own context are not drafted.
        let depth = task.room.depth.min(model.context().saturating_sub(text.len()));
        let room = Room { nodes: task.room.nodes, depth };
        let Some((_, known)) = text.split_last().filter(|_| room.fits_a_node()) else {
            self.growth.rest();
            return;
        };
        let unchanged = self.translation.as_ref().map_or(usize::MAX, Translation::unchanged);
        let from = self.verified.min(self.fed.len()).min(known.len()).min(unchanged);
        let agree = shared_prefix(&self.fed[from..], &known[from..]);
        self.fed.truncate(from + agree);
        self.verified = self.fed.len();
        debug_assert!(
            known.starts_with(&self.fed),
            "the draft's cache holds the text as it reads it"
        );
        model.truncate(self.cache, self.fed.len());
        if let Some(translation) = &mut self.translation {
            translation.mark();
        }
        self.growth.restart(task, room);
        self.pending = false;
    }

    /// Commits the first `rows` rows of a chain that was just run.
    fn commit_chain(&mut self, model: &mut dyn Target, rows: usize) {
        self.path.clear();
        self.path.extend(0..rows);
        model.commit(self.cache, &self.path);
        self.fed.extend_from_slice(&self.work.tokens()[..rows]);
    }

    /// Adds what the next level needs to the batch.
    fn join(&mut self, model: &mut dyn Target, bridge: &Bridge, task: &DraftTask, level: usize) {
        let text = text(self.translation.as_ref(), task);
        let wants = match (level, self.growth.width()) {
            (0, _) => {
                let chain = self.work.set_chain(&text[self.fed.len()..]);
                debug_assert!(chain.is_ok(), "what is left of the prompt fits a chain");
                Wants::From(self.work.len() - 1)
            }
            // A chain was left with its next tip.
            (_, 1) => Wants::From(0),
            _ => {
                self.growth.freeze(&mut self.work);
                bridge.feed(text.last().copied().unwrap_or_default(), &mut self.work);
                self.pending = true;
                Wants::From(0)
            }
        };
        // A draft without room in its cache ends here; the target goes on without it.
        self.item = model.add(self.cache, &self.work, wants).ok();
        self.pending &= self.item.is_some();
    }

    /// Takes the rows of the last pass; returns whether another level follows.
    fn take(
        &mut self,
        model: &mut dyn Target,
        task: &mut DraftTask,
        level: usize,
        bridge: &mut Bridge,
    ) -> bool {
        let Some(item) = self.item else { return false };
        let first = if level == 0 { self.work.len() - 1 } else { 0 };
        if self.growth.width() == 1 {
            return self.take_chain(model, task, (item, first), bridge);
        }
        if level == 0 {
            self.commit_chain(model, first);
        }
        self.growth.grow(task, &self.confidence, &mut Rows { model, item, first, bridge })
    }

    /// Grows a chain by the row of its tip, and on by the rows of guesses below it that were right.
    fn take_chain(
        &mut self,
        model: &mut dyn Target,
        task: &mut DraftTask,
        (item, first): (usize, NodeId),
        bridge: &mut Bridge,
    ) -> bool {
        let Self { growth, work, path, .. } = self;
        path.clear();
        path.extend(0..=first);
        let mut at = first;
        let tip = loop {
            // The frontier of a chain is its tip.
            let mut rows = Rows { model, item, first: at, bridge };
            if !growth.grow(task, &self.confidence, &mut rows) {
                break None;
            }
            let Some(tip) = bridge.fed(growth.tip()) else { break None };
            let Some(right) = work.child_with_token(at, tip) else { break Some(tip) };
            path.push(right);
            at = right;
        };
        model.commit(self.cache, path);
        self.fed.extend(path.iter().map(|&node| work.token(node)));
        if let Some(tip) = tip {
            work.set_single(tip);
        }
        tip.is_some()
    }

    /// Writes the draft to send.
    fn finish(&mut self, bridge: &mut Bridge, task: &mut DraftTask) {
        if self.growth.drafts_own_tokens() {
            self.growth.finish(&mut self.work);
            bridge.send(&self.work, task);
        } else {
            self.growth.finish(&mut task.tree);
        }
    }

    /// Learns which drafted tokens were right.
    fn learn(&mut self, bridge: &Bridge, task: &DraftTask) {
        let Self { growth, confidence, translation, .. } = self;
        if !growth.drafts_own_tokens() {
            return growth.learn(task.accepted.tokens(), confidence);
        }
        let before = text(translation.as_ref(), task).len();
        bridge.read(task, translation);
        // Where the end of the text is spelled anew, nothing can be said about what was drafted behind it.
        if translation.as_ref().is_some_and(|known| known.unchanged() >= before) {
            growth.learn(&text(translation.as_ref(), task)[before..], confidence);
        }
    }

    /// Keeps the rows of the accepted path of a tree.
    fn keep_accepted(&mut self, model: &mut dyn Target, bridge: &Bridge, emitted: &[TokenId]) {
        if !std::mem::take(&mut self.pending) {
            return;
        }
        self.path.clear();
        self.path.push(0);
        self.fed.push(self.work.token(0));
        let mut at = 0;
        // The last token is the next root: it is fed again, even where the tree had grown it.
        for &token in &emitted[..emitted.len().saturating_sub(1)] {
            let Some(fed) = bridge.fed(token) else { break };
            let Some(child) = self.work.child_with_token(at, fed) else { break };
            self.path.push(child);
            self.fed.push(fed);
            at = child;
        }
        model.commit(self.cache, &self.path);
    }
}

impl ModelDrafter {
    /// A model for a target of `vocab` tokens, which must share their meaning; without a number of tokens,
    /// drafts have as many as [`DRAFTERS`](super::DRAFTERS) says.
    pub fn new(model: Box<dyn Target>, options: DraftOptions, vocab: usize) -> Self {
        Self::with_bridge(model, INFO.ceilings(options), Bridge::Same { vocab })
    }

    fn with_bridge(model: Box<dyn Target>, mut ceilings: Ceilings, bridge: Bridge) -> Self {
        // Paths of a tree would be texts that overlap.
        if let Bridge::Text(_) = bridge {
            ceilings.width = 1;
        }
        Self { model, ceilings, bridge, nested: None, sequences: HashMap::new() }
    }

    /// Takes fewer passes for the same chains, by heads of the model and those of their guesses that a pass
    /// reads along. Drafts of a width above 1, or of another vocabulary, do without them.
    #[must_use]
    pub fn with_heads(mut self, heads: Box<dyn Heads>, trees: MedusaTrees) -> Self {
        if let (1, &Bridge::Same { vocab }) = (self.ceilings.width, &self.bridge) {
            self.nested = Some(Nested::new(heads, trees, vocab));
        }
        self
    }

    /// Reads prompts into the draft's cache until each sequence lacks at most one pass's rows.
    fn read_prompts(&mut self, tasks: &[DraftTask]) {
        loop {
            self.model.start();
            let mut any = false;
            for task in tasks {
                let Some(state) = drafting(&mut self.sequences, task) else { continue };
                state.item = None;
                let missing = &text(state.translation.as_ref(), task)[state.fed.len()..];
                if missing.len() > PROMPT_ROWS
                    && state.work.set_chain(&missing[..PROMPT_ROWS]).is_ok()
                {
                    let added = self.model.add(state.cache, &state.work, Wants::Nothing);
                    state.item = added.ok();
                    any |= state.item.is_some();
                }
            }
            if !any {
                return;
            }
            self.model.forward();
            for task in tasks {
                let Some(state) = drafting(&mut self.sequences, task) else { continue };
                if state.item.take().is_some() {
                    state.commit_chain(self.model.as_mut(), PROMPT_ROWS);
                }
            }
        }
    }

    /// Runs one level of every growing draft; returns whether any grows on.
    fn run_level(&mut self, tasks: &mut [DraftTask], level: usize) -> bool {
        self.model.start();
        for task in tasks.iter() {
            let Some(state) = drafting(&mut self.sequences, task) else { continue };
            let growing = level == 0 || state.item.is_some();
            state.item = None;
            let missing =
                text(state.translation.as_ref(), task).len().saturating_sub(state.fed.len());
            // More is missing only where the prompt could not be read.
            if growing && missing <= PROMPT_ROWS {
                state.join(self.model.as_mut(), &self.bridge, task, level);
            }
        }
        self.model.forward();
        let mut any = false;
        for task in &mut *tasks {
            let Some(state) = drafting(&mut self.sequences, task) else { continue };
            if !state.take(self.model.as_mut(), task, level, &mut self.bridge) {
                state.item = None;
            }
            any |= state.item.is_some();
        }
        if let Some(nested) = self.nested.as_mut().filter(|_| any) {
            nested.hang(self.model.as_ref(), tasks, &mut self.sequences);
        }
        any
    }
}

impl Drafter for ModelDrafter {
    fn begin(&mut self, key: SequenceKey, _: &[TokenId]) {
        let Self { model, ceilings, bridge, sequences, .. } = self;
        let state =
            sequences.entry(key).or_insert_with(|| State::new(model.open(), *ceilings, bridge));
        state.verified = 0;
        if let Some(translation) = &mut state.translation {
            translation.clear();
        }
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks.iter() {
            if let Some(state) = self.sequences.get_mut(&task.key) {
                state.restart(self.model.as_mut(), &self.bridge, task);
            }
        }
        self.read_prompts(tasks);
        let mut level = 0;
        while self.run_level(tasks, level) {
            level += 1;
        }
        for task in tasks {
            if let Some(state) = drafting(&mut self.sequences, task) {
                state.finish(&mut self.bridge, task);
            }
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            let Some(state) = drafting(&mut self.sequences, task) else { continue };
            state.learn(&self.bridge, task);
            state.keep_accepted(self.model.as_mut(), &self.bridge, task.accepted.tokens());
        }
    }

    fn end(&mut self, key: SequenceKey) {
        if let Some(state) = self.sequences.remove(&key) {
            self.model.close(state.cache);
        }
    }
}

/// A task's text as the draft reads it.
fn text<'a>(translation: Option<&'a Translation>, task: &'a DraftTask) -> &'a [TokenId] {
    translation.map_or(&task.text, Translation::tokens)
}

/// The state of a sequence that drafts in this step.
fn drafting<'a>(
    sequences: &'a mut HashMap<SequenceKey, State>,
    task: &DraftTask,
) -> Option<&'a mut State> {
    sequences.get_mut(&task.key).filter(|state| state.drafts())
}
