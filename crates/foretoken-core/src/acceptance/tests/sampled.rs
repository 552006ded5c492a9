//! `rejection` with the noise it ships with: the joint law of three tokens by chi-square, and a
//! control that must fail.

use super::super::{Accepted, DraftSampler, Rule, Step, Verifier};
use super::table::{PROMPT, Pair, Table, Tokens};
use crate::{BuildId, DraftTree, Noise, Sampler, SamplingParams, TreeBuilder};

const TABLE: Table = Table { pair: Pair::Random, salt: 1, vocab: 3 };
const SEEDS: u64 = 40_000;

fn params() -> SamplingParams {
    SamplingParams { temperature: 1.0, presence_penalty: 0.3, ..SamplingParams::default() }
}

/// Whether the draws of one step are independent of those of another.
#[derive(Clone, Copy, PartialEq)]
enum Steps {
    Keyed,
    Repeated,
}

struct Machine {
    verifier: Verifier,
    draws: DraftSampler,
    builder: TreeBuilder,
    tree: DraftTree,
    out: Accepted,
}

impl Machine {
    /// Three tokens of the text of a seed, with a sampled tree of `widths` at each step.
    fn text(&mut self, seed: u64, widths: &[usize], steps: Steps) -> Tokens {
        let mut sampler = Sampler::new(params(), Noise { seed, choice: 0 }, 3).unwrap();
        sampler.prompt(&PROMPT);
        let mut text = PROMPT.to_vec();
        for count in 0.. {
            if text.len() >= PROMPT.len() + 3 {
                break;
            }
            let index = if steps == Steps::Keyed { count } else { 0 };
            self.draft(&text, widths, &mut sampler, index);
            let rows = TABLE.rows(&text, &self.tree);
            let step = Step { tree: &self.tree, rows: &rows, position: text.len() as u32, index };
            self.verifier.verify(Rule::Rejection, &step, &mut sampler, &mut self.out);
            self.out.tokens().iter().for_each(|&token| sampler.commit(token));
            text.extend(self.out.tokens());
        }
        text[PROMPT.len()..PROMPT.len() + 3].to_vec()
    }

    fn draft(&mut self, text: &[u32], widths: &[usize], sampler: &mut Sampler, index: u64) {
        self.builder.reset(text[text.len() - 1]);
        self.draws.begin(sampler.noise().at_step(index), 0);
        let (mut drawn, mut level) = (Vec::new(), vec![(BuildId::ROOT, Vec::new())]);
        for &width in widths {
            let mut next = Vec::new();
            for (parent, path) in level {
                let q = TABLE.draft(text, &path, sampler);
                self.draws.draw(&q, width, &mut drawn);
                let ids = self.builder.push_sampled(parent, q.iter(), &drawn).unwrap();
                next.extend(
                    ids.zip(&drawn).map(|(id, &token)| (id, [&path[..], &[token]].concat())),
                );
            }
            level = next;
        }
        self.builder.freeze(&mut self.tree);
    }
}

/// Chi-square of the 27 texts of three tokens, 26 degrees of freedom.
fn chi_square(widths: &[usize], steps: Steps) -> f64 {
    let mut machine = Machine {
        verifier: Verifier::new(),
        draws: DraftSampler::new(),
        builder: TreeBuilder::new(0),
        tree: DraftTree::single(0),
        out: Accepted::new(),
    };
    let mut counts = [0u32; 27];
    for seed in 0..SEEDS {
        let text = machine.text(seed, widths, steps);
        counts[text.iter().fold(0, |cell, &token| cell * 3 + token as usize)] += 1;
    }
    let expected = |cell: usize| {
        let text = [cell / 9, cell / 3 % 3, cell % 3].map(|token| token as u32);
        let factor = |i: usize| TABLE.target(&params(), &text[..i]).unwrap().probability(text[i]);
        (0..3).map(factor).product::<f64>() * SEEDS as f64
    };
    (0..27).map(|cell| (f64::from(counts[cell]) - expected(cell)).powi(2) / expected(cell)).sum()
}

/// The 0.9999 quantile of chi-square with 26 degrees of freedom; the seeds are fixed.
const LIMIT: f64 = 62.0;

#[test]
fn the_noise_of_a_step_gives_the_law_of_the_target() {
    for widths in [&[1, 1][..], &[2], &[2, 1], &[]] {
        let statistic = chi_square(widths, Steps::Keyed);
        assert!(statistic < LIMIT, "{widths:?}: {statistic}");
    }
}

#[test]
fn every_step_has_its_own_noise() {
    let tree = DraftTree::single(PROMPT[2]);
    let rows = TABLE.rows(&PROMPT, &tree);
    let tokens = |index| {
        let draw = |seed| {
            let mut sampler = Sampler::new(params(), Noise { seed, choice: 0 }, 3).unwrap();
            let mut out = Accepted::new();
            let step = Step { tree: &tree, rows: &rows, position: 3, index };
            Verifier::new().verify(Rule::Rejection, &step, &mut sampler, &mut out);
            out.tokens()[0]
        };
        (0..50).map(draw).collect::<Vec<_>>()
    };
    assert_eq!(tokens(4), tokens(4));
    assert_ne!(tokens(4), tokens(5));
}

#[test]
fn noise_that_repeats_from_step_to_step_is_found() {
    let statistic = chi_square(&[1, 1], Steps::Repeated);
    assert!(statistic > 2.0 * LIMIT, "{statistic}");
}
