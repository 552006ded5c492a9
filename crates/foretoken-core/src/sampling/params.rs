//! What a user may ask of sampling, and what is refused.

use thiserror::Error;

use crate::TokenId;

/// The smallest temperature other than 0: below it scores lose the noise to rounding.
const MIN_TEMPERATURE: f64 = 1e-6;

/// How a token is drawn from a row of logits. The default is greedy decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divisor of the logits; 0 takes the largest logit after bans and penalties.
    pub temperature: f64,
    /// Keep exactly this many tokens, the largest logits first; `None` keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of most probable tokens whose probability reaches this; 1 keeps all,
    /// 0 keeps one (Holtzman et al. 2020).
    pub top_p: f64,
    /// Keep tokens at least this fraction as probable as the most probable one; 0 keeps all.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of every token of prompt and output, once
    /// per distinct token (Keskar et al. 2019, as Hugging Face transformers applies it); 1 is off.
    pub repetition_penalty: f64,
    /// Subtracted once from the logit of every token of the output; 0 is off.
    pub presence_penalty: f64,
    /// Subtracted from a token's logit once per occurrence in the output; 0 is off.
    pub frequency_penalty: f64,
    /// Added to the logits of these tokens; negative infinity bans a token.
    pub logit_bias: Vec<(TokenId, f32)>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplingParams {
    /// Checks every field against its range, for a model with `vocab` tokens.
    pub fn validate(&self, vocab: usize) -> Result<(), ParamError> {
        let Self { temperature, top_k, top_p, min_p, .. } = *self;
        let sampled = temperature.is_finite() && temperature >= MIN_TEMPERATURE;
        if temperature != 0.0 && !sampled {
            return Err(ParamError::Temperature(temperature));
        }
        if top_k == Some(0) {
            return Err(ParamError::TopK);
        }
        if !(0.0..=1.0).contains(&top_p) {
            return Err(ParamError::TopP(top_p));
        }
        if !(0.0..=1.0).contains(&min_p) {
            return Err(ParamError::MinP(min_p));
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return Err(ParamError::RepetitionPenalty(self.repetition_penalty));
        }
        if !self.presence_penalty.is_finite() {
            return Err(ParamError::PresencePenalty(self.presence_penalty));
        }
        if !self.frequency_penalty.is_finite() {
            return Err(ParamError::FrequencyPenalty(self.frequency_penalty));
        }
        self.validate_bias(vocab)
    }

    fn validate_bias(&self, vocab: usize) -> Result<(), ParamError> {
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab {
                return Err(ParamError::BiasToken { token, vocab });
            }
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(ParamError::Bias { token, bias });
            }
        }
        let mut tokens: Vec<_> = self.logit_bias.iter().map(|&(token, _)| token).collect();
        tokens.sort_unstable();
        if let Some(pair) = tokens.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ParamError::BiasTwice(pair[0]));
        }
        Ok(())
    }

    /// Whether the draw is the argmax and no noise is used.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether any stage changes single logits before the temperature.
    pub(super) fn adjusts_logits(&self) -> bool {
        !self.logit_bias.is_empty() || self.penalizes()
    }

    /// Whether the text so far changes logits.
    pub(super) fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }

    /// Whether any stage after the temperature may remove tokens.
    pub(super) fn filters(&self) -> bool {
        self.top_k.is_some() || self.top_p < 1.0 || self.min_p > 0.0
    }
}

/// A sampling parameter outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum ParamError {
    /// Negative, not finite, or positive and too small to divide by.
    #[error("temperature is {0}; it must be 0 (greedy) or a finite number of at least 0.000001")]
    Temperature(f64),
    /// Zero tokens to keep.
    #[error("top-k is 0, which keeps no token; leave it out to keep all")]
    TopK,
    /// Outside [0, 1].
    #[error("top-p is {0}; it must lie between 0 and 1 (1 keeps all tokens)")]
    TopP(f64),
    /// Outside [0, 1].
    #[error("min-p is {0}; it must lie between 0 and 1 (0 keeps all tokens)")]
    MinP(f64),
    /// Not positive or not finite.
    #[error("repetition penalty is {0}; it must be a finite number above 0 (1 is off)")]
    RepetitionPenalty(f64),
    /// Not finite.
    #[error("presence penalty is {0}; it must be a finite number (0 is off)")]
    PresencePenalty(f64),
    /// Not finite.
    #[error("frequency penalty is {0}; it must be a finite number (0 is off)")]
    FrequencyPenalty(f64),
    /// A biased token that the model does not have.
    #[error("logit bias names token {token}, but the vocabulary has {vocab} tokens")]
    BiasToken {
        /// The token named.
        token: TokenId,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// NaN or positive infinity.
    #[error("logit bias of token {token} is {bias}; it must be finite, or -inf to ban the token")]
    Bias {
        /// The token named.
        token: TokenId,
        /// Its bias.
        bias: f32,
    },
    /// One token with two biases.
    #[error("logit bias names token {0} twice")]
    BiasTwice(TokenId),
}
