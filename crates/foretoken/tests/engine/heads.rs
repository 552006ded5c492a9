//! Medusa heads under test: random ones for any model, and ones that know the text.

use std::borrow::Cow;
use std::collections::HashMap;

use foretoken::drafters::MedusaTrees;
use foretoken::{Checkpoint, MedusaChoices, MedusaSource, ModelSource, OpenOptions, TokenId};
use foretoken_model::{HeadBias, HeadPrecision, Heads, MedusaExport, MedusaShape};
use tempfile::TempDir;

use crate::models::VOCAB;
use crate::oracle::Dice;
use crate::plain::{Plain, Text, bits};

/// The tree of a name.
pub(crate) fn trees(choices: &str) -> MedusaTrees {
    match MedusaChoices::parse(choices).unwrap() {
        MedusaChoices::Tree(tree) => MedusaTrees::fixed(&tree),
        MedusaChoices::Best { .. } => panic!("{choices} is a tree"),
    }
}

/// Where the logits of heads come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// A matrix per head.
    Own,
    /// The model's.
    Shared,
}

/// Random heads for a model, in a folder of their own.
pub(crate) fn random_heads(model: &ModelSource, output: Output, seed: u64) -> TempDir {
    let checkpoint = Checkpoint::open(model, &OpenOptions::default()).unwrap();
    let (spec, mut dice) = (checkpoint.spec(), Dice(seed));
    let vocab = (output == Output::Own).then_some(spec.vocab);
    let shape =
        MedusaShape { count: 4, blocks: 1, hidden: spec.hidden, vocab, bias: HeadBias::All };
    let folder = tempfile::tempdir().unwrap();
    let export = MedusaExport { shape, precision: HeadPrecision::Bf16, base_model: "tiny" };
    let mut value = || dice.roll(2001) as f32 / 1000.0 - 1.0;
    export
        .write_published(folder.path(), |tensor| {
            let count = shape.dims(tensor).iter().product();
            Cow::Owned((0..count).map(|_| value()).collect())
        })
        .unwrap();
    folder
}

/// The heads in a folder.
pub(crate) fn source(folder: &TempDir) -> MedusaSource {
    MedusaSource::Folder(ModelSource::Folder(folder.path().to_owned()))
}

/// How heads that know the text err.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// At times, and at times with the right token only second or third.
    Sometimes,
    /// Always at one depth, from 1.
    Depth(u32),
}

/// What heads that know texts make of a hidden state that is none of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// It is a fault: all states are those of plain decoding.
    Fault,
    /// A draft has left the text; nothing is known.
    Unknown,
}

/// Heads that know what plain decoding writes after each of its hidden states, bit for bit.
pub(crate) struct KnowingHeads {
    /// By hidden state, the tokens from two places on.
    ahead: HashMap<Vec<u32>, Vec<TokenId>>,
    count: usize,
    vocab: usize,
    flaw: Flaw,
    stranger: Stranger,
    dice: Dice,
    /// By row of the batch, per head.
    rows: Vec<Vec<Vec<f32>>>,
}

impl KnowingHeads {
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a Text>, count: usize, flaw: Flaw) -> Self {
        let states = texts.flat_map(|text| {
            let states = text.hidden.iter().zip(text.prompt + 1..);
            states.map(|(state, next)| (state.clone(), text.tokens[next..].to_vec()))
        });
        Self {
            ahead: states.collect(),
            count,
            vocab: VOCAB,
            flaw,
            stranger: Stranger::Fault,
            dice: Dice(17),
            rows: Vec::new(),
        }
    }

    /// Heads of a draft that know what its target writes: by state of the draft behind each token of each
    /// text, the text from two places on.
    pub(crate) fn of_a_draft<'a>(
        draft: &mut Plain,
        texts: impl Iterator<Item = &'a Text>,
        (vocab, flaw): (usize, Flaw),
    ) -> Self {
        let states = texts.flat_map(|text| {
            let states = draft.states(&text.tokens[..text.tokens.len() - 2]).into_iter();
            states.zip(2..).map(|(state, next)| (state, text.tokens[next..].to_vec()))
        });
        let ahead = states.collect();
        Self { ahead, vocab, stranger: Stranger::Unknown, ..Self::new([].into_iter(), 4, flaw) }
    }

    /// Logits so far apart that neither noise nor penalties change their order.
    fn guess(&mut self, depth: u32, right: Option<&TokenId>) -> Vec<f32> {
        let vocab = self.vocab;
        let mut logits = vec![0.0; vocab];
        for (token, logit) in logits.iter_mut().enumerate() {
            *logit = (token * 37 % vocab) as f32 / 10.0;
        }
        let Some(&right) = right else { return logits };
        let (wrong, rank) = match self.flaw {
            Flaw::Depth(at) => (at == depth, 0),
            Flaw::Sometimes => (self.dice.chance(0.2), self.dice.roll(3)),
        };
        if wrong {
            logits[right as usize] = f32::NEG_INFINITY;
        } else {
            logits[right as usize] = 1e3;
        }
        for before in 1..=rank {
            logits[(right as usize + before) % vocab] = 1e4 * 10f32.powi(before as i32);
        }
        logits
    }
}

impl Heads for KnowingHeads {
    fn count(&self) -> usize {
        self.count
    }

    fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    fn tokens(&self) -> Option<&[TokenId]> {
        None
    }

    fn start(&mut self) {
        self.rows.clear();
    }

    fn add(&mut self, hidden: &[f32]) -> usize {
        let ahead = self.ahead.get(&bits(hidden)).cloned();
        let known = ahead.is_some() || self.stranger == Stranger::Unknown;
        assert!(known, "the state is one of plain decoding, at a position of its text");
        let ahead = ahead.unwrap_or_default();
        let rows = (1..=self.count as u32)
            .map(|depth| self.guess(depth, ahead.get(depth as usize - 1)))
            .collect();
        self.rows.push(rows);
        self.rows.len() - 1
    }

    fn forward(&mut self) {}

    fn logits(&self, head: usize, row: usize) -> &[f32] {
        &self.rows[row][head]
    }
}
