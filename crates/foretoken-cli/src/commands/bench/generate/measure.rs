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
    /// Those up to where it loops, as if it had ended there.
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
        Self {
            loops: loop_free < completion.tokens.len(),
            tokens: completion.tokens,
            seed: completion.seed,
            whole: completion.stats,
            loop_free: up_to(&passes, loop_free as u64),
        }
    }
}

/// Statistics of a text's first `tokens`, as if it had ended there: a pass that goes beyond counts as
/// cut. `passes` holds them as they were after each pass.
fn up_to(passes: &[SpecStats], tokens: u64) -> SpecStats {
    let mut before = SpecStats::default();
    for pass in passes {
        if pass.emitted >= tokens {
            let mut cut = pass.clone();
            if pass.emitted > tokens {
                let reached = pass.accepted - before.accepted;
                let kept = tokens - before.emitted;
                for depth in kept..reached {
                    cut.accepted_by_position[depth as usize] -= 1;
                }
                cut.accepted = before.accepted + kept;
                cut.emitted = tokens;
                cut.first_emitted = pass.first_emitted.min(tokens);
                cut.cut_steps = before.cut_steps + 1;
            }
            return cut;
        }
        before = pass.clone();
    }
    before
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Statistics after each pass of a text, of whose chains of four these tokens were accepted. The
    /// last pass is cut by the text's end.
    fn passes(accepted: [usize; 3]) -> Vec<SpecStats> {
        let mut stats = SpecStats { drafted_by_position: vec![0; 4], ..SpecStats::default() };
        stats.accepted_by_position = vec![0; 4];
        let after = accepted.map(|accepted| {
            stats.steps += 1;
            stats.drafted += 4;
            stats.drafted_by_position.iter_mut().for_each(|count| *count += 1);
            stats.accepted_by_position[..accepted].iter_mut().for_each(|count| *count += 1);
            stats.accepted += accepted as u64;
            stats.cut_steps = u64::from(stats.steps == 3);
            stats.emitted += accepted as u64 + 1 - stats.cut_steps;
            if stats.steps == 1 {
                stats.first_emitted = stats.emitted;
            }
            stats.clone()
        });
        [SpecStats::default()].into_iter().chain(after).collect()
    }

    #[test]
    fn a_text_can_be_cut_anywhere() {
        // Three tokens, one, and four.
        let passes = passes([2, 0, 4]);
        for tokens in 1..=8 {
            let cut = up_to(&passes, tokens);
            assert_eq!(cut.check_integrity(), Ok(()), "{tokens}");
            assert_eq!((cut.emitted, cut.first_emitted), (tokens, tokens.min(3)));
            assert_eq!(cut.steps, [1, 1, 1, 2, 3, 3, 3, 3][tokens as usize - 1], "{tokens}");
        }
        assert_eq!(up_to(&passes, 3), passes[1], "a pass that ends there is whole");
        assert_eq!(up_to(&passes, 8), passes[3]);
        let cut = up_to(&passes, 6);
        assert_eq!((cut.accepted_by_position, cut.cut_steps), (vec![2, 2, 0, 0], 1));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_faster_one_in_the_middle() {
        let run = |milliseconds| {
            let decode_time = Duration::from_millis(milliseconds);
            let whole = SpecStats { decode_time, ..SpecStats::default() };
            let loop_free = whole.clone();
            Run { tokens: Vec::new(), seed: milliseconds, whole, loop_free, loops: false }
        };
        assert_eq!(median([5, 1, 9].map(run).into()).seed, 5);
        assert_eq!(median([4, 8, 1, 9].map(run).into()).seed, 4);
    }
}
