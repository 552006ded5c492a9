//! Drawing what a drafter proposes under `rejection`.

use super::chance::{Chance, Key, StepNoise};
use super::weights::Weight;
use crate::{Distribution, Domain, Noise, TokenId};

/// Draws children from draft distributions, as [`crate::TreeBuilder::push_sampled`] wants them.
///
/// All draws of one step are independent, also those at one position: how a tree goes on in one place
/// may depend on what was drawn in another.
#[derive(Debug, Clone)]
pub struct DraftSampler {
    noise: StepNoise,
    drafter: u32,
    draws: u32,
    left: Vec<Weight>,
}

impl Default for DraftSampler {
    fn default() -> Self {
        let noise = StepNoise(Noise { seed: 0, choice: 0 });
        Self { noise, drafter: 0, draws: 0, left: Vec::new() }
    }
}

impl DraftSampler {
    /// A sampler for any number of sequences; call [`begin`](Self::begin) before it draws.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the draft of one step. `noise` is the sequence's noise at this step
    /// ([`Noise::at_step`]); `drafter` tells apart the drafters that draft for one sequence.
    pub fn begin(&mut self, noise: Noise, drafter: u32) {
        self.noise = StepNoise(noise);
        self.drafter = drafter;
        self.draws = 0;
    }

    /// Writes `count` different tokens drawn from `q`, one after the other and without replacement,
    /// over `out`; fewer when fewer have positive probability.
    pub fn draw(&mut self, q: &Distribution, count: usize, out: &mut Vec<TokenId>) {
        let mut noise = self.noise;
        self.draw_by(&mut noise, q, count, out);
    }

    pub(super) fn draw_by(
        &mut self,
        chance: &mut impl Chance,
        q: &Distribution,
        count: usize,
        out: &mut Vec<TokenId>,
    ) {
        out.clear();
        self.left.clear();
        self.left.extend(q.iter());
        for _ in 0..count {
            let key = Key { domain: Domain::DraftDraw, position: self.drafter, index: self.draws };
            self.draws += 1;
            let Some(token) = chance.categorical(key, &self.left) else { return };
            out.push(token);
            self.left.retain(|&(listed, _)| listed != token);
        }
    }
}
