//! Models small enough to know everything about: a row of logits for every text.

use super::super::Rows;
use crate::{
    Distribution, DraftTree, NodeId, Noise, SampleError, Sampler, SamplingParams, TokenId,
};

pub(super) type Tokens = Vec<TokenId>;

/// The text before the first step; its last token is the first root.
pub(super) const PROMPT: [TokenId; 3] = [2, 0, 1];

pub(super) fn noise() -> Noise {
    Noise { seed: 17, choice: 0 }
}

/// How the draft model's distribution relates to the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// Unrelated.
    Random,
    /// q is p, sampling parameters included.
    Equal,
    /// No token has both p and q positive.
    Disjoint,
    /// Unrelated, each excluding some tokens.
    Zeros,
    /// The target is sure.
    OneHotTarget,
    /// The draft is sure.
    OneHotDraft,
    /// Both are sure.
    OneHotBoth,
}

pub(super) const PAIRS: [Pair; 7] = [
    Pair::Random,
    Pair::Equal,
    Pair::Disjoint,
    Pair::Zeros,
    Pair::OneHotTarget,
    Pair::OneHotDraft,
    Pair::OneHotBoth,
];

/// A target and a draft model; their rows depend on the whole text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) pair: Pair,
    pub(super) salt: u64,
    pub(super) vocab: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Target = 1,
    Draft = 2,
}

impl Table {
    /// The target's logits after a text.
    pub(super) fn row(&self, text: &[TokenId]) -> Vec<f32> {
        let sure = matches!(self.pair, Pair::OneHotTarget | Pair::OneHotBoth);
        self.logits(Model::Target, sure, text)
    }

    /// The target's rows at the nodes of a tree whose root ends `prefix`.
    pub(super) fn rows(&self, prefix: &[TokenId], tree: &DraftTree) -> TableRows {
        let mut path = Vec::new();
        let row = |node| {
            tree.path(node, &mut path);
            let tokens = path[1..].iter().map(|&node| tree.token(node));
            self.row(&prefix.iter().copied().chain(tokens).collect::<Tokens>())
        };
        TableRows((0..tree.len()).map(row).collect())
    }

    /// The draft's distribution after `prefix` and `path`.
    pub(super) fn draft(
        &self,
        prefix: &[TokenId],
        path: &[TokenId],
        sampler: &mut Sampler,
    ) -> Distribution {
        let text = [prefix, path].concat();
        let mut q = Distribution::new();
        if self.pair == Pair::Equal {
            sampler.distribution(&self.row(&text), path, &mut q).unwrap();
        } else {
            let sure = matches!(self.pair, Pair::OneHotDraft | Pair::OneHotBoth);
            let logits = self.logits(Model::Draft, sure, &text);
            let weights = (0..).zip(logits.iter().map(|&logit| f64::from(logit).exp()));
            q.set(weights.filter(|&(_, weight)| weight > 0.0));
        }
        q
    }

    /// A sampler that has committed `text` after the prompt.
    pub(super) fn sampler(&self, params: &SamplingParams, text: &[TokenId]) -> Sampler {
        let mut sampler = Sampler::new(params.clone(), noise(), self.vocab as usize).unwrap();
        sampler.prompt(&PROMPT);
        for &token in text {
            sampler.commit(token);
        }
        sampler
    }

    /// The law of the token after a text as plain decoding has it.
    pub(super) fn target(
        &self,
        params: &SamplingParams,
        text: &[TokenId],
    ) -> Result<Distribution, SampleError> {
        let mut p = Distribution::new();
        let row = self.row(&[&PROMPT, text].concat());
        self.sampler(params, text).distribution(&row, &[], &mut p)?;
        Ok(p)
    }

    fn logits(&self, model: Model, sure: bool, text: &[TokenId]) -> Vec<f32> {
        let state = text.iter().fold(mix(self.salt << 8 | model as u64), |state, &token| {
            mix(state ^ u64::from(token + 1))
        });
        let only = (mix(state) % u64::from(self.vocab)) as u32;
        let logit = |token: u32| {
            let hash = mix(state.wrapping_add(u64::from(token + 1) << 32));
            let excluded = match self.pair {
                // The target has the even tokens, the draft the odd ones.
                Pair::Disjoint => token.is_multiple_of(2) == (model == Model::Draft),
                Pair::Zeros => hash.is_multiple_of(3) && token != only,
                _ => sure && token != only,
            };
            if excluded { f32::NEG_INFINITY } else { (hash >> 40) as f32 / (1 << 22) as f32 - 2.0 }
        };
        (0..self.vocab).map(logit).collect()
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood 2014).
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// The rows of one pass.
pub(super) struct TableRows(pub(super) Vec<Vec<f32>>);

impl Rows for TableRows {
    fn row(&self, node: NodeId) -> &[f32] {
        &self.0[node]
    }
}
