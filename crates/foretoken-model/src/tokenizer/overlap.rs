//! Which tokens of two vocabularies mean the same.

use std::collections::HashMap;

use foretoken_core::TokenId;

use super::Tokenizer;
use super::vocabulary::{PieceKind, Vocabulary};

/// Tokens of two vocabularies, the left and the right one, that mean the same, one to one: they write the
/// same bytes, however each vocabulary spells them, or control the same thing.
///
/// Where several tokens of a vocabulary write the same bytes, only one has a twin: a trained piece rather
/// than a byte piece, and that rather than an added one; the lowest id among equals. Special tokens are
/// twins where they are spelled alike, and where both begin or both end a text. In vocabularies that do not
/// differ every token is its own twin.
#[derive(Debug, Clone)]
pub struct Overlap {
    /// By left id.
    right: Vec<Option<TokenId>>,
    /// By right id.
    left: Vec<Option<TokenId>>,
    shared: usize,
}

impl Overlap {
    pub(super) fn new(left: &Tokenizer, right: &Tokenizer) -> Self {
        let mut overlap = Self {
            right: vec![None; left.vocab_size()],
            left: vec![None; right.vocab_size()],
            shared: 0,
        };
        if left.difference(right).is_none() {
            let ids = 0..overlap.right.len().min(overlap.left.len()) as TokenId;
            ids.for_each(|id| overlap.pair(Some(id), Some(id)));
            return overlap;
        }
        let written = pieces(&left.vocabulary);
        for (bytes, twin) in pieces(&right.vocabulary) {
            overlap.pair(written.get(bytes).copied(), Some(twin));
        }
        let controls = specials(&left.vocabulary);
        for (piece, twin) in specials(&right.vocabulary) {
            overlap.pair(controls.get(piece).copied(), Some(twin));
        }
        overlap.pair(left.eos, right.eos);
        overlap.pair(left.bos, right.bos);
        overlap
    }

    /// Without the tokens that models with these numbers of tokens do not know; who translates by the overlap
    /// writes none of them either.
    #[must_use]
    pub fn within(mut self, left: usize, right: usize) -> Self {
        self.right.truncate(left);
        self.left.truncate(right);
        let known = |id: Option<TokenId>, count| id.filter(|&id| (id as usize) < count);
        for twin in &mut self.right {
            *twin = known(*twin, right);
        }
        for twin in &mut self.left {
            *twin = known(*twin, left);
        }
        self.shared = self.iter().count();
        self
    }

    /// Numbers of ids on the left and on the right.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.right.len(), self.left.len())
    }

    /// Makes two tokens twins unless one of them has a twin.
    fn pair(&mut self, left: Option<TokenId>, right: Option<TokenId>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (to_right, to_left) = (&mut self.right[left as usize], &mut self.left[right as usize]);
        if to_right.is_none() && to_left.is_none() {
            (*to_right, *to_left) = (Some(right), Some(left));
            self.shared += 1;
        }
    }

    /// Number of tokens with a twin.
    pub fn shared(&self) -> usize {
        self.shared
    }

    /// The right twin of a left token.
    pub fn right(&self, left: TokenId) -> Option<TokenId> {
        self.right.get(left as usize).copied().flatten()
    }

    /// The left twin of a right token.
    pub fn left(&self, right: TokenId) -> Option<TokenId> {
        self.left.get(right as usize).copied().flatten()
    }

    /// All twins, `(left, right)`, by left id.
    pub fn iter(&self) -> impl Iterator<Item = (TokenId, TokenId)> + '_ {
        let numbered = (0..).zip(&self.right);
        numbered.filter_map(|(left, right)| right.map(|right| (left, right)))
    }
}

/// The token that writes each run of bytes.
pub(super) fn pieces(vocabulary: &Vocabulary) -> HashMap<&[u8], TokenId> {
    let mut pieces: HashMap<&[u8], TokenId> = HashMap::new();
    for kind in [PieceKind::Text, PieceKind::Byte, PieceKind::Added] {
        for id in ids(vocabulary, kind) {
            let bytes = vocabulary.bytes(id);
            if !bytes.is_empty() {
                pieces.entry(bytes).or_insert(id);
            }
        }
    }
    pieces
}

fn specials(vocabulary: &Vocabulary) -> HashMap<&str, TokenId> {
    let named = ids(vocabulary, PieceKind::Special).rev();
    named.filter_map(|id| Some((vocabulary.piece(id)?, id))).collect()
}

fn ids(vocabulary: &Vocabulary, kind: PieceKind) -> impl DoubleEndedIterator<Item = TokenId> {
    (0..vocabulary.len() as TokenId).filter(move |&id| vocabulary.kind(id) == kind)
}
