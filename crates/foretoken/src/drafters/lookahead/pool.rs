//! The n-grams seen so far, by the token they begin with.
//!
//! A key keeps its most recently seen n-grams, the pool its most recently used keys. So memory has a limit
//! whatever the text: [`TOKENS`] tokens, and a few words per key.

use std::collections::HashMap;

use foretoken_core::TokenId;

/// Most tokens a pool holds: one mebibyte of them.
const TOKENS: usize = 1 << 18;
/// The place that joins both ends of the ring of keys.
const JOINT: usize = 0;

#[derive(Debug)]
pub(super) struct Pool {
    /// Tokens of an entry: those of an n-gram behind its key.
    length: usize,
    /// Entries per key.
    entries: usize,
    /// Most keys.
    most: usize,
    places: HashMap<TokenId, usize>,
    /// A ring in the order of use, from the oldest behind the joint to the newest before it.
    keys: Vec<Key>,
    /// By place, the entries of a key, the most recent last.
    tokens: Vec<TokenId>,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    token: TokenId,
    /// Entries it has.
    count: usize,
    older: usize,
    newer: usize,
}

impl Key {
    /// A key that is linked to itself alone.
    fn new(token: TokenId, place: usize) -> Self {
        Self { token, count: 0, older: place, newer: place }
    }
}

impl Pool {
    /// A pool of `entries` continuations of `length` tokens per key.
    pub(super) fn new(length: usize, entries: usize) -> Self {
        let most = (TOKENS / (entries * length)).max(1);
        let keys = vec![Key::new(0, JOINT)];
        let tokens = vec![0; entries * length];
        Self { length, entries, most, places: HashMap::new(), keys, tokens }
    }

    /// Takes in an n-gram. One that is known becomes its key's most recent.
    pub(super) fn insert(&mut self, ngram: &[TokenId]) {
        let [key, entry @ ..] = ngram else { return };
        let place = self.places.get(key).copied();
        let place = place.unwrap_or_else(|| self.claim(*key));
        self.touch(place);
        let (length, count) = (self.length, self.keys[place].count);
        let tokens = &mut self.tokens[place * self.entries * length..];
        let known = tokens.chunks_exact(length).take(count).position(|other| other == entry);
        let (first, end) = match known {
            Some(index) => (index, count),
            None if count == self.entries => (0, count),
            None => (count, count + 1),
        };
        self.keys[place].count = end;
        let moved = &mut tokens[first * length..end * length];
        moved.rotate_left(length);
        let last = moved.len() - length;
        moved[last..].copy_from_slice(entry);
    }

    /// What followed a token, the most recent first.
    pub(super) fn find(&mut self, key: TokenId) -> impl Iterator<Item = &[TokenId]> {
        // The joint has no entries.
        let place = self.places.get(&key).copied().unwrap_or(JOINT);
        if place != JOINT {
            self.touch(place);
        }
        let first = place * self.entries * self.length;
        let tokens = &self.tokens[first..first + self.keys[place].count * self.length];
        tokens.chunks_exact(self.length).rev()
    }

    /// A place for a new key: a fresh one, or that of the key not used for longest.
    fn claim(&mut self, token: TokenId) -> usize {
        let place = if self.keys.len() <= self.most {
            let place = self.keys.len();
            self.keys.push(Key::new(token, place));
            self.tokens.resize(self.keys.len() * self.entries * self.length, 0);
            place
        } else {
            let oldest = self.keys[JOINT].newer;
            self.places.remove(&self.keys[oldest].token);
            self.keys[oldest].token = token;
            self.keys[oldest].count = 0;
            oldest
        };
        self.places.insert(token, place);
        place
    }

    /// Makes a key the newest.
    fn touch(&mut self, place: usize) {
        let Key { older, newer, .. } = self.keys[place];
        self.keys[older].newer = newer;
        self.keys[newer].older = older;
        let newest = self.keys[JOINT].older;
        self.keys[place].older = newest;
        self.keys[place].newer = JOINT;
        self.keys[newest].newer = place;
        self.keys[JOINT].older = place;
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
    fn the_pool_forgets_the_key_not_used_for_longest() {
        let mut pool = Pool::new(1, 2);
        pool.most = 3;
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
        assert_eq!(pool.tokens.len(), 4 * 2, "memory stays within its limit");
    }
}
