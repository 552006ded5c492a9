//! `model`: a smaller model of the same vocabulary drafts (Leviathan et al. 2023, Chen et al. 2023).
//!
//! The draft runs through the same seam as the target: a tree hung on committed positions. A chain
//! (`width` 1) commits each drafted token and rewinds what the target refused; a tree is fed again
//! whole at every level, since many rows cost a small model little more than one, and keeps the
//! rows of the accepted path. Both learn how far the draft may be trusted (`confidence`).

mod growth;

use std::collections::HashMap;

use foretoken_core::{DraftTree, NodeId, TokenId};
use foretoken_model::{SequenceId, Target, Wants};

use self::growth::Growth;
use super::confidence::Confidence;
use super::{Ceilings, DraftTask, Drafter, DrafterInfo, Needs, Parts, Room, SequenceKey, Sight};
use crate::Error;

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "model",
    summary: "a smaller model of the same vocabulary drafts a chain or a tree",
    source: "Leviathan et al. 2023; Chen et al. 2023; EAGLE-2 (Li et al. 2024) for the tree's shape",
    needs: Needs::DraftModel,
    sight: Sight::Text,
    nodes: 8,
    chosen: |_| None,
    build: |Parts { ceilings, model, vocab, .. }| {
        let model = model.ok_or(Error::NoDraftModel { drafter: "model" })?;
        Ok(Box::new(ModelDrafter { model, ceilings, vocab, sequences: HashMap::new() }))
    },
};

/// Rows per pass while a prompt is read.
const PROMPT_ROWS: usize = 128;

struct ModelDrafter {
    model: Box<dyn Target>,
    ceilings: Ceilings,
    /// Tokens of the target; the draft's rows are cut to them.
    vocab: usize,
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
            (_, 1) => {
                self.work.set_single(self.growth.tip());
                Wants::From(0)
            }
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
        let (last, width) = (self.work.len() - 1, self.growth.width());
        if width == 1 {
            self.commit_chain(model, last + 1);
        } else if level == 0 {
            self.commit_chain(model, last);
        }
        let tip = level == 0 || width == 1;
        let row = |node| {
            let row = model.logits(item, if tip { last } else { node });
            &row[..row.len().min(vocab)]
        };
        self.growth.grow(task, &self.confidence, row)
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
        for task in tasks {
            let Some(state) = drafting(&mut self.sequences, task) else { continue };
            if !state.take(self.model.as_mut(), task, level, self.vocab) {
                state.item = None;
            }
            any |= state.item.is_some();
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
        while level < self.ceilings.nodes && self.run_level(tasks, level) {
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

/// The state of a sequence that drafts in this step.
fn drafting<'a>(
    sequences: &'a mut HashMap<SequenceKey, State>,
    task: &DraftTask,
) -> Option<&'a mut State> {
    sequences.get_mut(&task.key).filter(|state| state.drafts())
}
