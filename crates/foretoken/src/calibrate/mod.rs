//! How often Medusa heads are right, measured on text that their model writes.
//!
//! The target decodes prompts undrafted. At every token the heads guess what follows, ranked as a draft
//! would be, and once the text has gone on the ranks of the right tokens are counted, per depth and for whole
//! paths, at the positions where steps of drafting would begin. Text that loops would flatter the heads, so a
//! text ends where it begins to loop.

mod tally;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foretoken_core::{PathCounts, SamplingParams, TokenId};
use foretoken_model::{Heads, MedusaCalibration};

use self::tally::Tally;
use crate::builder::Opened;
use crate::drafters::{DraftTask, Drafter, Lists, Merged, Needs, SequenceKey, Sight};
use crate::looping::LoopWatch;
use crate::{Engine, EngineOptions, Error, Event, MedusaOptions, Request, RequestId};

/// What heads are measured on.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationOptions {
    /// Tokens of each prompt.
    pub prompts: Vec<Vec<TokenId>>,
    /// What the prompts are, such as the name of their set.
    pub text: String,
    /// Temperatures, each measured by itself.
    pub temperatures: Vec<f64>,
    /// Most tokens written per prompt and temperature.
    pub tokens: usize,
    /// Seed of the first prompt's text; each further prompt has the next.
    pub seed: u64,
}

/// How far a calibration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalibrationProgress {
    /// Texts written.
    pub done: usize,
    /// Texts to write: one per prompt and temperature.
    pub total: usize,
    /// Positions measured, of all temperatures.
    pub positions: u64,
}

/// Loads the target and the heads of `engine` and measures them on all their tokens; how the engine would
/// draft is ignored. As many texts are written at a time as [`EngineOptions::max_sequences`] says.
pub fn calibrate_medusa(
    engine: &EngineOptions,
    options: &CalibrationOptions,
    progress: &mut dyn FnMut(CalibrationProgress),
) -> Result<MedusaCalibration, Error> {
    let medusa = MedusaOptions { heads: engine.medusa.heads.clone(), ..MedusaOptions::default() };
    let engine = &EngineOptions { medusa, ..engine.clone() };
    engine.validate()?;
    let mut opened = Opened::open(engine, &[Needs::MedusaHeads], &mut |_, _| {})?;
    let missing = || Error::NoMedusaHeads { drafter: "medusa" };
    let heads = opened.heads.take().ok_or_else(missing)?.heads;
    let (count, tally) = (heads.count(), Arc::new(Mutex::new(Tally::default())));
    let mut engine = opened.engine(engine).with_sight(Sight::HIDDEN);
    let recorder = Recorder::new(heads, engine.target.spec().vocab, Arc::clone(&tally));
    engine.drafters = Merged::new(vec![Box::new(recorder)]);
    let total = options.temperatures.len() * options.prompts.len();
    let mut run =
        Run { engine, progress, seen: CalibrationProgress { done: 0, total, positions: 0 } };
    let mut frequencies = BTreeMap::new();
    let mut measurements = Vec::new();
    for &temperature in &options.temperatures {
        *lock(&tally) = Tally::default();
        run.write(options, temperature, &tally, &mut frequencies)?;
        let measurement = lock(&tally).measurement(count, temperature);
        measurements.push(measurement.ok_or(Error::Unmeasured { temperature, heads: count })?);
    }
    let mut frequent: Vec<(TokenId, u64)> = frequencies.into_iter().collect();
    frequent.sort_by_key(|&(_, times)| std::cmp::Reverse(times));
    Ok(MedusaCalibration {
        model: run.engine.checkpoint.name().to_owned(),
        text: options.text.clone(),
        measurements,
        frequent: frequent.into_iter().map(|(token, _)| token).collect(),
    })
}

/// A poisoned tally belongs to a thread that is gone with the engine.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An engine that writes texts.
struct Run<'a> {
    engine: Engine,
    progress: &'a mut dyn FnMut(CalibrationProgress),
    seen: CalibrationProgress,
}

impl Run<'_> {
    /// Writes a text per prompt, counting its tokens.
    fn write(
        &mut self,
        options: &CalibrationOptions,
        temperature: f64,
        tally: &Mutex<Tally>,
        frequencies: &mut BTreeMap<TokenId, u64>,
    ) -> Result<(), Error> {
        let before = self.seen.positions;
        let mut texts: HashMap<RequestId, LoopWatch> = HashMap::new();
        for (prompt, seed) in options.prompts.iter().zip(options.seed..) {
            let mut request = Request::new(prompt.clone());
            request.sampling = SamplingParams { temperature, ..SamplingParams::default() };
            request.seed = Some(seed);
            request.max_tokens = Some(options.tokens);
            texts.insert(self.engine.submit(request)?, LoopWatch::default());
        }
        let mut events = Vec::new();
        while !self.engine.is_idle() {
            self.engine.step(&mut events);
            for event in events.drain(..) {
                let id = event.request();
                let ended = match event {
                    Event::Token(_, token) => {
                        *frequencies.entry(token.id).or_default() += 1;
                        let loops = texts.get_mut(&id).is_some_and(|text| text.push(token.id));
                        if loops {
                            self.engine.cancel(id);
                        }
                        loops
                    }
                    Event::Finished(..) => true,
                    Event::Failed(_, error) => return Err(error),
                };
                if ended && texts.remove(&id).is_some() {
                    self.seen.done += 1;
                    self.seen.positions = before + lock(tally).positions();
                    (self.progress)(self.seen);
                }
            }
        }
        Ok(())
    }
}

/// What the heads guessed at a position of a text.
struct Guesses {
    /// Index of the first token guessed.
    position: usize,
    /// By depth, the guesses in order.
    ranked: Vec<Vec<TokenId>>,
}

/// A text that is being written.
struct Open {
    /// Its number in the tally.
    text: usize,
    /// Guesses about tokens that are not all written yet.
    guesses: VecDeque<Guesses>,
}

/// Proposes nothing and counts which guesses were right.
struct Recorder {
    heads: Box<dyn Heads>,
    lists: Lists,
    lengths: Vec<usize>,
    open: HashMap<SequenceKey, Open>,
    tally: Arc<Mutex<Tally>>,
}

impl Recorder {
    fn new(heads: Box<dyn Heads>, vocab: usize, tally: Arc<Mutex<Tally>>) -> Self {
        let lengths = vec![PathCounts::RANKS; heads.count()];
        Self { heads, lists: Lists::new(vocab), lengths, open: HashMap::new(), tally }
    }
}

impl Drafter for Recorder {
    fn begin(&mut self, key: SequenceKey, _: &[TokenId]) {
        let text = lock(&self.tally).begin();
        self.open.insert(key, Open { text, guesses: VecDeque::new() });
    }

    fn propose(&mut self, tasks: &mut [DraftTask]) {
        self.heads.start();
        let known = |task: &&mut DraftTask| !task.hidden.is_empty();
        for task in tasks.iter_mut().filter(known) {
            self.heads.add(&task.hidden);
        }
        self.heads.forward();
        for (row, task) in tasks.iter_mut().filter(known).enumerate() {
            let Some(open) = self.open.get_mut(&task.key) else { continue };
            self.lists.rank((self.heads.as_ref(), row), task, &[], &self.lengths);
            let ranked = (1..=self.lengths.len() as u32).map(|depth| self.lists.tokens(depth));
            open.guesses.push_back(Guesses { position: task.text.len(), ranked: ranked.collect() });
        }
    }

    fn observe(&mut self, tasks: &[DraftTask]) {
        let mut tally = lock(&self.tally);
        for task in tasks {
            let Some(open) = self.open.get_mut(&task.key) else { continue };
            let written =
                |guesses: &mut Guesses| guesses.position + guesses.ranked.len() <= task.text.len();
            while let Some(Guesses { position, ranked }) = open.guesses.pop_front_if(written) {
                tally.add(open.text, &ranked, &task.text[position..]);
            }
        }
    }

    fn end(&mut self, key: SequenceKey) {
        self.open.remove(&key);
    }
}
