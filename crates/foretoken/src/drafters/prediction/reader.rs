//! Where a text is in its prediction.
//!
//! While the text writes what is predicted, its place moves along. Behind a token that is not, the places
//! are sought where the prediction may go on: each agrees with the end of the text for some tokens and lies
//! some way from where the text was last surely. A longer agreement makes up for a longer way.

use foretoken_core::TokenId;

use super::grams::Grams;
use super::trust::Trust;
use crate::drafters::places::Place;

/// Agreeing tokens that leave no doubt about a place.
const SURE: usize = 8;
/// Agreeing tokens that are told apart.
const LONGEST: usize = 16;
/// Places looked at on either side of where the text was last surely.
const SIDE: usize = 4;
/// What an agreeing token is worth against the logarithm of the way to its place.
const WORTH: f64 = 3.0;

/// Whether the text is there beyond doubt.
pub(super) fn is_sure(place: Place) -> bool {
    place.agreeing >= SURE
}

/// How likely the text is there, as a score: its agreement against the way from `home`.
fn merit(place: Place, home: usize) -> f64 {
    let way = (1.0 + place.next.abs_diff(home) as f64).ln();
    // Texts seldom go back.
    let back = f64::from(u8::from(place.next < home));
    WORTH * place.agreeing as f64 - way - back
}

/// A text and its place in its prediction.
pub(super) struct Reader {
    ones: Grams<1>,
    threes: Grams<3>,
    /// Tokens of the text that were taken in.
    read: usize,
    /// The best place known.
    at: Place,
    /// Where the text was last surely.
    home: usize,
    /// How often places were right.
    pub(super) trust: Trust,
}

impl Reader {
    /// A text of `read` tokens whose prediction begins now.
    pub(super) fn new(prediction: &[TokenId], read: usize) -> Self {
        Self {
            ones: Grams::new(prediction),
            threes: Grams::new(prediction),
            read,
            // The caller expects it to begin so.
            at: Place { next: 0, agreeing: SURE },
            home: 0,
            trust: Trust::new(),
        }
    }

    /// Takes in the tokens that are new, and learns up to the first that is not where it was expected.
    pub(super) fn take_in(&mut self, prediction: &[TokenId], text: &[TokenId]) {
        let mut expecting = true;
        for token in text.get(self.read..).unwrap_or_default() {
            let expected = prediction.get(self.at.next);
            let right = expected == Some(token);
            if expecting && expected.is_some() {
                self.trust.learn(self.at.agreeing, right);
            }
            if right {
                self.at = Place { next: self.at.next + 1, agreeing: self.at.agreeing + 1 };
            } else {
                self.at.agreeing = 0;
                expecting = false;
            }
            if is_sure(self.at) {
                self.home = self.at.next;
            }
        }
        self.read = text.len();
    }

    /// Writes the places at which the text may be over `found`, the best first, and goes to the best.
    pub(super) fn find(
        &mut self,
        prediction: &[TokenId],
        text: &[TokenId],
        found: &mut Vec<Place>,
    ) {
        found.clear();
        if is_sure(self.at) {
            found.push(self.at);
            return;
        }
        let ones = self.ones.near(prediction, text, self.home, SIDE);
        let threes = self.threes.near(prediction, text, self.home, SIDE);
        for next in ones.chain(threes) {
            let place = Place::before(prediction, next, text, LONGEST);
            if place.agreeing > 0 {
                add(found, place);
            }
        }
        // Tokens may have been put in before the place, or one in place of another.
        add(found, self.at);
        add(found, Place { next: self.at.next + 1, agreeing: 0 });
        let home = self.home;
        found.sort_by(|a, b| merit(*b, home).total_cmp(&merit(*a, home)));
        self.at = found[0];
    }
}

/// Adds a place unless it is known.
fn add(found: &mut Vec<Place>, place: Place) {
    if !found.iter().any(|known| known.next == place.next) {
        found.push(place);
    }
}
