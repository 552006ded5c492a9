//! The one pass over a row that every use of it begins with.

use multiversion::multiversion;
use thiserror::Error;

use crate::TokenId;
use crate::noise::CHUNK;

/// A row from which no token can be drawn. The sequence it belongs to fails; others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The model computed a NaN.
    #[error("the logit of token {token} is not a number")]
    NotANumber {
        /// The first such token.
        token: TokenId,
    },
    /// The model computed a positive infinity, under which probabilities have no meaning.
    #[error("the logit of token {token} is infinite")]
    Infinite {
        /// The first such token.
        token: TokenId,
    },
    /// Every logit is negative infinity, or the row is empty.
    #[error("every token of the vocabulary is banned")]
    EverythingBanned,
}

/// What one pass over a row of logits learns: that it is sound, and where its large values are.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    /// Largest logit of each chunk of `CHUNK` tokens.
    maxima: Vec<f32>,
    peak: usize,
}

impl Scan {
    /// Reads a row; an error names the first token at fault.
    pub(super) fn read(&mut self, logits: &[f32]) -> Result<(), SampleError> {
        self.maxima.clear();
        self.peak = 0;
        let mut max = f32::NEG_INFINITY;
        for (index, chunk) in logits.chunks(CHUNK).enumerate() {
            let chunk_max = sound_max(chunk, index * CHUNK)?;
            self.maxima.push(chunk_max);
            if chunk_max > max {
                (max, self.peak) = (chunk_max, index);
            }
        }
        if max == f32::NEG_INFINITY { Err(SampleError::EverythingBanned) } else { Ok(()) }
    }

    /// The largest logit of the row.
    pub(super) fn max(&self) -> f32 {
        self.maxima[self.peak]
    }

    /// The first chunk that holds the largest logit.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// Largest logit of each chunk.
    pub(super) fn maxima(&self) -> &[f32] {
        &self.maxima
    }

    /// The first token with the largest logit.
    pub(super) fn argmax(&self, logits: &[f32]) -> TokenId {
        let start = self.peak * CHUNK;
        let inside = logits[start..].iter().position(|&logit| logit == self.max());
        (start + inside.unwrap_or(0)) as TokenId
    }
}

/// The largest logit of a chunk whose first token is `first`.
fn sound_max(chunk: &[f32], first: usize) -> Result<f32, SampleError> {
    let (max, has_nan) = if let Ok(full) = chunk.try_into() {
        max_and_nan(full)
    } else {
        let mut padded = [f32::NEG_INFINITY; CHUNK];
        padded[..chunk.len()].copy_from_slice(chunk);
        max_and_nan(&padded)
    };
    if !has_nan && max < f32::INFINITY {
        return Ok(max);
    }
    let wrong = |logit: f32| logit.is_nan() || logit == f32::INFINITY;
    let inside = chunk.iter().position(|&logit| wrong(logit)).unwrap_or(0);
    let token = (first + inside) as TokenId;
    let is_nan = chunk[inside].is_nan();
    Err(if is_nan { SampleError::NotANumber { token } } else { SampleError::Infinite { token } })
}

/// The largest number and whether any is NaN.
///
/// Four quarters side by side, then halves on halves: loops without a carried dependency, which
/// compile to vector instructions where a plain maximum of floats does not.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn max_and_nan(chunk: &[f32; CHUNK]) -> (f32, bool) {
    const QUARTER: usize = CHUNK / 4;
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut max = [0.0; QUARTER];
    let mut nan = [0_u32; QUARTER];
    for i in 0..QUARTER {
        let (a, b) = (chunk[i], chunk[i + QUARTER]);
        let (c, d) = (chunk[i + 2 * QUARTER], chunk[i + 3 * QUARTER]);
        max[i] = larger(larger(a, b), larger(c, d));
        nan[i] = u32::from(a.is_nan() | b.is_nan()) | u32::from(c.is_nan() | d.is_nan());
    }
    let mut half = QUARTER / 2;
    while half > 0 {
        for i in 0..half {
            max[i] = larger(max[i], max[i + half]);
        }
        half /= 2;
    }
    (max[0], nan.iter().fold(0, |any, mark| any | mark) != 0)
}
