//! The engine: requests in, tokens out, one pass of the target per step.
//!
//! [`Engine::step`] is the one generation loop. It plans every running sequence, lets the drafters
//! propose, runs the target once over all trees, and takes from each sequence what its rule accepts.
//! It knows no drafting method and decides no acceptance.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use foretoken_core::{Noise, Rule, Sampler, SamplingParams, SpecStats, TokenId, Verifier};
use foretoken_model::{Checkpoint, StopSearch, Target, Tokenizer};

use crate::drafters::{DraftTask, Drafter, Merged, SequenceKey, Sight};
use crate::sequence::{Progress, Sequence, StepTimes, Waiting};
use crate::session::{Kept, SessionId};
use crate::{CostCurve, Error, Event, Generation, Request, RequestId};

/// A target model, its drafters and the requests that run on them.
pub struct Engine {
    pub(crate) target: Box<dyn Target>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) drafters: Merged,
    pub(crate) drafter_name: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) draft_nodes: usize,
    pub(crate) sight: Sight,
    pub(crate) max_sequences: usize,
    pub(crate) cost: Option<CostCurve>,
    pub(crate) state: State,
}

/// The requests of an engine and the buffers of its steps.
#[derive(Default)]
pub(crate) struct State {
    waiting: VecDeque<Waiting>,
    running: Vec<Sequence>,
    /// What drafters see of the running sequences, in the same order.
    tasks: Vec<DraftTask>,
    sessions: HashMap<SessionId, Option<Kept>>,
    next: u64,
    verifier: Verifier,
}

impl Engine {
    /// Queues a request. Every mistake a request can make is found here.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, Error> {
        self.validate(&request)?;
        let seed = request.seed.unwrap_or_else(draw_seed);
        let noise = Noise { seed, choice: request.choice };
        let sampler = Sampler::new(request.sampling.clone(), noise, self.target.spec().vocab)?;
        let stop = StopSearch::new(&request.stop).map_err(|_| Error::EmptyStop)?;
        if let Some(session) = request.session {
            self.claim(session)?;
        }
        let id = RequestId(self.fresh());
        self.state.waiting.push_back(Waiting { id, request, sampler, stop });
        Ok(id)
    }

    fn validate(&self, request: &Request) -> Result<(), Error> {
        let context = self.target.context();
        self.check_text(&request.prompt)?;
        self.check_known(&request.prediction)?;
        if request.prompt.len() >= context {
            return Err(Error::PromptTooLong { tokens: request.prompt.len(), context });
        }
        if request.max_tokens == Some(0) {
            return Err(Error::NoTokens);
        }
        if let Some(forced) = &request.forced {
            self.check_forced(request, forced)?;
        }
        if let Rule::Typical { threshold, alpha } = request.rule
            && !(threshold > 0.0 && threshold <= 1.0 && alpha > 0.0 && alpha.is_finite())
        {
            let value = format!("{threshold} with {alpha}");
            let bound = "a threshold in (0, 1] and a positive alpha";
            return Err(Error::Option { option: "typical acceptance", value, bound });
        }
        Ok(())
    }

    /// Checks that a text can be forced and that all of it that is wanted fits behind the prompt.
    fn check_forced(&self, request: &Request, forced: &[TokenId]) -> Result<(), Error> {
        let (prompt, context) = (request.prompt.len(), self.target.context());
        let tokens = request.limit().unwrap_or(forced.len());
        if forced.is_empty() {
            return Err(Error::EmptyForcedText);
        }
        if request.rule != Rule::Coupled {
            return Err(Error::ForcedRule { rule: request.rule.name() });
        }
        if prompt + tokens > context {
            return Err(Error::ForcedTooLong { tokens, prompt, context });
        }
        self.check_known(forced)
    }

    /// Checks that a text has tokens and the model knows them.
    pub(crate) fn check_text(&self, tokens: &[TokenId]) -> Result<(), Error> {
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        self.check_known(tokens)
    }

    fn check_known(&self, tokens: &[TokenId]) -> Result<(), Error> {
        let vocab = self.target.spec().vocab;
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(&token) => Err(Error::TokenOutOfRange { token, vocab }),
            None => Ok(()),
        }
    }

    /// Marks a session as in use by a request.
    fn claim(&mut self, session: SessionId) -> Result<(), Error> {
        let busy = self.state.waiting.iter().any(|w| w.request.session == Some(session));
        match self.state.sessions.get(&session) {
            Some(Some(_)) if !busy => Ok(()),
            Some(_) => {
                Err(Error::Session { state: "generating", remedy: "wait for its end or cancel it" })
            }
            None => Err(Error::Session { state: "closed", remedy: "open another" }),
        }
    }

    /// Opens a conversation whose requests reuse what they share.
    pub fn open_session(&mut self) -> SessionId {
        let id = SessionId(self.fresh());
        let kept = Kept::new(self.target.open(), SequenceKey(self.fresh()));
        self.state.sessions.insert(id, Some(kept));
        id
    }

    /// Closes a conversation and frees its caches; a request of it that still runs is cancelled.
    pub fn close_session(&mut self, session: SessionId) {
        let running = self.state.running.iter().find(|s| s.session == Some(session));
        let waiting = self.state.waiting.iter().find(|w| w.request.session == Some(session));
        if let Some(id) = running.map(|s| s.id).or(waiting.map(|w| w.id)) {
            self.cancel(id);
        }
        if let Some(Some(kept)) = self.state.sessions.remove(&session) {
            self.free(&kept);
        }
    }

    /// Stops a request; no event of it follows. Unknown and finished requests are left alone.
    pub fn cancel(&mut self, id: RequestId) {
        self.state.waiting.retain(|waiting| waiting.id != id);
        if let Some(index) = self.state.running.iter().position(|sequence| sequence.id == id) {
            self.retire(index);
        }
    }

    /// Whether any request waits or runs.
    pub fn is_idle(&self) -> bool {
        self.state.waiting.is_empty() && self.state.running.is_empty()
    }

    /// What drafting has achieved so far for a request that runs; none for one that waits or is over.
    pub fn stats(&self, id: RequestId) -> Option<&SpecStats> {
        self.state.running.iter().find(|sequence| sequence.id == id).map(Sequence::stats)
    }

    /// Runs one pass of the target over every running request and appends what happened.
    pub fn step(&mut self, events: &mut Vec<Event>) {
        self.admit();
        if self.state.running.is_empty() {
            return;
        }
        let started = Instant::now();
        self.plan();
        self.propose();
        let draft = started.elapsed();
        self.feed(events);
        let fed = Instant::now();
        self.target.forward();
        let times = StepTimes { draft, verify: fed.elapsed() };
        self.advance(events, times, started);
    }

    fn admit(&mut self) {
        while self.state.running.len() < self.max_sequences {
            let Some(waiting) = self.state.waiting.pop_front() else { return };
            let session = waiting.request.session;
            let kept = session.and_then(|id| self.state.sessions.get_mut(&id)?.take());
            let mut kept = match kept {
                Some(kept) => kept,
                None => Kept::new(self.target.open(), SequenceKey(self.fresh())),
            };
            kept.rewind(self.target.as_mut(), &waiting.request.prompt);
            self.drafters.begin(kept.key, &waiting.request.prompt);
            let (sequence, task) = Sequence::new(waiting, kept, self.sight, &self.tokenizer);
            self.state.running.push(sequence);
            self.state.tasks.push(task);
        }
    }

    fn plan(&mut self) {
        let State { running, tasks, .. } = &mut self.state;
        for (sequence, task) in running.iter_mut().zip(tasks) {
            sequence.plan(self.target.as_ref(), task, self.draft_nodes);
        }
    }

    /// Lets the drafters fill the trees.
    fn propose(&mut self) {
        self.drafters.propose(&mut self.state.tasks);
        let (vocab, State { running, tasks, .. }) = (self.target.spec().vocab, &mut self.state);
        for (sequence, task) in running.iter().zip(tasks) {
            sequence.sift(task, vocab);
        }
    }

    /// Adds every sequence to the batch; one that is refused fails alone.
    fn feed(&mut self, events: &mut Vec<Event>) {
        self.target.start();
        let mut index = 0;
        while index < self.state.running.len() {
            let State { running, tasks, .. } = &mut self.state;
            match running[index].feed(self.target.as_mut(), &mut tasks[index]) {
                Ok(()) => index += 1,
                Err(error) => {
                    events.push(Event::Failed(running[index].id, error.into()));
                    self.retire(index);
                }
            }
        }
    }

    /// Takes each sequence's rows, then shows the drafters what became of their drafts.
    fn advance(&mut self, events: &mut Vec<Event>, times: StepTimes, started: Instant) {
        let State { running, tasks, verifier, .. } = &mut self.state;
        let eos = self.checkpoint.eos();
        let mut over = Vec::new();
        for (index, (sequence, task)) in running.iter_mut().zip(tasks.iter_mut()).enumerate() {
            let progress = sequence.advance(self.target.as_mut(), task, verifier, eos, events);
            sequence.spend(times, started.elapsed());
            match progress {
                Progress::Runs => {}
                Progress::Ended(reason) => {
                    sequence.complete(task, reason, events);
                    over.push(index);
                }
                Progress::Failed(error) => {
                    events.push(Event::Failed(sequence.id, error));
                    over.push(index);
                }
            }
        }
        self.drafters.observe(tasks);
        for index in over.into_iter().rev() {
            self.retire(index);
        }
    }

    /// Takes a sequence out; its session keeps what it holds, otherwise its caches are freed.
    fn retire(&mut self, index: usize) {
        let sequence = self.state.running.swap_remove(index);
        let task = self.state.tasks.swap_remove(index);
        let session = sequence.session;
        let kept = sequence.into_kept(task.text);
        match session.and_then(|session| self.state.sessions.get_mut(&session)) {
            Some(place) => *place = Some(kept),
            None => self.free(&kept),
        }
    }

    fn free(&mut self, kept: &Kept) {
        self.target.close(kept.target);
        self.drafters.end(kept.key);
    }

    fn fresh(&mut self) -> u64 {
        self.state.next += 1;
        self.state.next
    }

    /// Generates one request to its end, token by token; other requests run along.
    pub fn generate(&mut self, request: Request) -> Result<Generation<'_>, Error> {
        let id = self.submit(request)?;
        Ok(Generation::new(self, id))
    }

    /// The model's vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The target.
    pub fn target(&self) -> &dyn Target {
        self.target.as_ref()
    }

    /// What the target's files say.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The sampling parameters that the model's authors recommend; greedy unless they ask for sampling.
    /// They are taken from a file as they are: a request with values out of range is refused.
    pub fn default_sampling(&self) -> SamplingParams {
        let (stored, plain) = (self.checkpoint.generation_defaults(), SamplingParams::default());
        let sampled = stored.do_sample == Some(true);
        let top_k = stored.top_k.filter(|&k| k > 0);
        SamplingParams {
            temperature: if sampled { stored.temperature.unwrap_or(1.0) } else { 0.0 },
            top_k: top_k.map(|k| u32::try_from(k).unwrap_or(u32::MAX)),
            top_p: stored.top_p.unwrap_or(plain.top_p),
            min_p: stored.min_p.unwrap_or(plain.min_p),
            repetition_penalty: stored.repetition_penalty.unwrap_or(plain.repetition_penalty),
            ..plain
        }
    }

    /// What was ignored while the models were opened, each with its model's name.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Name of the drafting method, as chosen.
    pub fn drafter(&self) -> &str {
        &self.drafter_name
    }

    /// What a pass of the target costs, if [`EngineOptions::cost`](crate::EngineOptions::cost) asked for
    /// it.
    pub fn cost_curve(&self) -> Option<&CostCurve> {
        self.cost.as_ref()
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

/// A seed nobody chose.
fn draw_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    hasher.write_u128(since.as_nanos());
    // Seeds travel through JSON, whose numbers are exact up to 2^53 in most readers.
    hasher.finish() >> 11
}
