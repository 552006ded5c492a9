//! Counting what speculation did: one record per step, merged over sequences.

use std::time::Duration;

use crate::{Accepted, DraftTree, Role};

/// What the steps of one sequence, or of several together, proposed, accepted and took.
///
/// A step is a pass of the target that emits; the pass over the last prompt token is the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecStats {
    /// Target passes that emitted.
    pub steps: u64,
    /// Candidates sent to the target, roots not counted, and probes that the text took.
    pub drafted: u64,
    /// Probes sent to the target that the text did not take.
    pub probes: u64,
    /// Emitted tokens that were drafted; what the end of the text cut off is not counted.
    pub accepted: u64,
    /// Candidates sent at depth `d + 1`; sums to `drafted`.
    pub drafted_by_position: Vec<u64>,
    /// Steps whose accepted path reached depth `d + 1`; sums to `accepted`.
    pub accepted_by_position: Vec<u64>,
    /// Tokens emitted.
    pub emitted: u64,
    /// Tokens emitted by first steps, which decoding time does not cover.
    pub first_emitted: u64,
    /// Steps that the end of the text cut inside the accepted run, so that they added no token of
    /// their own.
    pub cut_steps: u64,
    /// Time until the end of the first step.
    pub prefill_time: Duration,
    /// Time of all later steps.
    pub decode_time: Duration,
    /// Part of it spent drafting.
    pub draft_time: Duration,
    /// Part of it spent in passes of the target.
    pub verify_time: Duration,
}

impl SpecStats {
    /// Counts one step of one sequence, after the end of the text has cut it.
    ///
    /// A step that emitted nothing, because its first draw failed, counts only what it sent.
    pub fn record(&mut self, tree: &DraftTree, accepted: &Accepted) {
        self.drafted += tree.candidates() as u64;
        self.probes += tree.probes() as u64;
        for node in 1..tree.len() {
            if tree.role(node) == Role::Candidate {
                *at(&mut self.drafted_by_position, tree.depth(node) as usize - 1) += 1;
            }
        }
        let mut node = Some(0);
        for (depth, &token) in accepted.tokens()[..accepted.drafted()].iter().enumerate() {
            *at(&mut self.accepted_by_position, depth) += 1;
            node = node.and_then(|parent| tree.child_with_token(parent, token));
            if node.is_some_and(|node| tree.role(node) == Role::Probe) {
                self.probes -= 1;
                self.drafted += 1;
                *at(&mut self.drafted_by_position, depth) += 1;
            }
        }
        let emitted = accepted.tokens().len() as u64;
        if self.steps == 0 {
            self.first_emitted = emitted;
        }
        self.emitted += emitted;
        self.accepted += accepted.drafted() as u64;
        if emitted > 0 {
            self.steps += 1;
            self.cut_steps += u64::from(accepted.is_cut());
        }
    }

    /// Adds the counts and times of another sequence.
    pub fn merge(&mut self, other: &Self) {
        self.steps += other.steps;
        self.drafted += other.drafted;
        self.probes += other.probes;
        self.accepted += other.accepted;
        self.emitted += other.emitted;
        self.first_emitted += other.first_emitted;
        self.cut_steps += other.cut_steps;
        self.prefill_time += other.prefill_time;
        self.decode_time += other.decode_time;
        self.draft_time += other.draft_time;
        self.verify_time += other.verify_time;
        for (depth, count) in other.drafted_by_position.iter().enumerate() {
            *at(&mut self.drafted_by_position, depth) += count;
        }
        for (depth, count) in other.accepted_by_position.iter().enumerate() {
            *at(&mut self.accepted_by_position, depth) += count;
        }
    }

    /// Emitted tokens per step; exactly 1 without drafting, 0 before the first step.
    pub fn mean_accepted_length(&self) -> f64 {
        if self.steps == 0 { 0.0 } else { self.emitted as f64 / self.steps as f64 }
    }

    /// Tokens emitted after the first step per second of decoding; 0 when there was none.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decode_time.as_secs_f64();
        if seconds > 0.0 { (self.emitted - self.first_emitted) as f64 / seconds } else { 0.0 }
    }

    /// The laws of the counters; the first one broken is named.
    pub fn check_integrity(&self) -> Result<(), &'static str> {
        let laws = [
            (
                self.emitted == self.accepted + self.steps - self.cut_steps,
                "emitted = accepted + steps - steps cut inside a run",
            ),
            (
                self.drafted == self.drafted_by_position.iter().sum(),
                "candidates by position sum to the candidates drafted",
            ),
            (
                self.accepted == self.accepted_by_position.iter().sum(),
                "paths by depth sum to the tokens accepted",
            ),
            (
                self.accepted_by_position.is_sorted_by(|a, b| a >= b),
                "a path that reaches a depth reached all before it",
            ),
            (self.accepted <= self.drafted, "what is accepted was drafted"),
        ];
        laws.iter().find(|(holds, _)| !holds).map_or(Ok(()), |&(_, law)| Err(law))
    }
}

/// The counter of a depth, counters up to it being added as needed.
fn at(counters: &mut Vec<u64>, depth: usize) -> &mut u64 {
    if counters.len() <= depth {
        counters.resize(depth + 1, 0);
    }
    &mut counters[depth]
}

#[cfg(test)]
mod tests;
