//! A suffix automaton that grows with its text: where the text's end stood before, at any length.
//!
//! Its states are the sets of substrings that end at the same places. After each token the suffix link
//! of the whole text's state is the longest end of the text that also stands earlier, and the links
//! above it are the shorter ends that stand at more places. Growing costs a constant number of steps
//! per token on average whatever the text is (Blumer et al. 1985), with at most two states and three
//! edges per token. It knows tokens only, nothing of drafts.

use std::collections::HashMap;

use foretoken_core::TokenId;

use crate::drafters::places::Place;

/// Longest common history that is told apart.
pub(super) const LONGEST: usize = 64;
/// Stands between two texts; no vocabulary has it.
const BREAK: TokenId = TokenId::MAX;
/// States whose newest place is kept up to date, from the longest repeated end of the text upwards. All
/// of them would be quadratic where one token repeats.
const FRESH: usize = 9;
const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// The automaton of the texts so far, the newest of which grows.
pub(super) struct Automaton {
    tokens: Vec<TokenId>,
    /// Index of the newest text's first token.
    start: usize,
    states: Vec<State>,
    /// The edges that find no place in their state.
    edges: HashMap<(u32, TokenId), u32>,
    /// Their tokens, as one list per state: token and the entry that follows.
    lists: Vec<(TokenId, u32)>,
    /// The state of everything so far.
    last: u32,
}

/// Substrings that end at the same places.
#[derive(Debug, Clone, Copy)]
struct State {
    /// Tokens of the longest of them.
    len: u32,
    /// The state of its longest end that stands at more places.
    link: u32,
    /// Index of the last token at one of the places, a recent one.
    end: u32,
    /// First edge: its token and the state it leads to, or no state.
    token: TokenId,
    target: u32,
    /// Where in `lists` the other edges begin.
    others: u32,
}

impl Automaton {
    /// The automaton of no text.
    pub(super) fn new() -> Self {
        let root = State { len: 0, link: NONE, end: 0, token: 0, target: NONE, others: NONE };
        Self {
            tokens: Vec::new(),
            start: 0,
            states: vec![root],
            edges: HashMap::new(),
            lists: Vec::new(),
            last: ROOT,
        }
    }

    /// Tokens of all texts and the breaks between them.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// What is kept of the newest text.
    pub(super) fn newest(&self) -> &[TokenId] {
        &self.tokens[self.start..]
    }

    /// Begins another text; no place found for it begins in one text and ends in another.
    pub(super) fn begin_text(&mut self) {
        self.push(BREAK);
        self.start = self.tokens.len();
    }

    /// Appends a token to the newest text.
    pub(super) fn push(&mut self, token: TokenId) {
        // Only now, so that until here the newest places of the text's end were not the end itself.
        self.refresh();
        let end = self.tokens.len() as u32;
        self.tokens.push(token);
        let len = self.state(self.last).len + 1;
        let whole = self.add(State { len, link: ROOT, end, token: 0, target: NONE, others: NONE });
        let mut from = self.last;
        while from != NONE {
            if let Some(next) = self.follow(from, token) {
                let link = self.split(from, token, next);
                self.state_mut(whole).link = link;
                break;
            }
            self.connect(from, token, whole);
            from = self.state(from).link;
        }
        self.last = whole;
    }

    /// Forgets all but the last `count` tokens.
    pub(super) fn keep(&mut self, count: usize) {
        let cut = self.tokens.len().saturating_sub(count);
        let tokens = self.tokens.split_off(cut);
        let start = self.start.saturating_sub(cut);
        // The old one is freed before the new one grows.
        *self = Self::new();
        for token in tokens {
            self.push(token);
        }
        self.start = start;
    }

    /// Recent places of the text's end, the longest common history first. As many tokens agree as are
    /// known to, at most [`LONGEST`] and never of two texts.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let most = LONGEST.min(self.newest().len());
        self.repeated().map(move |id| {
            let State { len, end, .. } = *self.state(id);
            Place { next: end as usize + 1, agreeing: most.min(len as usize) }
        })
    }

    /// The token so many tokens behind a place, as far as its text goes; where that is the newest text,
    /// what is expected to follow is what was copied already.
    pub(super) fn follow_up(&self, place: Place, depth: usize) -> Option<TokenId> {
        let period = self.tokens.len() - place.next;
        Some(self.tokens[place.next + depth % period]).filter(|&token| token != BREAK)
    }

    /// States of the ends of the text that also stand earlier, the longest first.
    fn repeated(&self) -> impl Iterator<Item = u32> + '_ {
        let above = |id: u32| {
            let link = self.state(id).link;
            (link != ROOT && link != NONE).then_some(link)
        };
        std::iter::successors(above(self.last), move |&id| above(id)).take(FRESH)
    }

    /// The end of the text becomes the newest place of itself.
    fn refresh(&mut self) {
        let mut id = self.state(self.last).link;
        for _ in 0..FRESH {
            if id == ROOT || id == NONE {
                break;
            }
            let end = self.tokens.len() as u32 - 1;
            let state = self.state_mut(id);
            state.end = end;
            id = state.link;
        }
    }

    /// The state for what stands before the edge from `from` to `next`, and the edge's token: `next`, or
    /// a part of it that gets a state of its own.
    fn split(&mut self, from: u32, token: TokenId, next: u32) -> u32 {
        let len = self.state(from).len + 1;
        if self.state(next).len == len {
            return next;
        }
        let part = self.add(State { len, others: NONE, ..*self.state(next) });
        let mut entry = self.state(next).others;
        while entry != NONE {
            let (token, following) = self.lists[entry as usize];
            if let Some(target) = self.follow(next, token) {
                self.connect(part, token, target);
            }
            entry = following;
        }
        self.state_mut(next).link = part;
        let mut from = from;
        while from != NONE && self.follow(from, token) == Some(next) {
            self.connect(from, token, part);
            from = self.state(from).link;
        }
        part
    }

    fn follow(&self, from: u32, token: TokenId) -> Option<u32> {
        let state = self.state(from);
        if state.target == NONE {
            None
        } else if state.token == token {
            Some(state.target)
        } else if state.others == NONE {
            None
        } else {
            self.edges.get(&(from, token)).copied()
        }
    }

    /// Adds or redirects an edge.
    fn connect(&mut self, from: u32, token: TokenId, target: u32) {
        let entry = self.lists.len() as u32;
        let state = &mut self.states[from as usize];
        if state.target == NONE || state.token == token {
            (state.token, state.target) = (token, target);
        } else if self.edges.insert((from, token), target).is_none() {
            self.lists.push((token, state.others));
            state.others = entry;
        }
    }

    fn add(&mut self, state: State) -> u32 {
        self.states.push(state);
        self.states.len() as u32 - 1
    }

    fn state(&self, id: u32) -> &State {
        &self.states[id as usize]
    }

    fn state_mut(&mut self, id: u32) -> &mut State {
        &mut self.states[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn automaton(texts: &[Vec<TokenId>]) -> Automaton {
        let mut automaton = Automaton::new();
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                automaton.begin_text();
            }
            for &token in text {
                automaton.push(token);
            }
        }
        automaton
    }

    /// The most tokens that the end of `newest` shares with what ends before some earlier token, by
    /// looking everywhere.
    fn longest_agreement(tokens: &[TokenId], newest: usize) -> usize {
        let agreeing = |next: usize| Place::before(tokens, next, tokens, newest).agreeing;
        (0..tokens.len()).map(agreeing).max().unwrap_or(0).min(LONGEST)
    }

    fn check_places(automaton: &Automaton) {
        let tokens = &automaton.tokens;
        let places: Vec<_> = automaton.places().collect();
        let longest = longest_agreement(tokens, automaton.newest().len());
        assert_eq!(places.first().map_or(0, |place| place.agreeing), longest);
        assert!(places.is_sorted_by_key(|place| std::cmp::Reverse(place.agreeing)));
        for Place { next, agreeing } in places {
            assert!(next < tokens.len(), "a place is followed by a token");
            assert!(tokens[..next].ends_with(&tokens[tokens.len() - agreeing..]), "it agrees");
        }
    }

    /// The automaton's size law, which also bounds the steps that grew it: each adds an edge, redirects
    /// one or ends a token's loop.
    fn check_size(automaton: &Automaton) {
        let (tokens, states) = (automaton.len(), automaton.states.len());
        let inline = automaton.states.iter().filter(|state| state.target != NONE).count();
        assert!(states <= 2 * tokens + 1, "{states} states of {tokens} tokens");
        let edges = inline + automaton.edges.len();
        assert!(edges <= 3 * tokens + 1, "{edges} edges of {tokens} tokens");
        assert_eq!(automaton.lists.len(), automaton.edges.len(), "each edge is listed once");
    }

    proptest! {
        #[test]
        fn places_are_those_that_looking_everywhere_finds(
            texts in vec(vec(0..4u32, 0..60), 1..4),
            kept in 0..120usize,
        ) {
            let mut grown = Automaton::new();
            for (index, text) in texts.iter().enumerate() {
                if index > 0 {
                    grown.begin_text();
                }
                for &token in text {
                    grown.push(token);
                    check_places(&grown);
                }
            }
            check_size(&grown);
            let (tokens, newest) = (grown.tokens.clone(), grown.newest().to_vec());
            grown.keep(kept);
            prop_assert!(tokens.ends_with(&grown.tokens));
            prop_assert!(newest.ends_with(grown.newest()));
            prop_assert_eq!(grown.len(), kept.min(tokens.len()));
            check_places(&grown);
        }
    }

    #[test]
    fn hostile_texts_stay_linear() {
        const LENGTH: u32 = 200_000;
        let one = vec![7; LENGTH as usize];
        let text = |token: fn(u32) -> TokenId| (0..LENGTH).map(token).collect::<Vec<_>>();
        // a b b .. b has the most states there can be, a b b .. b c the most edges.
        let most_states = text(|i| u32::from(i > 0));
        let most_edges = text(|i| u32::from(i > 0) + u32::from(i == LENGTH - 1));
        let halves = text(|i| u32::from(i >= LENGTH / 2));
        let periodic = text(|i| i % 1000);
        let apart = text(|i| i);
        for text in [one, most_states, most_edges, halves, periodic, apart] {
            check_size(&automaton(&[text]));
        }
    }

    #[test]
    fn the_most_recent_place_comes_first_and_the_end_is_not_its_own_place() {
        let place = |text: &[TokenId]| automaton(&[text.to_vec()]).places().next();
        assert_eq!(place(&[1, 2, 3]), None);
        assert_eq!(place(&[1, 2, 3, 1]), Some(Place { next: 1, agreeing: 1 }));
        assert_eq!(place(&[1, 2, 8, 1, 2, 9, 1, 2]), Some(Place { next: 5, agreeing: 2 }));
        assert_eq!(place(&[1, 1, 1, 1]), Some(Place { next: 3, agreeing: 3 }));
        assert_eq!(place(&[1; 100]), Some(Place { next: 99, agreeing: LONGEST }));
    }

    #[test]
    fn texts_do_not_run_into_one_another() {
        let one = automaton(&[vec![1, 2, 3], vec![9, 1, 2]]);
        let place = one.places().next().unwrap();
        assert_eq!(place, Place { next: 2, agreeing: 2 });
        let follow_up = |automaton: &Automaton, place, depths| {
            (0..depths).map_while(|depth| automaton.follow_up(place, depth)).collect::<Vec<_>>()
        };
        assert_eq!(follow_up(&one, place, 5), [3]);
        // The break is a token like any other, but never one of an agreeing run.
        let places: Vec<_> = automaton(&[vec![5], vec![5], vec![5]]).places().collect();
        assert!(places.iter().all(|place| place.agreeing == 1), "{places:?}");
        let repeating = automaton(&[vec![1, 2, 3, 1]]);
        let place = Place { next: 1, agreeing: 1 };
        assert_eq!(follow_up(&repeating, place, 5), [2, 3, 1, 2, 3]);
    }
}
