//! `model`: a smaller model of the same vocabulary drafts (Leviathan et al. 2023, Chen et al. 2023).
//!
//! The draft runs through the same seam as the target: a tree hung on committed positions. A chain
//! (`width` 1) commits each drafted token and rewinds what the target refused; a tree is fed again
//! whole at every level, since many rows cost a small model little more than one, and keeps the
//! rows of the accepted path. Both learn how far the draft may be trusted (`confidence`). Chains can take
//! several tokens per pass where the draft has Medusa heads of its own (`nested`).

mod growth;
mod nested;

use std::collections::HashMap;

use foretoken_core::{DraftTree, NodeId, TokenId};
use foretoken_model::{Heads, SequenceId, Target, Wants};

use self::growth::Growth;
use self::nested::Nested;
use super::confidence::Confidence;
use super::{
    Built, Ceilings, DraftModel, DraftTask, Drafter, DrafterInfo, MedusaTrees, Needs, Parts, Room,
    SequenceKey, Sight,
};
use crate::{DraftOptions, Error};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "model",
    summary: "a smaller model of the same vocabulary drafts a chain or a tree",
    source: "Leviathan et al. 2023; Chen et al. 2023; EAGLE-2 (Li et al. 2024) for the tree's shape",
    needs: Needs::DraftModel,
    sight: Sight::TEXT,
    nodes: 8,
    build,
};

fn build(Parts { ceilings, model, vocab, .. }: Parts<'_>) -> Result<Built, Error> {
    let missing = || Error::NoDraftModel { drafter: INFO.name };
    let DraftModel { model, heads } = model.ok_or_else(missing)?;
    let drafter = ModelDrafter::with_ceilings(model, ceilings, vocab);
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
    /// Tokens of the target; the draft's rows are cut to them.
    vocab: usize,
    /// Heads of the model, where it has some.
    nested: Option<Nested>,
    sequences: HashMap<SequenceKey, State>,
}

/// One sequence in the draft's cache.
struct State {
    cache: SequenceId,
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
    fn new(cache: SequenceId, ceilings: Ceilings) -> Self {
        Self {
            cache,
            fed: Vec::new(),
            verified: 0,
            growth: Growth::new(ceilings),
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
    fn restart(&mut self, model: &mut dyn Target, task: &DraftTask) {
        // Positions past the draft's own context are not drafted.
        let depth = task.room.depth.min(model.context().saturating_sub(task.text.len()));
        let room = Room { nodes: task.room.nodes, depth };
        let Some((_, known)) = task.text.split_last().filter(|_| room.fits_a_node()) else {
            self.growth.rest();
            return;
        };
        let from = self.verified.min(self.fed.len());
        let agree = self.fed[from..].iter().zip(&known[from..]).take_while(|(a, b)| a == b).count();
        self.fed.truncate(from + agree);
        self.verified = self.fed.len();
        model.truncate(self.cache, self.fed.len());
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
    fn join(&mut self, model: &mut dyn Target, task: &DraftTask, level: usize) {
        let wants = match (level, self.growth.width()) {
            (0, _) => {
                let chain = self.work.set_chain(&task.text[self.fed.len()..]);
                debug_assert!(chain.is_ok(), "what is left of the prompt fits a chain");
                Wants::From(self.work.len() - 1)
            }
            // A chain was left with its next tip.
            (_, 1) => Wants::From(0),
            _ => {
                self.growth.freeze(&mut self.work);
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
        vocab: usize,
    ) -> bool {
        let Some(item) = self.item else { return false };
        let first = if level == 0 { self.work.len() - 1 } else { 0 };
        if self.growth.width() == 1 {
            return self.take_chain(model, task, (item, first), vocab);
        }
        if level == 0 {
            self.commit_chain(model, first);
        }
        let row = |node| cut(model.logits(item, first + node), vocab);
        self.growth.grow(task, &self.confidence, row)
    }

    /// Grows a chain by the row of its tip, and on by the rows of guesses below it that were right.
    fn take_chain(
        &mut self,
        model: &mut dyn Target,
        task: &mut DraftTask,
        (item, first): (usize, NodeId),
        vocab: usize,
    ) -> bool {
        let Self { growth, work, path, .. } = self;
        path.clear();
        path.extend(0..=first);
        let mut at = first;
        let grows = loop {
            let row = |_| cut(model.logits(item, at), vocab);
            if !growth.grow(task, &self.confidence, row) {
                break false;
            }
            let Some(right) = work.child_with_token(at, growth.tip()) else { break true };
            path.push(right);
            at = right;
        };
        model.commit(self.cache, path);
        self.fed.extend(path.iter().map(|&node| work.token(node)));
        if grows {
            work.set_single(growth.tip());
        }
        grows
    }

    /// Keeps the rows of the accepted path of a tree.
    fn keep_accepted(&mut self, model: &mut dyn Target, emitted: &[TokenId]) {
        if !std::mem::take(&mut self.pending) {
            return;
        }
        self.path.clear();
        self.path.push(0);
        self.fed.push(self.work.token(0));
        let mut at = 0;
        // The last token is the next root: it is fed again, even where the tree had grown it.
        for &token in &emitted[..emitted.len().saturating_sub(1)] {
            let Some(child) = self.work.child_with_token(at, token) else { break };
            self.path.push(child);
            self.fed.push(token);
            at = child;
        }
        model.commit(self.cache, &self.path);
        self.verified = self.fed.len();
    }
}

impl ModelDrafter {
    /// A model for a target of `vocab` tokens, which must share their meaning; without a number of tokens,
    /// drafts have as many as [`DRAFTERS`](super::DRAFTERS) says.
    pub fn new(model: Box<dyn Target>, options: DraftOptions, vocab: usize) -> Self {
        Self::with_ceilings(model, INFO.ceilings(options), vocab)
    }

    fn with_ceilings(model: Box<dyn Target>, ceilings: Ceilings, vocab: usize) -> Self {
        Self { model, ceilings, vocab, nested: None, sequences: HashMap::new() }
    }

    /// Takes fewer passes for the same chains, by heads of the model and those of their guesses that a pass
    /// reads along. Drafts of a width above 1 do without them.
    #[must_use]
    pub fn with_heads(mut self, heads: Box<dyn Heads>, trees: MedusaTrees) -> Self {
        let chains = self.ceilings.width == 1;
        self.nested = chains.then(|| Nested::new(heads, trees, self.vocab));
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
                let missing = &task.text[state.fed.len()..];
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
            // More is missing only where the prompt could not be read.
            if growing && task.text.len().saturating_sub(state.fed.len()) <= PROMPT_ROWS {
                state.join(self.model.as_mut(), task, level);
            }
        }
        self.model.forward();
        let mut any = false;
        for task in &mut *tasks {
            let Some(state) = drafting(&mut self.sequences, task) else { continue };
            if !state.take(self.model.as_mut(), task, level, self.vocab) {
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
        let Self { model, ceilings, sequences, .. } = self;
        let state = sequences.entry(key).or_insert_with(|| State::new(model.open(), *ceilings));
        state.verified = 0;
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        for task in tasks.iter() {
            if let Some(state) = self.sequences.get_mut(&task.key) {
                state.restart(self.model.as_mut(), task);
            }
        }
        self.read_prompts(tasks);
        let mut level = 0;
        while self.run_level(tasks, level) {
            level += 1;
        }
        for task in tasks {
            if let Some(state) = drafting(&mut self.sequences, task) {
                state.growth.finish(&mut task.tree);
            }
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        for task in tasks {
            let Some(state) = drafting(&mut self.sequences, task) else { continue };
            state.growth.learn(task.accepted.tokens(), &mut state.confidence);
            state.keep_accepted(self.model.as_mut(), task.accepted.tokens());
        }
    }

    fn end(&mut self, key: SequenceKey) {
        if let Some(state) = self.sequences.remove(&key) {
            self.model.close(state.cache);
        }
    }
}

/// A row without the tokens that the target lacks.
fn cut(row: &[f32], vocab: usize) -> &[f32] {
    &row[..row.len().min(vocab)]
}

/// The state of a sequence that drafts in this step.
fn drafting<'a>(
    sequences: &'a mut HashMap<SequenceKey, State>,
    task: &DraftTask,
) -> Option<&'a mut State> {
    sequences.get_mut(&task.key).filter(|state| state.drafts())
}
