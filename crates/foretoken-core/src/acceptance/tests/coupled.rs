//! Drafted text under `coupled` is the undrafted text, token for token, whatever is drafted.

use proptest::prelude::*;

use super::super::{Accepted, Rule, Step, Verifier};
use super::table::{PROMPT, Pair, Table, Tokens};
use crate::{BuildId, DraftTree, Role, SamplingParams, TokenId, TreeBuilder};

/// Tokens of each text.
const LENGTH: usize = 14;

/// How one node is proposed.
#[derive(Debug, Clone, Copy)]
struct Proposed {
    /// Picks the parent among the nodes there are.
    parent: usize,
    token: TokenId,
    role: Role,
    /// Propose what the text really says at that depth.
    knows: bool,
}

#[derive(Debug, Clone)]
struct Setting {
    table: Table,
    params: SamplingParams,
    eos: Option<TokenId>,
    /// The trees of successive steps, used over and over.
    drafts: Vec<Vec<Proposed>>,
}

fn settings() -> impl Strategy<Value = Setting> {
    let proposed = (any::<usize>(), 0u32..6, prop::bool::weighted(0.8), any::<bool>());
    let proposed = proposed.prop_map(|(parent, token, candidate, knows)| {
        let role = if candidate { Role::Candidate } else { Role::Probe };
        Proposed { parent, token, role, knows }
    });
    let drafts = prop::collection::vec(prop::collection::vec(proposed, 0..14), 1..5);
    let pair = prop_oneof![Just(Pair::Random), Just(Pair::Zeros), Just(Pair::OneHotTarget)];
    let table = (pair, any::<u64>(), 3u32..7);
    let table = table.prop_map(|(pair, salt, vocab)| Table { pair, salt: salt >> 8, vocab });
    (table, params(), prop::option::weighted(0.3, 0u32..3), drafts)
        .prop_map(|(table, params, eos, drafts)| Setting { table, params, eos, drafts })
}

fn params() -> impl Strategy<Value = SamplingParams> {
    let temperature = prop_oneof![Just(0.0), Just(0.3), Just(1.0), Just(1.7)];
    let filters = (prop::option::of(1u32..4), 0.3..=1.0, 0.0..0.3);
    let penalties = (0.7..1.8, -0.5..1.0, -0.5..1.0);
    (temperature, filters, penalties, any::<bool>(), any::<bool>()).prop_map(
        |(temperature, (top_k, top_p, min_p), (repeated, present, frequent), filter, penalize)| {
            let mut params = SamplingParams { temperature, ..SamplingParams::default() };
            if filter {
                params = SamplingParams { top_k, top_p, min_p, ..params };
            }
            if penalize {
                params.repetition_penalty = repeated;
                params.presence_penalty = present;
                params.frequency_penalty = frequent;
                params.logit_bias = vec![(1, 0.4), (2, -0.3)];
            }
            params
        },
    )
}

/// Plain decoding, without the code under test.
fn undrafted(setting: &Setting) -> Tokens {
    let Setting { table, params, eos, .. } = setting;
    let mut sampler = table.sampler(params, &[]);
    let mut text = PROMPT.to_vec();
    while text.len() < PROMPT.len() + LENGTH {
        let token = sampler.draw(&table.row(&text), &[], text.len() as u32).unwrap();
        sampler.commit(token);
        text.push(token);
        if *eos == Some(token) {
            break;
        }
    }
    text
}

/// Builds the tree proposed after `prefix` by a drafter that may look at `text`.
fn draft(proposals: &[Proposed], prefix: usize, text: &[TokenId], vocab: u32) -> DraftTree {
    let mut builder = TreeBuilder::new(text[prefix - 1]);
    let mut nodes = vec![(BuildId::ROOT, 0)];
    for proposed in proposals {
        let (parent, depth) = nodes[proposed.parent % nodes.len()];
        let truth = text.get(prefix + depth).filter(|_| proposed.knows);
        let token = truth.copied().unwrap_or(proposed.token % vocab);
        let pushed = builder.push(parent, token, proposed.role);
        let id = pushed.or_else(|_| builder.push(parent, token, Role::Probe)).unwrap();
        nodes.push((id, depth + 1));
    }
    let mut tree = DraftTree::single(0);
    builder.freeze(&mut tree);
    tree.check_integrity().unwrap();
    tree
}

/// What a run of drafted steps came across.
#[derive(Debug, Default)]
struct Coverage {
    rejected: usize,
    accepted_one: usize,
    accepted_all: usize,
    at_later_sibling: usize,
    scattered: usize,
    through_probe: usize,
    cut: usize,
}

impl Coverage {
    fn note(&mut self, tree: &DraftTree, out: &Accepted) {
        let deepest = tree.depths().iter().max().copied().unwrap_or(0) as usize;
        let tested = tree.candidates() > 0;
        self.rejected += usize::from(tested && out.drafted() == 0);
        self.accepted_one += usize::from(out.drafted() == 1);
        self.accepted_all += usize::from(tested && out.drafted() == deepest);
        self.cut += usize::from(out.is_cut());
        for (i, &node) in out.path().iter().enumerate().skip(1) {
            let parent = out.path()[i - 1];
            self.at_later_sibling +=
                usize::from(tree.candidate_children(parent).next() != Some(node));
            self.scattered += usize::from(node != parent + 1);
            self.through_probe += usize::from(tree.role(node) == Role::Probe);
        }
    }
}

/// Decodes with drafts, checking the laws of every step.
fn drafted(setting: &Setting, rule: Rule, truth: &[TokenId]) -> (Tokens, Coverage) {
    let Setting { table, params, eos, drafts } = setting;
    let mut sampler = table.sampler(params, &[]);
    let mut verifier = Verifier::new();
    let mut out = Accepted::new();
    let mut coverage = Coverage::default();
    let mut text = PROMPT.to_vec();
    for (index, proposals) in (0..).zip(drafts.iter().cycle()) {
        let tree = draft(proposals, text.len(), truth, table.vocab);
        let rows = table.rows(&text, &tree);
        let step = Step { tree: &tree, rows: &rows, position: text.len() as u32, index };
        verifier.verify(rule, &step, &mut sampler, &mut out);
        assert_eq!(out.failure(), None);
        assert_eq!(out.tokens().len(), out.drafted() + 1, "one token follows the accepted ones");
        let room = PROMPT.len() + LENGTH - text.len();
        let end = out.tokens().iter().position(|&token| Some(token) == *eos);
        let is_over = end.is_some() || room <= out.tokens().len();
        if is_over {
            out.truncate(end.map_or(room, |end| room.min(end + 1)));
        }
        check_path(&tree, &out);
        coverage.note(&tree, &out);
        out.tokens().iter().for_each(|&token| sampler.commit(token));
        text.extend(out.tokens());
        if is_over {
            break;
        }
    }
    (text, coverage)
}

fn check_path(tree: &DraftTree, out: &Accepted) {
    assert_eq!(out.path().len(), out.tokens().len(), "every kept row decided one token");
    let mut path = Vec::new();
    tree.path(out.path()[out.path().len() - 1], &mut path);
    assert_eq!(out.path(), path, "the path leads from the root to a node");
    for (&node, &token) in out.path()[1..].iter().zip(out.tokens()) {
        assert_eq!(tree.token(node), token);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn drafted_text_is_undrafted_text(setting in settings()) {
        let truth = undrafted(&setting);
        prop_assert_eq!(drafted(&setting, Rule::Coupled, &truth).0, truth);
    }

    #[test]
    fn at_temperature_zero_every_rule_is_greedy(setting in settings()) {
        let params = SamplingParams { temperature: 0.0, ..setting.params.clone() };
        let setting = Setting { params, ..setting };
        let truth = undrafted(&setting);
        for rule in [Rule::Coupled, Rule::Rejection, Rule::TYPICAL] {
            prop_assert_eq!(&drafted(&setting, rule, &truth).0, &truth);
        }
    }
}

#[test]
fn a_run_meets_every_kind_of_step() {
    let candidate = |parent, token, knows| Proposed { parent, token, role: Role::Candidate, knows };
    let drafts = vec![
        // A sibling before the true token, and a dead end before its true child.
        vec![
            candidate(0, 0, false),
            candidate(0, 1, false),
            candidate(0, 2, false),
            candidate(0, 0, true),
            candidate(4, 0, false),
            candidate(4, 0, true),
        ],
        vec![candidate(0, 0, true)],
        vec![candidate(0, 0, false)],
        vec![Proposed { parent: 0, token: 0, role: Role::Probe, knows: true }],
        vec![],
        vec![candidate(0, 0, true), candidate(1, 0, true), candidate(2, 0, true)],
    ];
    let mut total = Coverage::default();
    for salt in 0..40 {
        let table = Table { pair: Pair::Random, salt, vocab: 5 };
        let temperature = if salt % 2 == 0 { 0.0 } else { 0.9 };
        let params = SamplingParams { temperature, presence_penalty: 0.3, ..Default::default() };
        let setting = Setting { table, params, eos: Some(3), drafts: drafts.clone() };
        let truth = undrafted(&setting);
        let (text, coverage) = drafted(&setting, Rule::Coupled, &truth);
        assert_eq!(text, truth);
        total.rejected += coverage.rejected;
        total.accepted_one += coverage.accepted_one;
        total.accepted_all += coverage.accepted_all;
        total.at_later_sibling += coverage.at_later_sibling;
        total.scattered += coverage.scattered;
        total.through_probe += coverage.through_probe;
        total.cut += coverage.cut;
    }
    let Coverage {
        rejected,
        accepted_one,
        accepted_all,
        at_later_sibling,
        scattered,
        through_probe,
        cut,
    } = total;
    let kinds =
        [rejected, accepted_one, accepted_all, at_later_sibling, scattered, through_probe, cut];
    assert!(kinds.iter().all(|&count| count > 5), "{total:?}");
}
