//! Tokens for any bytes, with the places where they end.
//!
//! A tokenizer takes text and may change it first (a space in front, composed characters). Whoever joins the
//! tokens of two vocabularies needs tokens that write exactly given bytes, also those of half a character,
//! and needs to know where each ends.

use std::collections::HashMap;

use foretoken_core::TokenId;

use super::overlap::pieces;
use super::{AddSpecial, ParseSpecial, Tokenizer};

/// Tokens, and by token how many bytes are written with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelled {
    pub(super) ids: Vec<TokenId>,
    pub(super) ends: Vec<usize>,
}

impl Spelled {
    pub(super) fn push(&mut self, id: TokenId, end: usize) {
        self.ids.push(id);
        self.ends.push(end);
    }

    pub(super) fn truncate(&mut self, count: usize) {
        self.ids.truncate(count);
        self.ends.truncate(count);
    }

    pub(super) fn clear(&mut self) {
        self.truncate(0);
    }
}

/// A tokenizer that spells bytes.
#[derive(Debug, Clone)]
pub(super) struct Speller {
    pub(super) tokenizer: Tokenizer,
    /// Number of ids that may be written.
    ids: usize,
    pieces: HashMap<Box<[u8]>, TokenId>,
    longest: usize,
}

impl Speller {
    /// Spells by the first `ids` ids alone.
    pub(super) fn new(tokenizer: &Tokenizer, ids: usize) -> Self {
        let pieces = pieces(&tokenizer.vocabulary).into_iter();
        let known = pieces.filter(|&(_, id)| (id as usize) < ids);
        let pieces: HashMap<Box<[u8]>, _> = known.map(|(bytes, id)| (bytes.into(), id)).collect();
        let longest = pieces.keys().map(|bytes| bytes.len()).max().unwrap_or(0);
        Self { tokenizer: tokenizer.clone(), ids, pieces, longest }
    }

    /// What stands before every text.
    pub(super) fn frame(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.tokenizer.frame.before.iter().copied().filter(|&id| self.knows(id))
    }

    fn knows(&self, id: TokenId) -> bool {
        (id as usize) < self.ids
    }

    /// Spells `bytes` from their beginning: text by the tokenizer's own tokens, which may write a space in
    /// front of the first one, and by the longest pieces what is no text and words that the tokenizer would
    /// change or take other ids for.
    pub(super) fn spell(&self, bytes: &[u8], out: &mut Spelled) {
        out.clear();
        let mut start = 0;
        for chunk in bytes.utf8_chunks() {
            self.spell_text(chunk.valid(), start, out);
            start += chunk.valid().len();
            self.spell_longest(chunk.invalid(), start, out);
            start += chunk.invalid().len();
        }
    }

    fn spell_text(&self, text: &str, start: usize, out: &mut Spelled) {
        let Some((ids, space)) = self.encode(text, start) else {
            if let Some((left, right)) = halves(text) {
                self.spell_text(left, start, out);
                self.spell_text(right, start + left.len(), out);
            } else {
                self.spell_longest(text.as_bytes(), start, out);
            }
            return;
        };
        let mut end = start;
        for (index, &id) in ids.iter().enumerate() {
            let written = self.tokenizer.vocabulary.bytes(id);
            let own = if index == 0 { &written[space..] } else { written };
            if own.len() < written.len() && start > 0 {
                // The space would be read as text here.
                self.spell_longest(own, end, out);
            } else {
                out.push(id, end + own.len());
            }
            end += own.len();
        }
    }

    /// The tokenizer's own tokens for `text` and the number of spaces that they write before it, if that is
    /// all they write and all may be written. Behind other text, the space in front is the text's own where it has one.
    fn encode(&self, text: &str, start: usize) -> Option<(Vec<TokenId>, usize)> {
        let encode = |part: &str| {
            let ids = self.tokenizer.encode(part, AddSpecial::No, ParseSpecial::No).ok()?;
            let space = self.space_in_front(&ids, text)?;
            ids.iter().all(|&id| self.knows(id)).then_some((ids, space))
        };
        let own = text.strip_prefix(' ').filter(|_| start > 0).and_then(encode);
        own.or_else(|| encode(text))
    }

    /// Number of spaces that `ids` write before `text`; none where they write something else.
    fn space_in_front(&self, ids: &[TokenId], text: &str) -> Option<usize> {
        let written: Vec<u8> =
            ids.iter().flat_map(|&id| self.tokenizer.vocabulary.bytes(id)).copied().collect();
        let space = written.len().checked_sub(text.len()).filter(|&space| space <= 1)?;
        let first = ids.first().map_or(0, |&id| self.tokenizer.vocabulary.bytes(id).len());
        let fits = space <= first && written[..space].iter().all(|&byte| byte == b' ');
        (fits && written[space..] == *text.as_bytes()).then_some(space)
    }

    /// Spells by the longest piece at each place; bytes without a piece are left out.
    pub(super) fn spell_longest(&self, bytes: &[u8], start: usize, out: &mut Spelled) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let mut lengths = (1..=rest.len().min(self.longest)).rev();
            let found = lengths.find_map(|n| Some((n, *self.pieces.get(&rest[..n])?)));
            at += found.map_or(1, |(length, _)| length);
            if let Some((_, id)) = found {
                out.push(id, start + at);
            }
        }
    }
}

/// Both sides of the white space nearest to the middle, which begins the right one: a space where there is
/// one, since a line's end may be part of what stands before it.
fn halves(text: &str) -> Option<(&str, &str)> {
    let begins = |&at: &usize| text[..at].ends_with(|before: char| !before.is_whitespace());
    let nearest = |is_border: fn(char) -> bool| {
        let borders = text.match_indices(is_border).map(|(at, _)| at).filter(begins);
        borders.min_by_key(|at| at.abs_diff(text.len() / 2))
    };
    let middle = nearest(|each| each == ' ').or_else(|| nearest(char::is_whitespace))?;
    Some(text.split_at(middle))
}
