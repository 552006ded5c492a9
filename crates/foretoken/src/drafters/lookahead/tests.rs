//! The drafter against a plain transcription of the method, and at its edges.
//!
//! The transcription follows the paper and the authors' program in its own terms: rows `r[0]`, `r[1]`, ... of
//! which the first lacks the root, a list of n-grams per token, every row of a pass computed from its own
//! text. It differs where they are wrong: a full match counts all its tokens and the one behind them, and what
//! is accepted joins the text once. And it takes tokens of the window where the text runs into them.

use std::collections::{BTreeMap, BTreeSet};

use foretoken_core::{DraftTree, Noise, Role, Rule, Sampler, SamplingParams};

use super::*;
use crate::CostCurve;
use crate::drafters::Room;
use crate::drafters::verifying::{sure_of, verify};

const VOCAB: usize = 20;
const EOS: TokenId = 7;
const NOISE: Noise = Noise { seed: 5, choice: 0 };

/// A target: its row depends on the last two tokens and, slowly, on the position.
fn logits(text: &[TokenId]) -> Vec<f32> {
    let [.., before, last] = *text else { return vec![0.0; VOCAB] };
    let state = u64::from(before / 4) * 1009 + u64::from(last) * 31 + text.len() as u64 / 50;
    let logit = |token: u64| {
        let mut hash = (state * VOCAB as u64 + token + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash = (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        7.0 * (((hash ^ (hash >> 32)) >> 16) as u16 as f32 / 65536.0)
    };
    (0..VOCAB as u64).map(logit).collect()
}

/// What the target writes behind a text, of which `known` tokens are committed.
fn write(sampler: &mut Sampler, text: &[TokenId], known: usize) -> TokenId {
    sampler.draw(&logits(text), &text[known..], text.len() as u32).unwrap()
}

fn sampler(params: &SamplingParams, prompt: &[TokenId]) -> Sampler {
    let mut sampler = Sampler::new(params.clone(), NOISE, VOCAB).unwrap();
    sampler.prompt(prompt);
    sampler
}

/// Lookahead decoding as written down.
struct Transcription {
    w: usize,
    n: usize,
    g: usize,
    text: Vec<TokenId>,
    r: Vec<Vec<TokenId>>,
    pool: BTreeMap<TokenId, Vec<Vec<TokenId>>>,
    sampler: Sampler,
    random: Scatter,
}

impl Transcription {
    fn new([w, n, g]: [usize; 3], prompt: &[TokenId], params: &SamplingParams) -> Self {
        let mut random = Scatter::default();
        let first = (0..w + n - 3).map(|_| random.draw(prompt)).collect();
        let sampler = sampler(params, prompt);
        let (r, pool, text) = (vec![first], BTreeMap::new(), prompt.to_vec());
        let mut new = Self { w, n, g, text, r, pool, sampler, random };
        for end in n..=prompt.len() {
            new.insert(&prompt[end - n..end]);
        }
        new
    }

    fn insert(&mut self, ngram: &[TokenId]) {
        let list = self.pool.entry(ngram[0]).or_default();
        list.retain(|known| known != &ngram[1..]);
        list.push(ngram[1..].to_vec());
        if list.len() > self.g {
            list.remove(0);
        }
    }

    fn guesses(&self) -> Vec<Vec<TokenId>> {
        self.pool.get(self.text.last().unwrap()).cloned().unwrap_or_default()
    }

    /// What every row of the window sees behind the root, itself included.
    fn window(&self) -> Vec<Vec<TokenId>> {
        let rows = 0..self.r.len();
        let all = rows.flat_map(|l| (0..self.r[l].len()).map(move |i| (l, i)));
        all.map(|(l, i)| self.sees(l, i)).collect()
    }

    /// What `r[l][i]` sees behind the root, itself included.
    fn sees(&self, l: usize, i: usize) -> Vec<TokenId> {
        let above = if l == 0 { &self.r[0][..=i] } else { &self.r[0][..i] };
        above.iter().copied().chain((1..=l).map(|row| self.r[row][i])).collect()
    }

    fn behind(&mut self, seen: &[TokenId]) -> TokenId {
        let text = [&self.text, seen].concat();
        write(&mut self.sampler, &text, self.text.len())
    }

    /// One step; returns what it emits.
    fn step(&mut self) -> Vec<TokenId> {
        let root = *self.text.last().unwrap();
        let mut best: Vec<TokenId> = Vec::new();
        for guess in self.guesses().into_iter().chain(self.window()) {
            let right = |&length: &usize| self.behind(&guess[..length]) == guess[length];
            let length = (0..guess.len()).take_while(right).count();
            if length > best.len() {
                best = guess[..length].to_vec();
            }
        }
        let next = self.behind(&best);
        best.push(next);
        let (newest, full) = (self.r.len() - 1, self.r.len() == self.n - 1);
        let out: Vec<TokenId> = (0..self.r[newest].len())
            .map(|i| {
                let seen = self.sees(newest, i);
                self.behind(&seen)
            })
            .collect();
        if full {
            for i in 0..self.w {
                let key = if i == 0 { root } else { self.r[0][i - 1] };
                let column = self.r[1..].iter().map(|row| row[i]);
                let ngram: Vec<_> = [key].into_iter().chain(column).chain([out[i]]).collect();
                self.insert(&ngram);
            }
        }
        for &token in &best {
            self.text.push(token);
            self.sampler.commit(token);
            let text = self.text.clone();
            self.insert(&text[text.len() - self.n..]);
        }
        self.shift(&out, full);
        best
    }

    fn shift(&mut self, out: &[TokenId], full: bool) {
        let first = usize::from(!full && self.r.len() > 1);
        let newest = out[first..]
            .iter()
            .map(|&token| if token == EOS { self.random.draw(&self.text) } else { token });
        let newest = newest.collect();
        if full {
            self.r.remove(0);
            self.r[0].remove(0);
        } else {
            for row in &mut self.r {
                row.remove(0);
            }
        }
        self.r.push(newest);
    }
}

/// Every node's text below the root, by role; a path that is both is a candidate.
fn paths(tree: &DraftTree, role: Role) -> BTreeSet<Vec<TokenId>> {
    let mut path = Vec::new();
    let nodes = (1..tree.len()).filter(|&node| tree.role(node) == role);
    let text = |node| {
        tree.path(node, &mut path);
        path[1..].iter().map(|&node| tree.token(node)).collect()
    };
    nodes.map(text).collect()
}

fn prefixes(text: &[TokenId]) -> impl Iterator<Item = Vec<TokenId>> {
    (1..=text.len()).map(|length| text[..length].to_vec())
}

fn task(prompt: &[TokenId], params: &SamplingParams) -> DraftTask {
    let sampler = sampler(params, prompt);
    let room = Room { nodes: 500, depth: 100 };
    DraftTask { room, ..DraftTask::new(SequenceKey(1), prompt.to_vec(), sampler, Rule::Coupled) }
}

fn propose(drafter: &mut Lookahead, task: &mut DraftTask) {
    task.tree.set_single(*task.text.last().unwrap());
    drafter.propose(std::slice::from_mut(task));
}

/// 200 steps of both; returns how often a number of drafted tokens was accepted.
fn compare(shape: [usize; 3], params: &SamplingParams) -> BTreeMap<usize, usize> {
    let [w, n, g] = shape;
    let prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];
    let mut drafter = Lookahead::new(LookaheadShape::new(w, n, g).unwrap(), &[EOS]);
    drafter.begin(SequenceKey(1), &prompt);
    let mut task = task(&prompt, params);
    let mut reference = Transcription::new(shape, &prompt, params);
    let mut accepted = BTreeMap::new();
    for step in 0..200 {
        propose(&mut drafter, &mut task);
        let guessed: BTreeSet<_> = reference.guesses().iter().flat_map(|g| prefixes(g)).collect();
        assert_eq!(paths(&task.tree, Role::Candidate), guessed, "guesses of step {step}");
        let window: BTreeSet<_> = reference.window().into_iter().collect();
        let probes: BTreeSet<_> = window.difference(&guessed).cloned().collect();
        assert_eq!(paths(&task.tree, Role::Probe), probes, "window of step {step}");
        verify(&mut task, logits);
        drafter.observe(std::slice::from_ref(&task));
        assert_eq!(task.accepted.tokens(), reference.step(), "tokens of step {step}");
        *accepted.entry(task.accepted.drafted()).or_insert(0) += 1;
        let state = drafter.sequences.get_mut(&SequenceKey(1)).unwrap();
        let rows = state.window.rows();
        assert_eq!(rows[0][1..], reference.r[0], "row 0 behind step {step}");
        assert_eq!(rows[1..], reference.r[1..], "rows behind step {step}");
        for key in 0..VOCAB as TokenId {
            let mut known = reference.pool.get(&key).cloned().unwrap_or_default();
            known.reverse();
            let pooled: Vec<_> = state.pool.find(key).map(<[_]>::to_vec).collect();
            assert_eq!(pooled, known, "the pool behind step {step} at {key}");
        }
        task.step += 1;
    }
    accepted
}

fn warm() -> SamplingParams {
    SamplingParams { temperature: 0.7, frequency_penalty: 0.02, ..SamplingParams::default() }
}

#[test]
fn window_pool_and_guesses_are_those_of_the_transcription() {
    for params in [SamplingParams::default(), warm()] {
        for shape in [[5, 4, 5], [7, 5, 7], [15, 5, 15], [3, 3, 2], [1, 3, 4], [4, 7, 6]] {
            let accepted = compare(shape, &params);
            println!("{shape:?} at {}: {accepted:?}", params.temperature);
            let more = accepted.keys().filter(|&&drafted| drafted > 1).count();
            assert!(
                accepted.contains_key(&0) && accepted.contains_key(&1) && more > 0,
                "{shape:?}"
            );
            assert!(shape != [5, 4, 5] || accepted.contains_key(&3), "a whole guess is accepted");
        }
    }
}

#[test]
fn a_window_grows_to_as_many_nodes_as_its_shape_says() {
    let prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];
    for shape in [[7, 5, 1], [2, 5, 1], [1, 16, 1], [1, 2, 1], [3, 3, 1]] {
        let [w, n, g] = shape;
        let shape = LookaheadShape::new(w, n, g).unwrap();
        let mut drafter = Lookahead::new(shape, &[EOS]);
        drafter.begin(SequenceKey(1), &prompt);
        let mut task = task(&prompt, &warm());
        let mut most = 0;
        for _ in 0..n + 3 {
            propose(&mut drafter, &mut task);
            verify(&mut task, logits);
            let rows = drafter.sequences[&SequenceKey(1)].window.rows();
            most = most.max(rows.iter().map(Vec::len).sum::<usize>() - 1);
            drafter.observe(std::slice::from_ref(&task));
            task.step += 1;
        }
        assert_eq!(most, shape.nodes() - g * (n - 1), "{shape:?}");
    }
}

/// A full window of three columns of two tokens, and a text whose tokens are tens; behind each token the next
/// number follows.
fn full_window() -> (Window, DraftTask, Scatter) {
    let text = [10, 20, 30, 40, 50, 60, 70, 80, 90];
    let mut window = Window::new(LookaheadShape::new(3, 3, 1).unwrap());
    let mut task = DraftTask::new(
        SequenceKey(1),
        text.to_vec(),
        Sampler::new(SamplingParams::default(), NOISE, 99).unwrap(),
        Rule::Coupled,
    );
    let mut scatter = Scatter::default();
    window.restart(&text, &mut scatter);
    pass(&mut window, &mut task, Room { nodes: 9, depth: 9 }, None);
    window.advance(&task, &[], &mut scatter, &mut Pool::new(2, 1));
    assert_eq!(window.rows().iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    (window, task, scatter)
}

/// A pass over a window; the row behind `unreadable` is no number.
fn pass(window: &mut Window, task: &mut DraftTask, room: Room, unreadable: Option<TokenId>) {
    let root = *task.text.last().unwrap();
    let mut builder = TreeBuilder::new(root);
    window.place(root, 3, room, &mut builder);
    builder.freeze(&mut task.tree);
    verify(task, |text| match text.last() {
        Some(&last) if unreadable == Some(last) => vec![f32::NAN; 99],
        last => sure_of(last.unwrap() + 1, 99),
    });
}

#[test]
fn columns_that_were_not_computed_go_on_at_random_and_not_to_the_pool() {
    let (window, ..) = full_window();
    let [stem, branches] = window.rows() else { panic!("two rows") };
    let last = branches[2];
    assert!(stem[1] != stem[2] && !branches[..2].contains(&last), "the columns differ");
    let wide = Room { nodes: 9, depth: 9 };
    for (room, unreadable, computed) in [
        (wide, None, 3),
        (wide, Some(last), 2),
        (Room { nodes: 4, ..wide }, None, 2),
        (Room { nodes: 2, ..wide }, None, 1),
        (Room { depth: 2, ..wide }, None, 2),
        (Room { depth: 1, ..wide }, None, 1),
    ] {
        let (mut window, mut task, mut scatter) = full_window();
        let before = window.rows().to_vec();
        let root = *task.text.last().unwrap();
        pass(&mut window, &mut task, room, unreadable);
        let mut random = scatter.clone();
        let mut pool = Pool::new(2, 4);
        window.advance(&task, &[], &mut scatter, &mut pool);
        let expected: Vec<_> = (0..3)
            .map(|column| {
                let right = before[1][column] + 1;
                if column < computed { right } else { random.draw(&task.text) }
            })
            .collect();
        let name = format!("{room:?} {unreadable:?}");
        assert_eq!(window.rows(), [before[1].clone(), expected], "{name}");
        let firsts = [root, before[0][1], before[0][2]];
        let pooled = firsts.map(|first| pool.find(first).count());
        assert_eq!(pooled, [0, 1, 2].map(|column| usize::from(column < computed)), "{name}");
    }
}

#[test]
fn a_window_that_was_not_sent_stays_as_it_is() {
    let (mut window, mut task, mut scatter) = full_window();
    let root = *task.text.last().unwrap();
    pass(&mut window, &mut task, Room::default(), None);
    let mut before = window.rows().to_vec();
    before[0][0] = root;
    let mut pool = Pool::new(2, 4);
    window.advance(&task, &[], &mut scatter, &mut pool);
    assert_eq!(window.rows(), before);
    assert_eq!(pool.find(root).count(), 0);
}

#[test]
fn a_shape_follows_what_its_guesses_earn() {
    let whole = LookaheadShape::new(7, 5, 7).unwrap();
    let mut drafter = Lookahead::new(whole, &[]);
    let cost = CostCurve::new(vec![(1, 1.0), (101, 2.0)]).unwrap();
    drafter.ladder = Some(Ladder::new(whole, &cost));
    drafter.begin(SequenceKey(1), &[0]);
    let mut task = task(&[0], &SamplingParams::default());
    // A text that never repeats, then one that does nothing else.
    let new = |last: TokenId| last + 1;
    let known = |last: TokenId| (last + 1) % 9;
    for (next, shape) in [
        (&new as &dyn Fn(TokenId) -> TokenId, LookaheadShape::new(1, 3, 1).unwrap()),
        (&known, whole),
    ] {
        for _ in 0..250 {
            propose(&mut drafter, &mut task);
            verify(&mut task, |text| sure_of(next(*text.last().unwrap()), 300));
            drafter.observe(std::slice::from_ref(&task));
        }
        assert_eq!(drafter.sequences[&SequenceKey(1)].shape, shape);
    }
}

#[test]
fn a_window_follows_the_length_of_its_ngrams_down_and_up() {
    let whole = LookaheadShape::new(4, 6, 2).unwrap();
    let mut drafter = Lookahead::new(whole, &[]);
    drafter.begin(SequenceKey(1), &[0, 17, 5, 88]);
    let mut task = task(&[0, 17, 5, 88], &SamplingParams::default());
    for ngram in [6, 3, 5, 4, 2, 6] {
        for _ in 0..12 {
            drafter.sequences.get_mut(&SequenceKey(1)).unwrap().shape.ngram = ngram;
            propose(&mut drafter, &mut task);
            verify(&mut task, |text| sure_of((*text.last().unwrap() + 1) % 100, 100));
            drafter.observe(std::slice::from_ref(&task));
        }
        let rows = drafter.sequences[&SequenceKey(1)].window.rows();
        assert_eq!(rows.len(), ngram - 1);
        assert!(rows.iter().all(|row| row.len() >= 4), "{rows:?}");
        for (above, below) in rows.iter().skip(1).zip(rows.iter().skip(2)) {
            for (above, below) in above.iter().zip(below).take(4) {
                assert_eq!(*below, (above + 1) % 100, "{rows:?}");
            }
        }
    }
}
