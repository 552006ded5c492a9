//! Runs of prompts, taken in turns by everybody who is compared, and what they add up to.

use std::num::NonZeroUsize;
use std::time::Duration;

use foretoken::{
    Completion, Drafting, Engine, Error as EngineError, Event, Request, Rule, SpecStats, TokenId,
    loop_free_len,
};

use crate::agreement;
use crate::error::Error;

/// Tokens of the runs that warm caches and threads up.
const WARM_UP: usize = 16;

/// Name of plain decoding, in the registry of drafters as well.
const PLAIN: &str = "none";

/// Who takes turns: plain decoding first, then the drafter of each engine.
pub(super) struct Contest {
    /// At least one; plain decoding runs on the first.
    engines: Vec<Engine>,
    contestants: Vec<Contestant>,
    rounds: usize,
}

struct Contestant {
    name: String,
    engine: usize,
    drafting: Drafting,
}

/// One text and what making it took.
pub(super) struct Run {
    tokens: Vec<TokenId>,
    seed: u64,
    /// All of its passes.
    pub(super) whole: SpecStats,
    /// The passes that end before the text loops.
    pub(super) loop_free: SpecStats,
    /// Whether it loops.
    pub(super) loops: bool,
}

impl Contest {
    /// A contest between plain decoding and the drafters of `engines`, of which there is at least one.
    pub(super) fn new(engines: Vec<Engine>, rounds: NonZeroUsize) -> Self {
        let plain = Contestant { name: PLAIN.to_owned(), engine: 0, drafting: Drafting::Off };
        let drafting = |(engine, loaded): (usize, &Engine)| {
            let name = loaded.drafter().to_owned();
            (name != PLAIN).then_some(Contestant { name, engine, drafting: Drafting::On })
        };
        let others = engines.iter().enumerate().filter_map(drafting);
        let contestants = [plain].into_iter().chain(others).collect();
        Self { engines, contestants, rounds: rounds.get() }
    }

    /// The engine of plain decoding.
    pub(super) fn plain(&mut self) -> &mut Engine {
        &mut self.engines[0]
    }

    /// The contestants in their order.
    pub(super) fn names(&self) -> Vec<String> {
        self.contestants.iter().map(|contestant| contestant.name.clone()).collect()
    }

    /// Lets everybody write some tokens that are not counted. Returns their seed, drawn where the
    /// request has none.
    pub(super) fn warm_up(&mut self, request: &Request) -> Result<u64, EngineError> {
        let max_tokens = request.max_tokens.map(|tokens| tokens.min(WARM_UP));
        let mut seed = request.seed;
        for who in 0..self.contestants.len() {
            let run = self.run(who, Request { max_tokens, seed, ..request.clone() })?;
            seed = Some(run.seed);
        }
        Ok(seed.unwrap_or_default())
    }

    /// What each contestant takes for a request: of its rounds the one with the median time of
    /// decoding. The order changes from round to round, so that nobody always runs first; plain decoding
    /// opens the first one, and under `coupled` every other text is compared with its text.
    pub(super) fn measure(&mut self, request: &Request) -> Result<Vec<Run>, Error> {
        let contestants = self.contestants.len();
        let mut runs: Vec<Vec<Run>> = (0..contestants).map(|_| Vec::new()).collect();
        for round in 0..self.rounds {
            for turn in 0..contestants {
                let who = (round + turn) % contestants;
                let run = self.run(who, request.clone())?;
                if request.rule == Rule::Coupled
                    && let Some(plain) = runs[0].first()
                {
                    agreement::check(&plain.tokens, &run.tokens).map_err(|cause| {
                        cause.context(&format!("drafter `{}`", self.contestants[who].name))
                    })?;
                }
                runs[who].push(run);
            }
        }
        Ok(runs.into_iter().map(median).collect())
    }

    fn run(&mut self, who: usize, request: Request) -> Result<Run, EngineError> {
        let Contestant { engine, drafting, .. } = self.contestants[who];
        let engine = &mut self.engines[engine];
        let id = engine.submit(Request { drafting, ..request })?;
        let (mut events, mut passes) = (Vec::new(), Vec::new());
        loop {
            engine.step(&mut events);
            passes.extend(engine.stats(id).cloned());
            for event in events.drain(..) {
                match event {
                    Event::Token(..) => {}
                    Event::Finished(_, completion) => return Ok(Run::new(completion, passes)),
                    Event::Failed(_, error) => return Err(error),
                }
            }
        }
    }
}

impl Run {
    /// A text with the statistics after each of its passes but the last.
    fn new(completion: Completion, mut passes: Vec<SpecStats>) -> Self {
        let loop_free = loop_free_len(&completion.tokens);
        passes.push(completion.stats.clone());
        passes.retain(|pass| pass.emitted <= loop_free as u64);
        Self {
            loops: loop_free < completion.tokens.len(),
            tokens: completion.tokens,
            seed: completion.seed,
            whole: completion.stats,
            loop_free: passes.pop().unwrap_or_default(),
        }
    }
}

/// The run with the median time of decoding, the faster one of two in the middle.
fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by_key(|run| run.whole.decode_time);
    runs.swap_remove((runs.len() - 1) / 2)
}

/// Statistics of several texts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) stats: SpecStats,
    /// First passes of a text, whose time is the prompt's.
    first_passes: u64,
}

impl Tally {
    /// Adds those of a text.
    pub(super) fn add(&mut self, stats: &SpecStats) {
        self.first_passes += u64::from(stats.steps > 0);
        self.stats.merge(stats);
    }

    /// Rows of a pass: the root and its draft. Those of the prompt, which first passes hold as well, are not
    /// counted.
    pub(super) fn nodes_per_pass(&self) -> f64 {
        match self.stats.steps {
            0 => 0.0,
            steps => 1.0 + (self.stats.drafted + self.stats.probes) as f64 / steps as f64,
        }
    }

    /// Seconds of a part of decoding, per pass.
    pub(super) fn per_pass(&self, part: Duration) -> f64 {
        match self.stats.steps - self.first_passes {
            0 => 0.0,
            passes => part.as_secs_f64() / passes as f64,
        }
    }

    /// Seconds per pass that are neither drafting nor passes of the target.
    pub(super) fn overhead_per_pass(&self) -> f64 {
        let SpecStats { decode_time, draft_time, verify_time, .. } = self.stats;
        self.per_pass(decode_time.saturating_sub(draft_time + verify_time))
    }

    /// Tokens per second over those of plain decoding; none where one of them has no speed.
    pub(super) fn speedup(&self, plain: &Self) -> Option<f64> {
        let plain = plain.stats.tokens_per_second();
        let speed = self.stats.tokens_per_second();
        (plain > 0.0 && speed > 0.0).then(|| speed / plain)
    }
}
