//! One request while it runs: feeding its tokens, taking what a pass emits, finding its end.

use std::time::Duration;

use foretoken_core::{
    DraftTree, MAX_NODES, NodeId, Rows, Sampler, SpecStats, Step, TokenId, Verifier, follow,
};
use foretoken_model::{ForwardError, StopSearch, Target, TextStream, Tokenizer, Wants};

use crate::drafters::{DraftTask, Room, Sight};
use crate::session::Kept;
use crate::{
    Completion, Drafting, EndOfText, Error, Event, FinishReason, Origin, Request, RequestId,
    SessionId, Token,
};

/// Prompt rows a sequence feeds per pass.
const PROMPT_ROWS: usize = 128;

/// What the engine keeps of a running request besides its [`DraftTask`].
pub(crate) struct Sequence {
    pub(crate) id: RequestId,
    pub(crate) session: Option<SessionId>,
    pub(crate) kept: Kept,
    prompt_tokens: usize,
    max_tokens: usize,
    end_of_text: EndOfText,
    drafting: Drafting,
    /// What is emitted whatever the target says.
    forced: Option<Vec<TokenId>>,
    sight: Sight,
    seed: u64,
    /// Tokens of the fed tree that precede the draft's root.
    stem: usize,
    /// Index in the text of the draft's root.
    root: usize,
    fed: DraftTree,
    item: Option<usize>,
    path: Vec<NodeId>,
    stats: SpecStats,
    stream: TextStream,
    stop: StopSearch,
    text: String,
    emits: bool,
}

/// The rows of one sequence's draft in the target's last pass.
struct DraftRows<'a> {
    target: &'a dyn Target,
    item: usize,
    stem: usize,
}

impl Rows for DraftRows<'_> {
    fn row(&self, node: NodeId) -> &[f32] {
        self.target.logits(self.item, self.stem + node)
    }
}

/// How long the parts of a step took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepTimes {
    pub(crate) draft: Duration,
    pub(crate) verify: Duration,
}

/// Whether a sequence goes on.
pub(crate) enum Progress {
    Runs,
    Ended(FinishReason),
    Failed(Error),
}

/// A request that has been checked and waits for its turn.
pub(crate) struct Waiting {
    pub(crate) id: RequestId,
    pub(crate) request: Request,
    pub(crate) sampler: Sampler,
    pub(crate) stop: StopSearch,
}

impl Sequence {
    /// Starts a request; what `kept` holds in the target's cache is a prefix of its prompt.
    pub(crate) fn new(
        waiting: Waiting,
        kept: Kept,
        sight: Sight,
        tokenizer: &Tokenizer,
    ) -> (Self, DraftTask) {
        let Waiting { id, request, mut sampler, stop } = waiting;
        kept.remember(&request.prompt, &mut sampler);
        let key = kept.key;
        let sequence = Self {
            id,
            session: request.session,
            kept,
            prompt_tokens: request.prompt.len(),
            max_tokens: request.limit().unwrap_or(usize::MAX),
            end_of_text: request.end_of_text,
            drafting: request.drafting,
            forced: request.forced,
            sight,
            seed: sampler.noise().seed,
            stem: 0,
            root: 0,
            fed: DraftTree::single(0),
            item: None,
            path: Vec::new(),
            stats: SpecStats::default(),
            stream: tokenizer.stream_after(&request.prompt),
            stop,
            text: String::new(),
            emits: false,
        };
        let task = DraftTask {
            prediction: request.prediction,
            ..DraftTask::new(key, request.prompt, sampler, request.rule)
        };
        (sequence, task)
    }

    /// Decides what the next pass is about: a chunk of the prompt, or a step with room to draft.
    pub(crate) fn plan(&mut self, target: &dyn Target, task: &mut DraftTask, nodes: usize) {
        let missing = task.text.len() - target.committed(self.kept.target);
        self.emits = missing <= PROMPT_ROWS;
        self.stem = missing.min(PROMPT_ROWS) - 1;
        let generated = task.text.len() - self.prompt_tokens;
        let left = (self.max_tokens - generated).min(target.context() - task.text.len());
        task.room = match self.drafting {
            Drafting::On if self.emits => {
                Room { nodes: nodes.min(MAX_NODES - 1 - self.stem), depth: left - 1 }
            }
            _ => Room::default(),
        };
        self.root = task.text.len() - missing + self.stem;
        task.tree.set_single(task.text[self.root]);
    }

    /// Leaves only the root of a draft that has another root, leaves its room, or names tokens
    /// beyond `vocab`: a defect of its drafter, which must cost neither the text nor the request.
    pub(crate) fn sift(&self, task: &mut DraftTask, vocab: usize) {
        let (tree, root) = (&task.tree, task.text[self.root]);
        let sound = tree.token(0) == root
            && tree.len() <= task.room.nodes + 1
            && tree.depths().iter().all(|&depth| depth as usize <= task.room.depth)
            && tree.tokens().iter().all(|&token| (token as usize) < vocab);
        if !sound {
            task.tree.set_single(root);
        }
    }

    /// Adds the sequence's rows to the target's batch, without the draft where there is no place for
    /// it: a text must not fail because it is drafted.
    pub(crate) fn feed(
        &mut self,
        target: &mut dyn Target,
        task: &mut DraftTask,
    ) -> Result<(), ForwardError> {
        self.item = None;
        let added = self.add(target, task);
        self.item = Some(match added {
            Err(_) if task.tree.len() > 1 => {
                task.tree.set_single(task.tree.token(0));
                self.add(target, task)?
            }
            added => added?,
        });
        Ok(())
    }

    fn add(&mut self, target: &mut dyn Target, task: &DraftTask) -> Result<usize, ForwardError> {
        let stem = &task.text[self.root - self.stem..self.root];
        let fits = self.fed.set_below(stem, &task.tree);
        assert!(fits.is_ok(), "a draft in its room fits a tree below the stem");
        let wants = if self.emits { Wants::From(self.stem) } else { Wants::Nothing };
        target.add(self.kept.target, &self.fed, wants)
    }

    /// Takes the rows of a pass: verifies the draft, ends the text where it ends, commits the path.
    pub(crate) fn advance(
        &mut self,
        target: &mut dyn Target,
        task: &mut DraftTask,
        verifier: &mut Verifier,
        eos: &[TokenId],
        events: &mut Vec<Event>,
    ) -> Progress {
        task.choices.clear();
        let Some(item) = self.item.take() else { return Progress::Runs };
        if !self.emits {
            self.path.clear();
            self.path.extend(0..self.fed.len());
            target.commit(self.kept.target, &self.path);
            return Progress::Runs;
        }
        let rows = DraftRows { target, item, stem: self.stem };
        let position = task.position();
        let step = Step { tree: &task.tree, rows: &rows, position, index: task.step };
        match &self.forced {
            Some(text) => {
                let left = &text[task.text.len() - self.prompt_tokens..];
                follow(&task.tree, left, &mut task.accepted);
            }
            None => verifier.verify(task.rule, &step, &mut task.sampler, &mut task.accepted),
        }
        if task.room.fits_a_node() {
            task.choices.read(self.sight, &step, task.rule, &mut task.sampler);
        }
        let mut end = None;
        for index in 0..task.accepted.tokens().len() {
            end = self.emit(task, index, eos, target.context(), events);
            if end.is_some() {
                task.accepted.truncate(index + 1);
                break;
            }
        }
        self.path.clear();
        self.path.extend((0..self.stem).chain(task.accepted.path().iter().map(|n| n + self.stem)));
        if let Some(&last) = self.path.last().filter(|_| self.sight.shows_hidden()) {
            task.hidden.clear();
            task.hidden.extend_from_slice(target.hidden(item, last));
        }
        target.commit(self.kept.target, &self.path);
        self.stats.record(&task.tree, &task.accepted);
        task.step += 1;
        match (end, task.accepted.failure()) {
            (Some(reason), _) => Progress::Ended(reason),
            (None, Some(reason)) => {
                Progress::Failed(Error::Sample { position: task.text.len(), reason })
            }
            (None, None) => Progress::Runs,
        }
    }

    /// Emits one token and says whether the text ends with it.
    fn emit(
        &mut self,
        task: &mut DraftTask,
        index: usize,
        eos: &[TokenId],
        context: usize,
        events: &mut Vec<Event>,
    ) -> Option<FinishReason> {
        let id = task.accepted.tokens()[index];
        let drafted = index < task.accepted.drafted();
        task.text.push(id);
        task.sampler.commit(id);
        let ends = self.end_of_text == EndOfText::Ends && eos.contains(&id);
        // An ending token is no text, unless its text completes a stop string.
        let silent = ends && self.stop.clone().push(self.stream.clone().push(id)).found.is_none();
        let (text, stopped) = if silent {
            (String::new(), false)
        } else {
            let shown = self.stop.push(self.stream.push(id));
            (shown.text.to_owned(), shown.found.is_some())
        };
        self.text.push_str(&text);
        let origin = if drafted { Origin::Drafted } else { Origin::Target };
        events.push(Event::Token(self.id, Token { id, text, origin }));
        if stopped {
            Some(FinishReason::Stop)
        } else if ends {
            Some(FinishReason::Eos)
        } else if task.text.len() - self.prompt_tokens >= self.max_tokens
            || task.text.len() >= context
        {
            Some(FinishReason::Length)
        } else {
            None
        }
    }

    /// What drafting has achieved so far.
    pub(crate) fn stats(&self) -> &SpecStats {
        &self.stats
    }

    /// Adds a step's times; the first step's are the prompt's.
    pub(crate) fn spend(&mut self, times: StepTimes, whole: Duration) {
        if self.stats.steps <= 1 {
            self.stats.prefill_time += whole;
        } else {
            self.stats.decode_time += whole;
            self.stats.draft_time += times.draft;
            self.stats.verify_time += times.verify;
        }
    }

    /// The finished completion, with what a stop string could still have taken back.
    pub(crate) fn complete(
        &mut self,
        task: &DraftTask,
        reason: FinishReason,
        events: &mut Vec<Event>,
    ) {
        if reason != FinishReason::Stop {
            let mut rest = self.stop.push(self.stream.finish()).text.to_owned();
            rest.push_str(self.stop.finish());
            if !rest.is_empty() {
                self.text.push_str(&rest);
                // The step that ended the text has just pushed its last token.
                if let Some(Event::Token(_, token)) = events.last_mut() {
                    token.text.push_str(&rest);
                }
            }
        }
        let completion = Completion {
            tokens: task.text[self.prompt_tokens..].to_vec(),
            text: std::mem::take(&mut self.text),
            prompt_tokens: self.prompt_tokens,
            finish_reason: reason,
            seed: self.seed,
            stats: std::mem::take(&mut self.stats),
        };
        events.push(Event::Finished(self.id, completion));
    }

    /// What a session keeps of the sequence.
    pub(crate) fn into_kept(mut self, text: Vec<TokenId>) -> Kept {
        self.kept.outputs.push(self.prompt_tokens..text.len());
        self.kept.text = text;
        self.kept
    }
}
