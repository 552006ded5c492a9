//! The random numbers of the engine: a pure function of what a draw means, never of when it is made.
//!
//! Every number is an output of the counter-based generator Philox4x32-10 (Salmon, Moraes, Dror and
//! Shaw, *Parallel random numbers: as easy as 1, 2, 3*, 2011), keyed by the seed and counted by
//! (token, position, choice, domain): its upper 32 bits, on which nearly every test ends, are a word of one
//! block, its lower 32 the same word of another. Nothing is stored between draws, so drafted and undrafted
//! decoding, and any order of work, see the same noise. This module does not know about rows, trees,
//! batches or steps; under a step-dependent rule the caller derives a seed per step.

use multiversion::multiversion;

use crate::TokenId;

/// Largest value [`Noise::gumbel`] can take, rounded up: `-ln(-ln(1 - 2^-53))`.
pub(crate) const MAX_GUMBEL: f64 = 36.75;

/// Tokens hashed together, and skipped together where none can win.
pub(crate) const CHUNK: usize = 256;

/// Blocks that go through the rounds together; four times as many tokens in a row share them.
const LANES: usize = 16;

/// Set in the domain's counter word where a block holds the lower halves of hashes.
const LOWER: u32 = 1 << 31;

/// Positions whose noise is kept; few drafts are deeper.
const KEPT: usize = 16;

/// What a random number is used for; numbers of different domains are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The draw of a token at a position: undrafted sampling, and verification by equality with it.
    Draw,
    /// The seed of one decoding step, from the seed of the sequence (see [`Noise::at_step`]).
    StepSeed,
    /// A drafter's own draw from its distribution, under rejection.
    DraftDraw,
    /// The test whether a drafted token is kept, under rejection.
    Accept,
    /// The draw from what a rejection leaves over.
    Residual,
}

impl Domain {
    /// The counter word of the domain. Part of what decides the text: never renumber.
    const fn word(self) -> u32 {
        match self {
            Self::Draw => 0,
            Self::StepSeed => 1,
            Self::DraftDraw => 2,
            Self::Accept => 3,
            Self::Residual => 4,
        }
    }
}

/// The noise of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Noise {
    /// Seed of the request.
    pub seed: u64,
    /// Index among the completions of one prompt; 0 for the first or only one.
    pub choice: u32,
}

impl Noise {
    /// Standard Gumbel noise of a token at a position: `-ln(-ln u)` with `u` from [`Self::uniform`].
    ///
    /// Always finite, between -3.61 and 36.74.
    pub fn gumbel(&self, domain: Domain, position: u32, token: TokenId) -> f64 {
        gumbel(self.hash(domain, position, token))
    }

    /// A uniform number of the open interval (0, 1): an odd multiple of 2^-53.
    pub fn uniform(&self, domain: Domain, position: u32, token: TokenId) -> f64 {
        uniform(self.hash(domain, position, token))
    }

    /// The noise of one decoding step: the same choice under a seed derived from this one.
    #[must_use]
    pub fn at_step(&self, step: u64) -> Self {
        let counter = [step as u32, (step >> 32) as u32, self.choice, Domain::StepSeed.word()];
        let [low, high, ..] = block(counter, self.key());
        Self { seed: join(low, high), choice: self.choice }
    }

    /// The noise of all tokens at one position.
    pub(crate) fn at(&self, domain: Domain, position: u32) -> PositionNoise {
        PositionNoise { key: self.key(), words: [position, self.choice, domain.word()] }
    }

    fn hash(&self, domain: Domain, position: u32, token: TokenId) -> u64 {
        self.at(domain, position).hash(token)
    }

    fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }
}

/// The noise of all tokens at one position of one sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PositionNoise {
    key: [u32; 2],
    /// Counter words 1 to 3; word 0 is the number of a block.
    words: [u32; 3],
}

impl PositionNoise {
    /// 64 random bits. Token `t` has word `t / 16 % 4` of block `t / 64 * 16 + t % 16`, so that words
    /// of neighbouring blocks belong to neighbouring tokens.
    fn hash(&self, token: TokenId) -> u64 {
        let [position, choice, domain] = self.words;
        let (lane, word) = (token % LANES as u32, token as usize / LANES % 4);
        let number = token / (4 * LANES as u32) * LANES as u32 + lane;
        let half = |domain| block([number, position, choice, domain], self.key)[word];
        join(half(domain | LOWER), half(domain))
    }
}

/// The noise of the positions read last, each turned to before its rows are read.
///
/// A position is read several times: by siblings and cousins on a draft tree, by the verification of
/// that draft, and by the next draft where this one was wrong. Of each chunk its largest noise is
/// kept, for most rows ask no more of most chunks.
#[derive(Debug, Clone, Default)]
pub(crate) struct NoiseRows {
    kept: [PositionNoise; KEPT],
    current: usize,
    /// Chunks of the longest row so far.
    chunks: usize,
    /// `[KEPT][chunks]`: the upper 32 bits of the largest hash, where a chunk has been hashed.
    highest: Vec<Option<u32>>,
}

impl NoiseRows {
    /// Turns to a position of rows with `tokens` logits.
    pub(crate) fn turn_to(&mut self, position: PositionNoise, tokens: usize) {
        let chunks = tokens.div_ceil(CHUNK);
        if chunks > self.chunks {
            self.chunks = chunks;
            self.highest.clear();
            self.highest.resize(KEPT * chunks, None);
        }
        self.current = position.words[0] as usize % KEPT;
        if self.kept[self.current] != position {
            self.kept[self.current] = position;
            let first = self.current * self.chunks;
            self.highest[first..first + self.chunks].fill(None);
        }
    }

    /// 64 random bits of one token.
    pub(crate) fn hash(&self, token: TokenId) -> u64 {
        self.kept[self.current].hash(token)
    }

    /// The upper 32 bits of the hashes of the chunk with this index, if `wants` the largest of them.
    pub(crate) fn chunk(
        &mut self,
        index: usize,
        wants: impl Fn(u32) -> bool,
    ) -> Option<[u32; CHUNK]> {
        let highest = &mut self.highest[self.current * self.chunks + index];
        if highest.is_some_and(|highest| !wants(highest)) {
            return None;
        }
        let mut words = [0; CHUNK];
        let largest = upper_words(self.kept[self.current], (index * CHUNK) as TokenId, &mut words);
        *highest = Some(largest);
        wants(largest).then_some(words)
    }
}

/// Writes the upper 32 bits of the hashes of `CHUNK` tokens from `first` on, the first token of a
/// chunk, and returns the largest.
///
/// Bound by vector multiplications, 18 per block and as many tokens as there are 32-bit lanes, so it
/// is compiled for the wider vectors too; integers are the same on all of them.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn upper_words(noise: PositionNoise, first: TokenId, out: &mut [u32; CHUNK]) -> u32 {
    debug_assert!(first.is_multiple_of(CHUNK as u32), "chunks hold whole blocks");
    let mut largest = [0; LANES];
    let (groups, _) = out.as_chunks_mut::<{ 4 * LANES }>();
    for (group, block) in groups.iter_mut().zip((first / 4..).step_by(LANES)) {
        let [position, choice, domain] = noise.words.map(|word| [u64::from(word); LANES]);
        let blocks = std::array::from_fn(|lane| u64::from(block) + lane as u64);
        let words = philox4x32_10([blocks, position, choice, domain], noise.key);
        let (tokens, _) = group.as_chunks_mut::<LANES>();
        for (tokens, words) in tokens.iter_mut().zip(words) {
            for lane in 0..LANES {
                tokens[lane] = words[lane] as u32;
                largest[lane] = tokens[lane].max(largest[lane]);
            }
        }
    }
    largest.into_iter().fold(0, u32::max)
}

/// Philox4x32 with ten rounds, as Random123 defines it, on several blocks at once.
///
/// Words are the lower halves of `u64`: so a word times a constant is the vector instruction that
/// every x86-64 has, and the upper half of a word is never read. The caller takes lower halves.
#[inline(always)]
fn philox4x32_10<const N: usize>(mut words: [[u64; N]; 4], mut key: [u32; 2]) -> [[u64; N]; 4] {
    const LOW_HALF: u64 = 0xFFFF_FFFF;
    for _ in 0..10 {
        let [k0, k1] = key.map(u64::from);
        let [w0, w1, w2, w3] = &mut words;
        for lane in 0..N {
            let a = (w0[lane] & LOW_HALF) * 0xD251_1F53;
            let b = (w2[lane] & LOW_HALF) * 0xCD9E_8D57;
            w0[lane] = (b >> 32) ^ w1[lane] ^ k0;
            w1[lane] = b;
            w2[lane] = (a >> 32) ^ w3[lane] ^ k1;
            w3[lane] = a;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    words
}

/// One block of four words.
#[inline]
fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox4x32_10(counter.map(|word| [u64::from(word)]), key).map(|[word]| word as u32)
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// In `f64` and centred in its cell, so that neither 0 nor 1 can come out.
fn uniform(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) * (0.5f64).powi(52)
}

/// The logarithm is libm's, compiled in: the platform's differs in the last bit between systems.
pub(crate) fn gumbel(hash: u64) -> f64 {
    -libm::log(-libm::log(uniform(hash)))
}

#[cfg(test)]
mod tests;
