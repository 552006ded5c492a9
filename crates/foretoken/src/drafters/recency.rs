//! Places for a limited number of tokens: a new token takes the place of the one not used for longest.

use std::collections::HashMap;

use foretoken_core::TokenId;

/// The link that joins both ends of the ring.
const JOINT: u32 = 0;

/// Which token has which place, and which was used when.
#[derive(Debug)]
pub(super) struct Recency {
    /// Most tokens.
    most: u32,
    places: HashMap<TokenId, u32>,
    /// By place, behind the joint: a ring in the order of use, from the oldest behind the joint to the
    /// newest before it.
    ring: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    token: TokenId,
    older: u32,
    newer: u32,
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
        let most = u32::try_from(most).unwrap_or(u32::MAX - 1).max(1);
        Self { most, places: HashMap::new(), ring: vec![joint] }
    }

    /// The place of a token, if it has one. Looking is using.
    pub(super) fn find(&mut self, token: TokenId) -> Option<usize> {
        let link = *self.places.get(&token)?;
        self.touch(link);
        Some(link as usize - 1)
    }

    /// The place of a token, given to it if it has none.
    pub(super) fn claim(&mut self, token: TokenId) -> Place {
        if let Some(place) = self.find(token) {
            return Place::Known(place);
        }
        let links = self.ring.len() as u32;
        let link = if links <= self.most {
            self.ring.push(Link { token, older: links, newer: links });
            links
        } else {
            let oldest = self.link(JOINT).newer;
            let forgotten = std::mem::replace(&mut self.link(oldest).token, token);
            self.places.remove(&forgotten);
            oldest
        };
        self.places.insert(token, link);
        self.touch(link);
        Place::New(link as usize - 1)
    }

    fn link(&mut self, link: u32) -> &mut Link {
        &mut self.ring[link as usize]
    }

    /// Makes a link the newest.
    fn touch(&mut self, link: u32) {
        let Link { older, newer, .. } = *self.link(link);
        self.link(older).newer = newer;
        self.link(newer).older = older;
        let newest = self.link(JOINT).older;
        *self.link(link) = Link { older: newest, newer: JOINT, ..*self.link(link) };
        self.link(newest).newer = link;
        self.link(JOINT).older = link;
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
