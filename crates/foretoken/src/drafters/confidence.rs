//! How likely a ranked draft token is to be accepted, learned from what was accepted.
//!
//! Under coupled noise the draft's probability of a token is no acceptance probability: the noise is
//! known, so what tells is how far the token's score is ahead of the next one or behind the first.
//! That margin is sorted into buckets, and each bucket counts how often the target agreed.

/// Buckets per kind of margin.
const BUCKETS: usize = 12;
/// Upper ends of all buckets but the last, in units of the score (nats over temperature).
const ENDS: [f64; BUCKETS - 1] = [0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5, 6.5, 9.0];
/// How many observations the prior weighs.
const PRIOR: f64 = 4.0;
/// Observations a rate remembers; older ones fade, so that a change of text is followed.
const MEMORY: f64 = 64.0;

/// The place of a ranked token in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket(u8);

impl Bucket {
    /// The best token, `lead` ahead of the second.
    pub(super) fn leader(lead: f64) -> Self {
        Self(Self::index(lead) as u8)
    }

    /// A later token, `deficit` behind the best.
    pub(super) fn follower(deficit: f64) -> Self {
        Self((BUCKETS + Self::index(deficit)) as u8)
    }

    fn index(margin: f64) -> usize {
        ENDS.partition_point(|&end| end <= margin)
    }
}

/// How often something has been right, recent observations first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    hits: f64,
    trials: f64,
}

impl Rate {
    /// A rate of which only the prior is known.
    pub(super) fn new(prior: f64) -> Self {
        Self { hits: PRIOR * prior, trials: PRIOR }
    }

    pub(super) fn estimate(self) -> f64 {
        self.hits / self.trials
    }

    /// Counts one observation.
    pub(super) fn learn(&mut self, right: bool) {
        if self.trials >= MEMORY {
            let keep = (MEMORY - 1.0) / self.trials;
            (self.hits, self.trials) = (self.hits * keep, self.trials * keep);
        }
        self.hits += f64::from(u8::from(right));
        self.trials += 1.0;
    }
}

/// Acceptance by margin.
#[derive(Debug, Clone)]
pub(super) struct Confidence {
    rates: [Rate; 2 * BUCKETS],
}

impl Confidence {
    /// A table that knows only the prior: agreement grows with the lead and falls with the deficit.
    pub(super) fn new() -> Self {
        let mut rates = [Rate::new(0.0); 2 * BUCKETS];
        for index in 0..BUCKETS {
            let margin = if index == 0 { 0.0 } else { ENDS[index - 1] };
            rates[index] = Rate::new(1.0 - 0.7 * (-margin / 1.5).exp());
            rates[BUCKETS + index] = Rate::new(0.3 * (-margin).exp());
        }
        Self { rates }
    }

    /// Probability that the target chooses such a token.
    pub(super) fn estimate(&self, bucket: Bucket) -> f64 {
        self.rates[bucket.0 as usize].estimate()
    }

    /// Counts one verified token.
    pub(super) fn learn(&mut self, bucket: Bucket, accepted: bool) {
        self.rates[bucket.0 as usize].learn(accepted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prior_orders_margins() {
        let table = Confidence::new();
        let lead = |margin| table.estimate(Bucket::leader(margin));
        let behind = |margin| table.estimate(Bucket::follower(margin));
        assert!(lead(0.0) < lead(1.2) && lead(1.2) < lead(20.0) && lead(20.0) < 1.0);
        assert!(behind(0.0) > behind(1.2) && behind(1.2) > behind(20.0) && behind(20.0) >= 0.0);
    }

    #[test]
    fn estimates_follow_what_is_observed_and_forget_it() {
        let mut table = Confidence::new();
        let bucket = Bucket::leader(0.6);
        (0..1000).for_each(|_| table.learn(bucket, true));
        assert!(table.estimate(bucket) > 0.95);
        (0..200).for_each(|_| table.learn(bucket, false));
        assert!(table.estimate(bucket) < 0.1);
        let untouched = Confidence::new().estimate(Bucket::leader(5.0));
        assert_eq!(table.estimate(Bucket::leader(5.0)), untouched);
    }
}
