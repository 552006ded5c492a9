//! The suffixes of a text in order: prefix doubling within groups (Larsson and Sadakane 2007), up to a depth.
//!
//! Searches compare a few tens of tokens, so no more are sorted by: a handful of rounds whatever repeats.

use foretoken_core::TokenId;

/// Tokens by which suffixes are ordered; those that agree in so many are in no particular order.
pub(super) const DEPTH: usize = 32;
/// Rounds of sorting: by the first token, and each further one by twice as many.
pub(super) const ROUNDS: usize = DEPTH.ilog2() as usize + 1;

/// Where the suffixes of `tokens` begin, smaller ones first; an end is smaller than any token. `tell` hears
/// how many rounds are done.
///
/// # Panics
/// If there are 2^32 - 1 tokens or more.
pub(super) fn sorted(tokens: &[TokenId], tell: &mut dyn FnMut(usize)) -> Vec<u32> {
    assert!(tokens.len() < u32::MAX as usize, "positions and ranks are numbers of 32 bits");
    let mut keys: Vec<_> = (0..).zip(tokens).map(|(at, token)| (*token, at)).collect();
    keys.sort_unstable();
    let mut order: Vec<u32> = keys.iter().map(|&(_, at)| at).collect();
    // Equal suffixes have one rank: the index of the last of them in `order`.
    let mut ranks = vec![0; tokens.len()];
    rank(&keys, 0, &mut ranks);
    tell(1);
    for round in 1..ROUNDS {
        let depth = 1 << (round - 1);
        let mut start = 0;
        while start < order.len() {
            let end = ranks[order[start] as usize] as usize + 1;
            let group = &mut order[start..end];
            if group.len() > 1 {
                let behind = |at: u32| ranks.get(at as usize + depth).map_or(0, |rank| rank + 1);
                keys.clear();
                keys.extend(group.iter().map(|&at| (behind(at), at)));
                keys.sort_unstable();
                for (place, &(_, at)) in group.iter_mut().zip(&keys) {
                    *place = at;
                }
                rank(&keys, start, &mut ranks);
            }
            start = end;
        }
        tell(round + 1);
    }
    order
}

/// Ranks suffixes that stand in order from index `start` on, by their keys.
fn rank(keys: &[(u32, u32)], start: usize, ranks: &mut [u32]) {
    let mut end = start;
    for equal in keys.chunk_by(|a, b| a.0 == b.0) {
        end += equal.len();
        for &(_, at) in equal {
            ranks[at as usize] = end as u32 - 1;
        }
    }
}
