//! `--lookahead`: how wide the window is, how long its n-grams are, how many guesses are verified.

use super::earnings::may_pay;
use crate::{CostCurve, DraftOptions, Error};

/// Columns of the window, tokens of an n-gram, guesses per step: the W, N and G of Lookahead decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookaheadShape {
    pub(super) window: usize,
    pub(super) ngram: usize,
    pub(super) guesses: usize,
}

/// Published and smaller shapes, the largest first.
const SHAPES: [LookaheadShape; 6] = [
    LookaheadShape { window: 15, ngram: 5, guesses: 15 },
    LookaheadShape { window: 10, ngram: 5, guesses: 10 },
    LookaheadShape { window: 7, ngram: 5, guesses: 7 },
    LookaheadShape { window: 5, ngram: 4, guesses: 5 },
    LookaheadShape { window: 4, ngram: 3, guesses: 4 },
    LookaheadShape { window: 2, ngram: 3, guesses: 2 },
];

/// The shape where nothing is known of the machine.
const UNMEASURED: LookaheadShape = SHAPES[3];

impl LookaheadShape {
    /// Nodes of the largest shape that is chosen unasked.
    pub(super) const MOST: usize = SHAPES[0].nodes();

    /// A window of `window` columns (0 leaves only the pool), n-grams of `ngram` tokens, and at most
    /// `guesses` of them verified per step.
    pub fn new(window: usize, ngram: usize, guesses: usize) -> Result<Self, Error> {
        let shape = Self { window, ngram, guesses };
        let sound = window <= 64 && (2..=16).contains(&ngram) && (1..=64).contains(&guesses);
        if sound && shape.nodes() <= DraftOptions::MAX_TOKENS {
            Ok(shape)
        } else {
            Err(out_of_bounds(&format!("{window},{ngram},{guesses}")))
        }
    }

    /// Understands `W,N,G`, such as `7,5,7`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[window, ngram, guesses]) => Self::new(window, ngram, guesses),
            _ => Err(out_of_bounds(text)),
        }
    }

    /// Most nodes of a draft besides the root: the window and guesses that share nothing.
    pub(super) const fn nodes(self) -> usize {
        self.window_nodes() + self.guesses * (self.ngram - 1)
    }

    /// Most nodes of a window, whose first column begins at the root. While it grows it has a column more for
    /// each row that is still to come, so that with few columns it is at its largest before it is full.
    const fn window_nodes(self) -> usize {
        let (mut most, mut rows) = (0, 1);
        while self.window > 0 && rows < self.ngram {
            let nodes = rows * (self.window + self.ngram - 1 - rows) - 1;
            if nodes > most {
                most = nodes;
            }
            rows += 1;
        }
        most
    }

    /// The largest published shape whose rows pay by a measured curve, or a small one.
    pub(super) fn affordable(cost: Option<&CostCurve>) -> Self {
        let Some(cost) = cost else { return UNMEASURED };
        let pays = SHAPES.into_iter().find(|&shape| may_pay(shape, cost));
        pays.unwrap_or(SHAPES[SHAPES.len() - 1])
    }

    /// With fewer columns and guesses, so that drafts have at most `nodes` nodes; the last guess stays.
    pub(super) fn within(self, nodes: usize) -> Self {
        let shapes = std::iter::successors(Some(self), |shape| shape.less(0));
        let mut small = shapes.skip_while(|shape| shape.nodes() > nodes);
        small.next().unwrap_or(Self { window: 0, guesses: 1, ..self })
    }

    /// With a column or a guess less, as long as more than `columns` and one are left.
    pub(super) fn less(self, columns: usize) -> Option<Self> {
        let Self { window, guesses, .. } = self;
        if window > columns && (window >= guesses || guesses == 1) {
            Some(Self { window: window - 1, ..self })
        } else {
            (guesses > 1).then(|| Self { guesses: guesses - 1, ..self })
        }
    }
}

fn out_of_bounds(value: &str) -> Error {
    let bound = "W,N,G such as 7,5,7: a window of at most 64 columns, n-grams of 2 to 16 tokens, 1 to 64 \
                 guesses, and no more than 512 nodes in all";
    Error::Option { option: "lookahead", value: value.to_owned(), bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_parsed_and_bounded() {
        let shape = LookaheadShape::parse("7,5,7").unwrap();
        assert_eq!((shape.window, shape.ngram, shape.guesses), (7, 5, 7));
        // 7 times 4 rows of the window less the root, and 7 times 4 of guesses.
        assert_eq!(shape.nodes(), 55);
        assert_eq!(LookaheadShape::parse("0,3,2").unwrap().nodes(), 4);
        // 3 rows of 3 columns are more than 4 of 2.
        assert_eq!(LookaheadShape::parse("2,5,1").unwrap().nodes(), 8 + 4);
        for wrong in ["", "7", "7,5", "7,5,7,1", "7,5,x", "7,1,7", "7,5,0", "65,2,1", "64,16,64"] {
            let error = LookaheadShape::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("7,5,7"), "{error}");
        }
    }

    #[test]
    fn the_largest_cheap_shape_is_chosen() {
        let flat = CostCurve::new(vec![(1, 1.0), (200, 1.1)]);
        assert_eq!(LookaheadShape::affordable(flat.as_ref()), SHAPES[0]);
        // 56 rows cost 1.55 passes, 80 cost 1.79.
        let rising = CostCurve::new(vec![(1, 1.0), (101, 2.0)]);
        assert_eq!(LookaheadShape::affordable(rising.as_ref()), SHAPES[2]);
        let steep = CostCurve::new(vec![(1, 1.0), (2, 2.0)]);
        assert_eq!(LookaheadShape::affordable(steep.as_ref()), SHAPES[5]);
        assert_eq!(LookaheadShape::affordable(None), UNMEASURED);
    }

    #[test]
    fn a_budget_takes_from_window_and_guesses_alike() {
        let shape = LookaheadShape::new(7, 5, 7).unwrap();
        assert_eq!(shape.within(55), shape);
        assert_eq!(shape.within(31), LookaheadShape::new(4, 5, 4).unwrap());
        assert_eq!(shape.within(1), LookaheadShape::new(0, 5, 1).unwrap());
    }
}
