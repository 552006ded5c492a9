//! Drawing what a drafter proposes under `rejection`.

use super::chance::{Chance, Key, StepNoise};
use super::weights::Weight;
use crate::{Distribution, Domain, Noise, TokenId};

/// Draws children from a draft distribution, as [`crate::TreeBuilder::push_sampled`] wants them.
#[derive(Debug, Clone, Default)]
pub struct DraftSampler {
    left: Vec<Weight>,
}

impl DraftSampler {
    /// A sampler for any number of sequences; it keeps buffers only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `count` different tokens drawn from `q`, one after the other and without replacement,
    /// over `out`; fewer when fewer have positive probability.
    ///
    /// `noise` is the sequence's noise at this step ([`Noise::at_step`]), `position` the index in the
    /// text of the token that is proposed.
    pub fn draw(
        &mut self,
        q: &Distribution,
        count: usize,
        noise: Noise,
        position: u32,
        out: &mut Vec<TokenId>,
    ) {
        self.draw_by(&mut StepNoise(noise), q, count, position, out);
    }

    pub(super) fn draw_by(
        &mut self,
        chance: &mut impl Chance,
        q: &Distribution,
        count: usize,
        position: u32,
        out: &mut Vec<TokenId>,
    ) {
        out.clear();
        self.left.clear();
        self.left.extend(q.iter());
        for index in 0..count as u32 {
            let key = Key { domain: Domain::DraftDraw, position, index };
            let Some(token) = chance.categorical(key, &self.left) else { return };
            out.push(token);
            self.left.retain(|&(listed, _)| listed != token);
        }
    }
}
