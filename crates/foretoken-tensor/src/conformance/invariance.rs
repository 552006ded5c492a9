//! Row invariance: a backend against itself. Whatever else a pass holds, a row's buffers and its
//! key and value have the same bits.
//!
//! What varies, and how it is met. Every case compares a tree with each of its paths as a chain and
//! with each of its nodes one token at a time, and a committed path with both; every text is fed in
//! chunks of 1, 7, 64 and all at once. Threads are members of a team of backends: the tree, the
//! chain and the single tokens run on different ones.
//!
//! | check | full product | pairwise |
//! |---|---|---|
//! | every base | bases 0 to 70, weight formats, KV types, full reach and a short window | shapes (head sizes 8, 16, 64, 80, 128; fewer columns than threads), extras, layers, flat and peaked weights; forms and threads in turn |
//! | window edges | windows, weight formats, bases around the edges of window and chunk | KV types and as above |
//! | row counts | [`ROWS`], weight formats, KV types | places of the tree among blocks, windows, forms, threads and as above, each with each |

mod strand;

use super::model::{Extras, KV_TYPES, LOGITS, Model, SHAPES, Transformer, packed_formats};
use super::pairwise::pairwise;
use super::rng::Rng;
use super::runner::{Trace, assert_same_kv, assert_same_trace};
use super::tree::{Form, Tree};
use super::{ROWS, Thoroughness, pick};
use crate::{Backend, CHUNK, Reach};
use strand::Strand;

/// For every base: the window is passed within a tree, and its start enters the second chunk.
const SHORT: [Reach; 2] = [Reach::Window(5), Reach::Full];
/// Whose edges are looked at one by one.
const WINDOWS: [u32; 5] = [1, 40, 63, 64, 65];
/// For the row counts.
const REACHES: [Reach; 5] =
    [Reach::Full, Reach::Window(1), Reach::Window(40), Reach::Window(64), Reach::Window(65)];
const FORMS: [Form; 4] = [Form::Vine, Form::Bush, Form::Star, Form::Chain];
const EXTRAS: [Extras; 2] = [Extras::None, Extras::BiasAndHeadNorm];
/// Sizes of the axes of [`transformer`].
const FEATURES: [usize; 4] = [SHAPES.len(), EXTRAS.len(), 2, LOGITS.len()];
/// Nodes of a tree where bases are the matter.
const SMALL: usize = 8;

/// Where a tree of some rows begins: at the start of a sequence, with half of it (of at least two
/// rows) in a second block, with all but its root, at a block's start, and late in a block.
const PLACES: [fn(usize) -> usize; 5] =
    [|_| 0, |rows| CHUNK - (rows / 2).min(CHUNK - 1), |_| CHUNK - 1, |_| CHUNK, |_| 2 * CHUNK - 9];

/// A tree against each of its paths as a chain and one token at a time, also after its commit; and
/// prefill in chunks of 1, 7 and 64 against all at once.
///
/// `team` is one backend in several guises that must not matter, such as with other numbers of
/// threads; its first member runs the single tokens.
///
/// # Panics
/// With the first difference.
pub fn check_invariance<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    check_places(team, thoroughness);
    check_row_counts(team, thoroughness);
}

/// Of [`check_invariance`] small trees at all bases and window edges: what attention can break.
///
/// # Panics
/// With the first difference.
pub fn check_places<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    for round in thoroughness.cases(1) {
        let seed = 5000 + 1000 * round as u64;
        check_every_base(team, &mut Rng::new(seed));
        check_window_edges(team, &mut Rng::new(seed + 1));
    }
}

/// Of [`check_invariance`] trees of all row counts, at a few bases: what products can break.
///
/// # Panics
/// With the first difference.
pub fn check_row_counts<B: Backend>(team: &[B], thoroughness: Thoroughness) {
    for round in thoroughness.cases(1) {
        let rng = &mut Rng::new(5002 + 1000 * round as u64);
        for (number, case) in row_cases(packed_formats().len(), team.len()).into_iter().enumerate()
        {
            let [rows, format, kv, shape, extras, layers, logits, reach, form, place, member] =
                case;
            let features = [format, kv, shape, extras, layers, logits];
            let transformer = transformer(features, REACHES[reach], number);
            let model = transformer.build(rng);
            let (rows, form) = (ROWS[rows], FORMS[form]);
            let base = PLACES[place](rows);
            let what = format!("{transformer:?}, base {base}, {rows} rows, {form:?}");
            let mut strands = Strands::new(team, number, &model, rng, base + rows + 1);
            strands.prefill(&what, rng, base);
            let tree = Tree::random(rng, rows, form);
            strands.check_tree(&what, rng, member, base, &tree);
        }
    }
}

fn transformer(
    [format, kv, shape, extras, layers, logits]: [usize; 6],
    reach: Reach,
    rotary: usize,
) -> Transformer {
    let shape = SHAPES[shape];
    Transformer {
        shape,
        layers: 1 + layers,
        kv_type: KV_TYPES[kv],
        rotary: pick(&[shape.head_size, shape.head_size / 2], rotary),
        reach,
        extras: EXTRAS[extras],
        logits: LOGITS[logits],
        stored: None,
        packed: packed_formats()[format],
    }
}

/// Trees at every place within a block, on both sides of the edges of a block and a short window.
fn check_every_base<B: Backend>(team: &[B], rng: &mut Rng) {
    let [shapes, extras, layers, logits] = FEATURES;
    let full = [packed_formats().len(), KV_TYPES.len(), SHORT.len()];
    let sizes = [full[0], full[1], full[2], shapes, extras, layers, logits];
    for (number, case) in pairwise(sizes, full.len()).into_iter().enumerate() {
        let [format, kv, reach, shape, extras, layers, logits] = case;
        let features = [format, kv, shape, extras, layers, logits];
        let transformer = transformer(features, SHORT[reach], number);
        check_bases(team, rng, number, &transformer, (0..=CHUNK + 6).rev());
    }
}

/// Trees that pass the place where a window leaves the start of the text, or of the second chunk.
fn check_window_edges<B: Backend>(team: &[B], rng: &mut Rng) {
    let [shapes, extras, layers, logits] = FEATURES;
    let (formats, windows) = (packed_formats().len(), WINDOWS.len());
    let sizes = [formats, windows, KV_TYPES.len(), shapes, extras, layers, logits];
    for (number, case) in pairwise(sizes, 2).into_iter().enumerate() {
        let [format, window, kv, shape, extras, layers, logits] = case;
        let features = [format, kv, shape, extras, layers, logits];
        let window = WINDOWS[window];
        let transformer = transformer(features, Reach::Window(window), number);
        let near = |edge: usize| edge.saturating_sub(3)..=edge;
        let bases = near(window as usize).chain(near(window as usize + CHUNK));
        check_bases(team, rng, number, &transformer, bases.rev());
    }
}

/// Small trees at each of several bases of one text, the last base first.
fn check_bases<B: Backend>(
    team: &[B],
    rng: &mut Rng,
    number: usize,
    transformer: &Transformer,
    bases: impl Iterator<Item = usize>,
) {
    let model = transformer.build(rng);
    let mut bases = bases.peekable();
    let longest = *bases.peek().expect("there are bases");
    let what = format!("{transformer:?}");
    let mut strands = Strands::new(team, number, &model, rng, longest + SMALL + 1);
    strands.prefill(&what, rng, longest);
    for base in bases {
        let nodes = 1 + rng.below(SMALL);
        let tree = Tree::random(rng, nodes, pick(&FORMS, number + base));
        let what = format!("{what}, base {base}, {tree:?}");
        strands.check_tree(&what, rng, (number + base) % team.len(), base, &tree);
    }
}

/// Cases of [`check_row_counts`] as indices: rows, format, KV type and then pairwise shape, extras,
/// layers, logits, reach, form, place and member of the team.
pub(super) fn row_cases(formats: usize, team: usize) -> Vec<[usize; 11]> {
    let [shapes, extras, layers, logits] = FEATURES;
    let full = [ROWS.len(), formats, KV_TYPES.len()];
    let others = [REACHES.len(), FORMS.len(), PLACES.len(), team];
    let sizes = [
        full[0], full[1], full[2], shapes, extras, layers, logits, others[0], others[1], others[2],
        others[3],
    ];
    pairwise(sizes, full.len())
}

/// The same text, fed in several ways.
struct Strands<'m, B: Backend> {
    /// All at once, by each member of the team.
    whole: Vec<Strand<'m, B>>,
    /// In chunks of 64.
    chunked: Strand<'m, B>,
    /// In chunks of 7, and then path by path.
    chain: Strand<'m, B>,
    /// One token at a time.
    single: Strand<'m, B>,
    vocabulary: usize,
}

impl<'m, B: Backend> Strands<'m, B> {
    fn new(
        team: &'m [B],
        number: usize,
        model: &'m Model,
        rng: &mut Rng,
        positions: usize,
    ) -> Self {
        let mut strand = |member| Strand::new(&team[member % team.len()], model, rng, positions);
        Self {
            whole: (0..team.len()).map(&mut strand).collect(),
            chunked: strand(number + 2),
            chain: strand(number + 1),
            single: strand(0),
            vocabulary: model.vocabulary,
        }
    }

    /// Feeds every strand a random text and compares them.
    fn prefill(&mut self, what: &str, rng: &mut Rng, len: usize) {
        if len == 0 {
            return;
        }
        let tokens = rng.tokens(len, self.vocabulary);
        let wanted = self.single.extend_by(1, &tokens);
        let all = self.whole.iter_mut().map(|strand| (strand, len));
        for (strand, size) in all.chain([(&mut self.chunked, 64), (&mut self.chain, 7)]) {
            let rows = strand.extend_by(size, &tokens);
            let how = format!("prefill of {len} in chunks of {size}");
            same_rows(what, &how, &rows, &wanted);
            same_kv(what, &how, strand, &self.single);
        }
    }

    /// A tree on the first `base` positions of the text among other sequences, as a member of the
    /// team runs it, against its paths as chains and its nodes one token at a time. The text behind
    /// `base` is overwritten.
    fn check_tree(&mut self, what: &str, rng: &mut Rng, member: usize, base: usize, tree: &Tree) {
        let Self { whole, chain, single, .. } = self;
        let whole = &mut whole[member];
        let tokens = rng.tokens(tree.len(), self.vocabulary);
        whole.sequence.len = base;
        let in_tree = whole.run_among_others(rng, tree, &tokens);
        let on_path = |node| tree.path(node).into_iter().map(|node| tokens[node]).collect();
        let kept = rng.below(tree.len());
        for node in tree.leaves().chain([kept]) {
            let path: Vec<u32> = on_path(node);
            chain.sequence.len = base;
            let chained = chain.extend(&path);
            let rows = tree.path(node).into_iter().map(|node| &in_tree[node]);
            same_rows(what, "a tree is its paths as chains", rows, &chained);
        }
        // In preorder the ancestors of a node are what was stored last at their positions.
        for (node, row) in in_tree.iter().enumerate() {
            single.sequence.len = base + tree.depth[node] as usize;
            let alone = single.extend(&tokens[node..=node]);
            same_rows(what, "a tree is its tokens one at a time", [row], &alone);
        }
        single.sequence.len = base;
        single.extend_by(1, &on_path(kept));
        whole.commit(tree, kept);
        same_kv(what, "a committed path is stored as a chain", whole, chain);
        same_kv(what, "a chain is stored as single tokens", chain, single);
        let next = rng.tokens(1, self.vocabulary);
        let [after_tree, after_chain, after_single] =
            [whole, chain, single].map(|strand| strand.extend(&next));
        same_rows(what, "the token after a commit", &after_tree, &after_chain);
        same_rows(what, "the token after a chain", &after_chain, &after_single);
    }
}

fn same_rows<'a>(
    what: &str,
    how: &str,
    found: impl IntoIterator<Item = &'a Trace>,
    wanted: &[Trace],
) {
    let found: Vec<&Trace> = found.into_iter().collect();
    assert_eq!(found.len(), wanted.len(), "{what}, {how}: rows");
    for (row, (found, wanted)) in found.into_iter().zip(wanted).enumerate() {
        assert_same_trace(format_args!("{what}, {how}, row {row}"), found, wanted);
    }
}

fn same_kv<B: Backend>(what: &str, how: &str, found: &Strand<'_, B>, wanted: &Strand<'_, B>) {
    let what = format_args!("{what}, {how}");
    let (found, wanted) = ((&found.runner, &found.sequence), (&wanted.runner, &wanted.sequence));
    assert_same_kv(what, found, wanted);
}
