//! What a static corpus says: what followed the text's end there, and how often (REST, He et al. 2024,
//! <https://arxiv.org/abs/2311.08252>).

use foretoken_core::TokenId;
use foretoken_model::CorpusIndex;

use super::SHORTEST;
use crate::drafters::places::Place;

/// Longest end of the text that is searched for.
const LONGEST: usize = 16;
/// Places looked at, evenly spread over those in the order of what follows, so that each continuation has its
/// share of them.
const SAMPLES: usize = 256;
/// By how many tokens an end must be longer than the text's own to count as much. In a corpus of millions of
/// tokens every short end stands somewhere.
const DISCOUNT: usize = 5;

/// Places of the longest end of `text` that stands in the corpus, in no order of merit. Their common history
/// is discounted, though never to nothing.
pub(super) fn places(index: &CorpusIndex, text: &[TokenId]) -> impl Iterator<Item = Place> {
    let end = |length: usize| &text[text.len() - length..];
    // Where an end stands, all shorter ones do.
    let (mut longest, mut found) = (SHORTEST - 1, 0..0);
    let mut beyond = LONGEST.min(text.len()) + 1;
    while longest + 1 < beyond {
        let length = longest + (beyond - longest) / 2;
        let range = index.find(end(length));
        if range.is_empty() {
            beyond = length;
        } else {
            (longest, found) = (length, range);
        }
    }
    let count = found.len().min(SAMPLES);
    let agreeing = longest.saturating_sub(DISCOUNT).max(1);
    let sample = move |sample| found.start + found.len() * sample / count;
    (0..count).filter_map(move |number| {
        let position = index.position(sample(number))?;
        Some(Place { next: position + longest, agreeing })
    })
}
