//! The n-grams seen so far, by the token they begin with.
//!
//! A key keeps its most recently seen n-grams, the pool its most recently used keys. So memory has a limit
//! whatever the text: [`TOKENS`] tokens, and a few words per key.

use foretoken_core::TokenId;

use crate::drafters::recency::{Place, Recency};

/// Most tokens a pool holds: one mebibyte of them.
const TOKENS: usize = 1 << 18;
/// Fills up an entry of a shorter n-gram; no vocabulary has it.
const NOTHING: TokenId = TokenId::MAX;

#[derive(Debug)]
pub(super) struct Pool {
    /// Tokens of an entry: those of the longest n-gram behind its key.
    length: usize,
    /// Entries per key.
    entries: usize,
    keys: Recency,
    /// By place, how many entries a key has.
    counts: Vec<usize>,
    /// By place, the entries of a key, the most recent last.
    tokens: Vec<TokenId>,
}

impl Pool {
    /// A pool of `entries` continuations of `length` tokens per key.
    pub(super) fn new(length: usize, entries: usize) -> Self {
        Self::of_keys(length, entries, TOKENS / (entries * length))
    }

    fn of_keys(length: usize, entries: usize, most: usize) -> Self {
        let (counts, tokens) = (Vec::new(), Vec::new());
        Self { length, entries, keys: Recency::new(most), counts, tokens }
    }

    /// Takes in an n-gram. One that is known, or begins another, or goes on with another, is one with it, and
    /// becomes its key's most recent.
    pub(super) fn insert(&mut self, ngram: &[TokenId]) {
        let [key, entry @ ..] = ngram else { return };
        let place = match self.keys.claim(*key) {
            Place::Known(place) => place,
            Place::New(place) => {
                self.clear(place);
                place
            }
        };
        let (length, count) = (self.length, self.counts[place]);
        let tokens = &mut self.tokens[place * self.entries * length..];
        let agrees = |known: &[TokenId]| {
            known.iter().zip(entry).all(|(known, new)| known == new || *known == NOTHING)
        };
        let known = tokens.chunks_exact(length).take(count).rposition(agrees);
        let (first, end) = match known {
            Some(index) => (index, count),
            None if count == self.entries => (0, count),
            None => (count, count + 1),
        };
        self.counts[place] = end;
        let moved = &mut tokens[first * length..end * length];
        moved.rotate_left(length);
        let last = moved.len() - length;
        let kept = &mut moved[last..];
        if known.is_none() {
            kept.fill(NOTHING);
        }
        kept[..entry.len()].copy_from_slice(entry);
    }

    /// What followed a token, the most recent first.
    pub(super) fn find(&mut self, key: TokenId) -> impl Iterator<Item = &[TokenId]> {
        let place = self.keys.find(key);
        let entries = place.map_or(0..0, |place| {
            let first = place * self.entries * self.length;
            first..first + self.counts[place] * self.length
        });
        let whole = self.tokens[entries].chunks_exact(self.length).rev();
        whole.map(|entry| entry.split(|&token| token == NOTHING).next().unwrap_or_default())
    }

    /// Empties a place, which is made where there is none yet.
    fn clear(&mut self, place: usize) {
        if place == self.counts.len() {
            self.counts.push(0);
            self.tokens.resize(self.counts.len() * self.entries * self.length, 0);
        }
        self.counts[place] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pool: &mut Pool, key: TokenId) -> Vec<Vec<TokenId>> {
        pool.find(key).map(<[_]>::to_vec).collect()
    }

    #[test]
    fn a_key_keeps_its_most_recent_entries() {
        let mut pool = Pool::new(2, 3);
        for ngram in [[5, 1, 1], [5, 2, 2], [5, 3, 3], [6, 9, 9]] {
            pool.insert(&ngram);
        }
        assert_eq!(found(&mut pool, 5), [[3, 3], [2, 2], [1, 1]]);
        pool.insert(&[5, 1, 1]);
        assert_eq!(found(&mut pool, 5), [[1, 1], [3, 3], [2, 2]]);
        pool.insert(&[5, 4, 4]);
        assert_eq!(found(&mut pool, 5), [[4, 4], [1, 1], [3, 3]]);
        assert_eq!(found(&mut pool, 6), [[9, 9]]);
        assert!(found(&mut pool, 7).is_empty());
    }

    #[test]
    fn shorter_ngrams_are_one_with_longer_ones_that_say_the_same() {
        let mut pool = Pool::new(3, 3);
        pool.insert(&[5, 1, 2, 3]);
        pool.insert(&[5, 4]);
        assert_eq!(found(&mut pool, 5), [vec![4], vec![1, 2, 3]]);
        pool.insert(&[5, 1, 2]);
        assert_eq!(found(&mut pool, 5), [vec![1, 2, 3], vec![4]]);
        pool.insert(&[5, 4, 4]);
        assert_eq!(found(&mut pool, 5), [vec![4, 4], vec![1, 2, 3]]);
        pool.insert(&[5, 4, 7, 8]);
        assert_eq!(found(&mut pool, 5), [vec![4, 7, 8], vec![4, 4], vec![1, 2, 3]]);
        pool.insert(&[5, 4]);
        assert_eq!(found(&mut pool, 5), [vec![4, 7, 8], vec![4, 4], vec![1, 2, 3]]);
        pool.insert(&[5, 4, 4, 9]);
        assert_eq!(found(&mut pool, 5), [vec![4, 4, 9], vec![4, 7, 8], vec![1, 2, 3]]);
    }

    #[test]
    fn the_pool_forgets_the_key_not_used_for_longest() {
        let mut pool = Pool::of_keys(1, 2, 3);
        for key in [1, 2, 3] {
            pool.insert(&[key, 10 * key]);
        }
        assert_eq!(found(&mut pool, 1), [[10]]);
        pool.insert(&[2, 21]);
        pool.insert(&[4, 40]);
        assert!(found(&mut pool, 3).is_empty(), "used longest ago");
        pool.insert(&[5, 50]);
        assert!(found(&mut pool, 1).is_empty(), "used longest ago");
        assert_eq!(found(&mut pool, 2), [[21], [20]]);
        assert_eq!(found(&mut pool, 4), [[40]]);
        assert_eq!(found(&mut pool, 5), [[50]]);
        assert_eq!(pool.tokens.len(), 3 * 2, "memory stays within its limit");
    }
}
