//! How much of a shape pays: what its guesses have lately earned against what its rows cost.

use super::LookaheadShape;
use crate::CostCurve;

/// Share of what guesses earn that their rows may cost.
const SHARE: f64 = 0.5;
/// Share of passes in which guesses are taken to be right at a depth where none was verified yet.
const HOPED: f64 = 0.3;
/// Share of the latest pass in what guesses have lately earned.
const LATEST: f64 = 1.0 / 32.0;
/// Tokens of the shortest n-grams that longer ones are shortened to.
const SHORTEST: usize = 3;

/// What guesses have lately earned: by depth, the share of passes in which one was right so far.
#[derive(Debug, Clone)]
pub(super) struct Earnings(Vec<f64>);

impl Earnings {
    /// What is hoped of guesses of `depth` tokens.
    pub(super) fn hoped(depth: usize) -> Self {
        Self(vec![HOPED; depth])
    }

    /// Takes in a pass that has shown up to `shown` tokens, of which the best guess was right in the first
    /// `right`. What is known of greater depths stays, as far as lesser ones allow.
    pub(super) fn learn(&mut self, right: usize, shown: usize) {
        let mut most = 1.0;
        for (depth, rate) in self.0.iter_mut().enumerate() {
            if depth < shown {
                *rate += LATEST * (f64::from(u8::from(depth < right)) - *rate);
            }
            *rate = rate.min(most);
            most = *rate;
        }
    }

    /// Tokens that guesses of `depth` tokens give a pass.
    fn tokens(&self, depth: usize) -> f64 {
        self.0.iter().take(depth).sum()
    }
}

/// A shape and the smaller ones that it shrinks to, each with what its rows cost.
#[derive(Debug)]
pub(super) struct Ladder(Vec<Rung>);

#[derive(Debug)]
struct Rung {
    shape: LookaheadShape,
    /// By tokens of the n-grams from none up: what the rows of the shape cost with them, in passes of one row.
    costs: Vec<f64>,
}

impl Rung {
    fn new(shape: LookaheadShape, cost: &CostCurve) -> Self {
        let price = |ngram| cost.ratio(1 + LookaheadShape { ngram, ..shape }.nodes()) - 1.0;
        let costs = (0..=shape.ngram).map(|ngram| if ngram < 2 { 0.0 } else { price(ngram) });
        Self { shape, costs: costs.collect() }
    }

    /// Whether the rows with n-grams of so many tokens are worth their time.
    fn pays(&self, ngram: usize, earnings: &Earnings) -> bool {
        self.costs[ngram] <= SHARE * earnings.tokens(ngram - 1)
    }

    /// The shape with n-grams shortened while their last token earns less than its rows cost. Rows are counted as if
    /// no two guesses began alike, which is too many, so they may cost all of it.
    fn shortened(&self, earnings: &Earnings) -> LookaheadShape {
        let idle = |&ngram: &usize| {
            let rows = self.costs[ngram] - self.costs[ngram - 1];
            rows > earnings.0[ngram - 2]
        };
        let longer = (SHORTEST + 1..=self.shape.ngram).rev();
        let ngram = self.shape.ngram - longer.take_while(idle).count();
        LookaheadShape { ngram, ..self.shape }
    }
}

impl Ladder {
    /// The shapes below one, by the cost of rows; one column and one guess stay, from which it can recover.
    pub(super) fn new(shape: LookaheadShape, cost: &CostCurve) -> Self {
        let below = |&shape: &LookaheadShape| shape.less(shape.window.min(1));
        let shapes = std::iter::successors(Some(shape), below);
        Self(shapes.map(|shape| Rung::new(shape, cost)).collect())
    }

    /// The part of the shape that is worth its rows: the most columns and guesses that pay with n-grams as
    /// long as their tokens pay there, or the fewest.
    pub(super) fn paying(&self, earnings: &Earnings) -> LookaheadShape {
        let pays = |rung: &&Rung| rung.pays(rung.shortened(earnings).ngram, earnings);
        let rung = self.0.iter().find(pays).unwrap_or(&self.0[self.0.len() - 1]);
        rung.shortened(earnings)
    }
}

/// Whether a shape's rows are worth their time where nothing is known of what they earn.
pub(super) fn may_pay(shape: LookaheadShape, cost: &CostCurve) -> bool {
    Rung::new(shape, cost).pays(shape.ngram, &Earnings::hoped(shape.ngram - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(window: usize, ngram: usize, guesses: usize) -> LookaheadShape {
        LookaheadShape::new(window, ngram, guesses).unwrap()
    }

    /// A row costs a hundredth of a pass.
    fn ladder(shape: LookaheadShape) -> Ladder {
        Ladder::new(shape, &CostCurve::new(vec![(1, 1.0), (101, 2.0)]).unwrap())
    }

    #[test]
    fn rows_cost_at_most_half_of_what_is_earned() {
        let ladder7 = ladder(shape(7, 5, 7));
        let deep = |rate| Earnings(vec![rate; 4]);
        assert_eq!(ladder7.paying(&deep(0.3)), shape(7, 5, 7), "55 nodes cost 0.55");
        assert_eq!(ladder7.paying(&deep(0.125)), shape(3, 5, 3), "23 nodes cost 0.23");
        assert_eq!(ladder7.paying(&Earnings(vec![0.5, 0.3, 0.1, 0.05])), shape(7, 3, 7));
        assert_eq!(ladder7.paying(&deep(0.0)), shape(1, 3, 1));
        assert_eq!(ladder(shape(0, 5, 7)).paying(&deep(0.0)), shape(0, 3, 1));
    }

    #[test]
    fn ngrams_are_as_long_as_their_last_token_earns_its_rows() {
        // A token more costs 14 rows.
        let ladder = ladder(shape(7, 5, 7));
        let paying = |rates: [f64; 4]| ladder.paying(&Earnings(rates.to_vec())).ngram;
        assert_eq!(paying([0.9, 0.6, 0.3, 0.15]), 5);
        assert_eq!(paying([0.9, 0.6, 0.3, 0.13]), 4);
        assert_eq!(paying([0.9, 0.6, 0.13, 0.1]), 3);
        assert_eq!(paying([0.9, 0.13, 0.1, 0.0]), 3, "no shorter");
    }

    #[test]
    fn earnings_follow_the_depths_of_right_guesses() {
        let mut earnings = Earnings::hoped(4);
        let mut check = |right: [usize; 2], shown, expected: [f64; 4]| {
            (0..400).for_each(|pass| earnings.learn(right[pass % 2], shown));
            for (rate, expected) in earnings.0.iter().zip(expected) {
                assert!((rate - expected).abs() < 0.02, "{earnings:?} instead of {expected:?}");
            }
        };
        check([4, 1], 5, [1.0, 0.5, 0.5, 0.5]);
        check([3, 3], 3, [1.0, 1.0, 1.0, 0.5]);
        check([3, 0], 2, [0.5, 0.5, 0.5, 0.5]);
    }
}
