//! The sampler of one sequence: its parameters, its text, its noise.

use super::best::Best;
use super::distribution::Distribution;
use super::history::History;
use super::params::{ParamError, SamplingParams};
use super::perturb::{ByScore, Perturbation, Ranked};
use super::pipeline::{Filter, Key};
use super::scan::{SampleError, Scan};
use crate::TokenId;
use crate::noise::{Domain, Noise, NoiseRows};

/// Turns rows of logits into tokens for one sequence.
///
/// Every method that takes a row also takes the `path`: the tokens on the draft tree between the
/// committed text and that row, without the root, which is committed. They count as output without
/// being recorded. Rows may come from the target or from a drafter of the same vocabulary.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    noise: Noise,
    history: History,
    scratch: Scratch,
}

/// Buffers that keep their capacity, so that no draw allocates once the first ones have.
#[derive(Debug, Clone, Default)]
struct Scratch {
    path: Vec<TokenId>,
    logits: Vec<f32>,
    scan: Scan,
    filter: Filter,
    noise: NoiseRows,
    scores: Best<ByScore>,
}

impl Sampler {
    /// A sampler with no text yet, for a model with `vocab` tokens.
    pub fn new(mut params: SamplingParams, noise: Noise, vocab: usize) -> Result<Self, ParamError> {
        params.validate(vocab)?;
        params.logit_bias.sort_unstable_by_key(|&(token, _)| token);
        Ok(Self { params, noise, history: History::default(), scratch: Scratch::default() })
    }

    /// The parameters, with the logit biases in order of their tokens.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Seed and choice.
    pub fn noise(&self) -> Noise {
        self.noise
    }

    /// Continues with other noise: one sampler serves many seeds, choices or steps.
    pub fn set_noise(&mut self, noise: Noise) {
        self.noise = noise;
    }

    /// Whether the largest logit is taken and no noise used.
    pub fn is_greedy(&self) -> bool {
        self.params.is_greedy()
    }

    /// Adds tokens to the prompt part of the text.
    pub fn prompt(&mut self, tokens: &[TokenId]) {
        self.history.add_prompt(tokens);
    }

    /// Adds an emitted token to the output part of the text.
    pub fn commit(&mut self, token: TokenId) {
        self.history.add_output(token);
    }

    /// Makes the output so far part of the prompt: presence and frequency begin again.
    pub fn end_turn(&mut self) {
        self.history.end_turn();
    }

    /// The token that follows: the survivor with the largest `x/T + g`, at temperature 0 the one
    /// with the largest logit; ties go to the lowest id.
    ///
    /// `position` is the index of the drawn token in the logical sequence, prompt included.
    pub fn draw(
        &mut self,
        row: &[f32],
        path: &[TokenId],
        position: u32,
    ) -> Result<TokenId, SampleError> {
        if self.is_greedy() {
            let Reading { logits, scan, .. } = self.read(row, path)?;
            return Ok(scan.argmax(logits));
        }
        Ok(self.best_scores(row, path, position, 1)?[0].0.token)
    }

    /// Writes the `k` survivors with the best scores to `out` (fewer if fewer survive), in the order
    /// in which [`Self::draw`] prefers them: the first one is the token it draws.
    pub fn rank(
        &mut self,
        row: &[f32],
        path: &[TokenId],
        position: u32,
        k: usize,
        out: &mut Vec<Ranked>,
    ) -> Result<(), SampleError> {
        if self.is_greedy() {
            return self.likeliest(row, path, k, out);
        }
        out.clear();
        let scores = self.best_scores(row, path, position, k)?;
        out.extend(scores.iter().take(k).map(|scored| scored.0));
        Ok(())
    }

    /// Writes the `k` tokens with the largest logits to `out`, whatever the noise: those that a rule
    /// with noise of its own is most likely to accept. The score is `x/T`, so that scores differ by as
    /// much as log-probabilities do; at temperature 0 it is the logit.
    pub fn likeliest(
        &mut self,
        row: &[f32],
        path: &[TokenId],
        k: usize,
        out: &mut Vec<Ranked>,
    ) -> Result<(), SampleError> {
        out.clear();
        let divisor = if self.is_greedy() { 1.0 } else { self.params.temperature };
        let Reading { logits, scan, filter, .. } = self.read(row, path)?;
        let ranked = filter.largest(logits, scan, k).iter().take(k);
        let score = |key: &Key| f64::from(key.logit()) / divisor;
        out.extend(ranked.map(|key| Ranked { token: key.token(), score: score(key) }));
        Ok(())
    }

    /// Writes the law of the draw to `out`: the survivors and their probabilities. At temperature 0
    /// all probability is on one token.
    pub fn distribution(
        &mut self,
        row: &[f32],
        path: &[TokenId],
        out: &mut Distribution,
    ) -> Result<(), SampleError> {
        let greedy = self.is_greedy();
        let Reading { params, logits, scan, filter, .. } = self.read(row, path)?;
        if greedy {
            out.set_point_mass(scan.argmax(logits));
        } else {
            let (keys, weights) = filter.survivors(logits, scan, params);
            out.set(keys.iter().map(|key| key.token()).zip(weights.iter().copied()));
        }
        Ok(())
    }

    /// The `k` best scores, best first, of one position.
    fn best_scores<'a>(
        &'a mut self,
        row: &'a [f32],
        path: &[TokenId],
        position: u32,
        k: usize,
    ) -> Result<&'a [ByScore], SampleError> {
        self.scratch.noise.turn_to(self.noise.at(Domain::Draw, position), row.len());
        let Reading { params, logits, scan, filter, noise, scores } = self.read(row, path)?;
        scores.reset(k, row.len());
        let mut perturbation = Perturbation::new(params.temperature, noise, scores);
        if params.filters() {
            for key in filter.survivors(logits, scan, params).0 {
                perturbation.add(key.token(), key.logit());
            }
        } else {
            perturbation.add_row(logits, scan);
        }
        Ok(scores.finish())
    }

    /// Applies bans, bias and penalties, and reads the result once.
    fn read<'a>(
        &'a mut self,
        row: &'a [f32],
        path: &[TokenId],
    ) -> Result<Reading<'a>, SampleError> {
        let Self { params, history, scratch, .. } = self;
        let Scratch { path: sorted, logits, scan, filter, noise, scores } = scratch;
        let logits = if params.adjusts_logits() {
            history.adjust(params, row, path, sorted, logits);
            logits.as_slice()
        } else {
            row
        };
        scan.read(logits)?;
        Ok(Reading { params, logits, scan, filter, noise, scores })
    }
}

/// A row after its adjustments, with the buffers for what is next.
struct Reading<'a> {
    params: &'a SamplingParams,
    logits: &'a [f32],
    scan: &'a Scan,
    filter: &'a mut Filter,
    noise: &'a mut NoiseRows,
    scores: &'a mut Best<ByScore>,
}
