//! Stop strings, looked for in text as it grows.
//!
//! Every stop string is a Knuth-Morris-Pratt automaton, so the work per byte and stop string is
//! constant and nothing is read twice. The automata also know how much of the text may yet become
//! part of a stop string, which is what must not be shown. What the text is made of is unknown
//! here.

use thiserror::Error;

/// Why stop strings were refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopError {
    /// An empty one would end every text before it begins.
    #[error("stop string {0} is empty; every text contains it")]
    Empty(usize),
}

/// One stop string with its failure function.
#[derive(Debug, Clone)]
struct Automaton {
    stop: Box<[u8]>,
    /// For each prefix, the length of its longest proper prefix that also ends it.
    failure: Box<[usize]>,
    /// Bytes of `stop` that the text ends with.
    matched: usize,
}

impl Automaton {
    fn new(stop: &str) -> Self {
        let stop: Box<[u8]> = stop.as_bytes().into();
        let mut failure = vec![0; stop.len()];
        let mut matched = 0;
        for at in 1..stop.len() {
            while matched > 0 && stop[at] != stop[matched] {
                matched = failure[matched - 1];
            }
            matched += usize::from(stop[at] == stop[matched]);
            failure[at] = matched;
        }
        Self { stop, failure: failure.into(), matched: 0 }
    }

    /// Takes a byte; true where it completes the stop string.
    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.stop[self.matched] != byte {
            self.matched = self.failure[self.matched - 1];
        }
        self.matched += usize::from(self.stop[self.matched] == byte);
        self.matched == self.stop.len()
    }
}

/// What a piece of text brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopStep<'a> {
    /// Text that can be shown now: it begins where the last step's ended.
    pub text: &'a str,
    /// The stop string that ends the text after `text`, by its place in the list.
    pub found: Option<usize>,
}

/// Looks for several stop strings in a growing text.
///
/// The pieces are given as they come, token by token. Of the stop strings that a piece completes,
/// the one that begins first ends the text (the first in the list among those that begin together).
/// Once one is found, nothing further is taken.
#[derive(Debug, Clone, Default)]
pub struct StopSearch {
    automata: Vec<Automaton>,
    /// Text handed in and not yet shown.
    held: String,
    /// How much of `held` the last step has shown.
    shown: usize,
    found: Option<usize>,
}

impl StopSearch {
    /// A search for `stops`; without any, all text can be shown at once.
    pub fn new<S: AsRef<str>>(stops: &[S]) -> Result<Self, StopError> {
        if let Some(index) = stops.iter().position(|stop| stop.as_ref().is_empty()) {
            return Err(StopError::Empty(index));
        }
        let automata = stops.iter().map(|stop| Automaton::new(stop.as_ref())).collect();
        Ok(Self { automata, ..Self::default() })
    }

    /// Takes the next piece of text and returns what can be shown now: everything that no stop
    /// string can begin in, or what precedes the stop string that the piece completes.
    pub fn push(&mut self, piece: &str) -> StopStep<'_> {
        self.held.drain(..self.shown);
        self.shown = 0;
        if self.found.is_some() {
            return StopStep { text: "", found: self.found };
        }
        let before = self.held.len();
        self.held.push_str(piece);
        // Where a completed stop string begins, and which it is.
        let mut first: Option<(usize, usize)> = None;
        for (index, automaton) in self.automata.iter_mut().enumerate() {
            let end = piece.bytes().position(|byte| automaton.step(byte));
            if let Some(end) = end {
                let start = before + end + 1 - automaton.stop.len();
                first = first.filter(|&(other, _)| other <= start).or(Some((start, index)));
            }
        }
        if let Some((start, index)) = first {
            self.held.truncate(start);
            self.found = Some(index);
        }
        let possible = self.automata.iter().map(|automaton| automaton.matched).max().unwrap_or(0);
        let kept = if self.found.is_some() { 0 } else { possible };
        self.shown = self.held.len() - kept;
        StopStep { text: &self.held[..self.shown], found: self.found }
    }

    /// Ends the text: what was held back can be shown, since nothing comes that could complete it.
    pub fn finish(&mut self) -> &str {
        self.held.drain(..self.shown);
        self.shown = self.held.len();
        &self.held
    }

    /// The stop string that was found, by its place in the list.
    pub fn found(&self) -> Option<usize> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<usize>, String) {
        let mut search = StopSearch::new(stops).unwrap();
        let shown = pieces.iter().map(|piece| search.push(piece).text.to_owned()).collect();
        (shown, search.found(), search.finish().to_owned())
    }

    #[test]
    fn text_is_held_back_only_where_a_stop_string_may_begin() {
        let (shown, found, rest) = run(&["\n\nUser"], &["Hi\n", "there\n\nU", "se", "d\n"]);
        assert_eq!(shown, ["Hi", "\nthere", "", "\n\nUsed"]);
        assert_eq!((found, rest.as_str()), (None, "\n"));
    }

    #[test]
    fn the_text_ends_before_the_stop_string() {
        let (shown, found, rest) = run(&["END"], &["a E", "ND b", "c"]);
        assert_eq!(shown, ["a ", "", ""]);
        assert_eq!((found, rest.as_str()), (Some(0), ""));
    }

    #[test]
    fn the_earliest_start_wins_within_a_piece() {
        assert_eq!(run(&["b", "abc"], &["xabc"]).0, ["x"]);
        assert_eq!(run(&["b", "abc"], &["xabc"]).1, Some(1));
        assert_eq!(run(&["abc", "b"], &["xa", "bc"]).0, ["x", ""]);
        // Token by token: the piece that completes any stop string ends the text.
        let (shown, found, _) = run(&["abc", "b"], &["xa", "b", "c"]);
        assert_eq!((shown.concat().as_str(), found), ("xa", Some(1)));
        assert_eq!(
            run(&["ab", "abc"], &["abc"]).1,
            Some(0),
            "both begin there: the first in the list"
        );
    }

    #[test]
    fn a_failed_match_falls_back_to_the_longest_border() {
        let (shown, found, _) = run(&["aabaaa"], &["aab", "aabaaa"]);
        assert_eq!((shown.concat().as_str(), found), ("aab", Some(0)));
    }

    #[test]
    fn stop_strings_may_split_characters_of_the_text_nowhere() {
        let (shown, found, rest) = run(&["é!"], &["caf", "é", "è"]);
        assert_eq!(shown, ["caf", "", "éè"]);
        assert_eq!((found, rest.as_str()), (None, ""));
    }

    #[test]
    fn an_empty_stop_string_is_refused_and_none_holds_nothing() {
        assert_eq!(StopSearch::new(&["a", ""]).unwrap_err(), StopError::Empty(1));
        assert_eq!(run(&[], &["a", "b"]).0, ["a", "b"]);
    }

    /// All texts of 7 letters out of two, all ways to cut them into pieces of 1 and 2, five sets of
    /// stops, against a search by brute force.
    #[test]
    fn any_text_in_any_pieces_agrees_with_a_plain_search() {
        let sets: [&[&str]; 5] =
            [&["ab"], &["aab", "ba"], &["abab", "bb"], &["b"], &["aba", "bab", "aabb"]];
        for text in 0..128u32 {
            let text: String =
                (0..7).map(|bit| if text >> bit & 1 == 1 { 'a' } else { 'b' }).collect();
            for cuts in 0..64u32 {
                let mut pieces = vec![String::new()];
                for (at, letter) in text.chars().enumerate() {
                    if at > 0 && cuts >> (at - 1) & 1 == 1 {
                        pieces.push(String::new());
                    }
                    pieces.last_mut().unwrap().push(letter);
                }
                for stops in sets {
                    let mut search = StopSearch::new(stops).unwrap();
                    let mut all = String::new();
                    let mut shown = String::new();
                    for piece in &pieces {
                        all.push_str(piece);
                        let step = search.push(piece);
                        shown.push_str(step.text);
                        let wanted = stops.iter().filter_map(|stop| all.find(stop)).min();
                        if let Some(end) = wanted {
                            assert_eq!(shown, all[..end], "{pieces:?} {stops:?}");
                            assert!(step.found.is_some());
                            break;
                        }
                        assert_eq!(step.found, None, "{pieces:?} {stops:?}");
                        let safe = (0..=all.len())
                            .find(|&at| stops.iter().any(|stop| stop.starts_with(&all[at..])))
                            .unwrap_or(all.len());
                        assert_eq!(shown, all[..safe], "{pieces:?} {stops:?}");
                    }
                }
            }
        }
    }
}
