//! Places for a limited number of tokens: a new token takes the place of the one not used for longest.

use std::collections::HashMap;

use foretoken_core::TokenId;

/// The link that joins both ends of the ring.
const JOINT: usize = 0;

/// Which token has which place, and which was used when.
#[derive(Debug)]
pub(super) struct Recency {
    /// Most tokens.
    most: usize,
    places: HashMap<TokenId, usize>,
    /// By place, behind the joint: a ring in the order of use, from the oldest behind the joint to the
    /// newest before it.
    ring: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    token: TokenId,
    older: usize,
    newer: usize,
}

/// A token's place; places are numbered from 0 as they are first needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It had it.
    Known(usize),
    /// It has it now; what another token left there is to be cleared.
    New(usize),
}

impl Recency {
    /// Places for `most` tokens, at least one.
    pub(super) fn new(most: usize) -> Self {
        let joint = Link { token: 0, older: JOINT, newer: JOINT };
        Self { most: most.max(1), places: HashMap::new(), ring: vec![joint] }
    }

    /// The place of a token, if it has one. Looking is using.
    pub(super) fn find(&mut self, token: TokenId) -> Option<usize> {
        let link = *self.places.get(&token)?;
        self.touch(link);
        Some(link - 1)
    }

    /// The place of a token, given to it if it has none.
    pub(super) fn claim(&mut self, token: TokenId) -> Place {
        if let Some(place) = self.find(token) {
            return Place::Known(place);
        }
        let link = if self.ring.len() <= self.most {
            let link = self.ring.len();
            self.ring.push(Link { token, older: link, newer: link });
            link
        } else {
            let oldest = self.ring[JOINT].newer;
            self.places.remove(&self.ring[oldest].token);
            self.ring[oldest].token = token;
            oldest
        };
        self.places.insert(token, link);
        self.touch(link);
        Place::New(link - 1)
    }

    /// Makes a link the newest.
    fn touch(&mut self, link: usize) {
        let Link { older, newer, .. } = self.ring[link];
        self.ring[older].newer = newer;
        self.ring[newer].older = older;
        let newest = self.ring[JOINT].older;
        self.ring[link].older = newest;
        self.ring[link].newer = JOINT;
        self.ring[newest].newer = link;
        self.ring[JOINT].older = link;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_token_not_used_for_longest_gives_its_place(
            most in 1..5usize,
            uses in vec((0..8u32, any::<bool>()), 0..60),
        ) {
            let mut recency = Recency::new(most);
            // Tokens and their places, the oldest first.
            let mut known: Vec<(TokenId, usize)> = Vec::new();
            for (token, claims) in uses {
                let at = known.iter().position(|&(other, _)| other == token);
                let before = at.map(|at| known.remove(at));
                known.extend(before);
                let place = before.map(|(_, place)| place);
                if claims {
                    let expected = place.map_or_else(
                        || {
                            let full = known.len() == most;
                            let place = if full { known.remove(0).1 } else { known.len() };
                            known.push((token, place));
                            Place::New(place)
                        },
                        Place::Known,
                    );
                    prop_assert_eq!(recency.claim(token), expected);
                } else {
                    prop_assert_eq!(recency.find(token), place);
                }
                prop_assert!(recency.places.len() <= most && recency.ring.len() <= most + 1);
            }
        }
    }
}
