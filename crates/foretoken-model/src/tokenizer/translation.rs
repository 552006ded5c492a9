//! Tokens of one vocabulary as tokens of another, by the text between them.
//!
//! A [`Translation`] follows a growing text. What a vocabulary makes of a text's end may change with what
//! follows, but only near the end, so each step spells a short window anew: it begins at a token some way back,
//! and what it yields is taken from the first place on where both spellings have a border. To the right of such
//! a border byte-pair merges know nothing of what is left of it.

use std::collections::HashMap;

use foretoken_core::TokenId;

use super::Tokenizer;
use super::overlap::Overlap;
use super::speller::{Spelled, Speller};
use super::stream::skip_spaces;
use super::vocabulary::PieceKind;

/// Bytes before the end of what is known that are spelled anew.
const WINDOW: usize = 64;

/// From one vocabulary to another: what translations share.
#[derive(Debug, Clone)]
pub struct Translator {
    from: Tokenizer,
    to: Speller,
    /// Twins of special tokens.
    special: HashMap<TokenId, TokenId>,
}

impl Translator {
    /// From the left vocabulary of an overlap to its right one.
    pub fn to_right(overlap: &Overlap, left: &Tokenizer, right: &Tokenizer) -> Self {
        Self::new(left, Speller::new(right, overlap.sizes().1), overlap.iter())
    }

    /// From the right vocabulary of an overlap to its left one.
    pub fn to_left(overlap: &Overlap, left: &Tokenizer, right: &Tokenizer) -> Self {
        let twins = overlap.iter().map(|(left, right)| (right, left));
        Self::new(right, Speller::new(left, overlap.sizes().0), twins)
    }

    fn new(from: &Tokenizer, to: Speller, twins: impl Iterator<Item = (TokenId, TokenId)>) -> Self {
        let special = twins.filter(|&(id, _)| from.kind(id) == PieceKind::Special).collect();
        Self { from: from.clone(), to, special }
    }

    /// Appends to `out` the tokens that continue `before`, in the vocabulary that is translated to, with what
    /// `tokens`, in the other, write. Ends before a special token without a twin.
    ///
    /// The border between both stays, even where one token would have crossed it.
    pub fn continue_with(&self, before: &[TokenId], tokens: &[TokenId], out: &mut Vec<TokenId>) {
        let (mut text, mut known) = self.end_of(before);
        let leading_spaces = self.from.vocabulary.leading_spaces();
        let mut leading = known.map_or(leading_spaces, |_| 0);
        let mut spelled = Spelled::default();
        for &token in tokens {
            if self.from.kind(token) != PieceKind::Special {
                let bytes = self.from.vocabulary.bytes(token);
                text.extend_from_slice(skip_spaces(bytes, &mut leading));
                continue;
            }
            self.spell_from(&text, known, &mut spelled, out);
            text.clear();
            (known, leading) = (None, leading_spaces);
            let Some(&twin) = self.special.get(&token) else { return };
            out.push(twin);
        }
        self.spell_from(&text, known, &mut spelled, out);
    }

    /// What the last tokens write, back to a window's length or a special token. Its first space is left out where
    /// the tokenizer puts one in front. Its length comes with it, unless nothing is known of the stretch.
    fn end_of(&self, before: &[TokenId]) -> (Vec<u8>, Option<usize>) {
        let vocabulary = &self.to.tokenizer.vocabulary;
        let mut length = 0;
        let near = before.iter().rev().take_while(|&&id| {
            let within = length < WINDOW && vocabulary.kind(id) != PieceKind::Special;
            length += vocabulary.bytes(id).len();
            within
        });
        let count = near.count();
        let (mut text, mut leading) = (Vec::with_capacity(length), vocabulary.leading_spaces());
        for &id in &before[before.len() - count..] {
            text.extend_from_slice(skip_spaces(vocabulary.bytes(id), &mut leading));
        }
        let known = (count > 0).then_some(text.len());
        (text, known)
    }

    /// Appends the tokens of `text` from the border at `known` on, or all of them.
    fn spell_from(
        &self,
        text: &[u8],
        known: Option<usize>,
        spelled: &mut Spelled,
        out: &mut Vec<TokenId>,
    ) {
        self.to.spell(text, spelled);
        let Some(known) = known else {
            out.extend_from_slice(&spelled.ids);
            return;
        };
        let mut first = spelled.ends.partition_point(|&end| end <= known);
        let begins = first.checked_sub(1).map_or(0, |last| spelled.ends[last]);
        if begins < known && first < spelled.ids.len() {
            let mut gap = Spelled::default();
            self.to.spell_longest(&text[known..spelled.ends[first]], known, &mut gap);
            out.extend_from_slice(&gap.ids);
            first += 1;
        }
        out.extend_from_slice(&spelled.ids[first..]);
    }
}

/// A growing text as tokens of another vocabulary.
#[derive(Debug, Clone, Default)]
pub struct Translation {
    /// Tokens that were translated.
    read: usize,
    text: Vec<u8>,
    tokens: Spelled,
    /// Token at which the stretch behind the last special token begins, and its place in the text.
    stretch: (usize, usize),
    /// Spaces still to be dropped at the beginning of the stretch, where the tokenizer puts them.
    leading_spaces: usize,
    unchanged: usize,
    /// Tokens of the frame that the text has begun with itself.
    framed: usize,
    window: Spelled,
}

impl Translation {
    /// The translation of no text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        let Self { read, text, tokens, stretch, unchanged, framed, .. } = self;
        (*read, *stretch, *unchanged, *framed) = (0, (0, 0), 0, 0);
        text.clear();
        tokens.clear();
    }

    /// How many tokens of the text have been read.
    pub fn read(&self) -> usize {
        self.read
    }

    /// The text in the vocabulary that is translated to, after what that one puts before every text.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens.ids
    }

    /// How many of the first tokens are what they were when [`Self::mark`] was called last.
    pub fn unchanged(&self) -> usize {
        self.unchanged
    }

    /// Counts changes from here on.
    pub fn mark(&mut self) {
        self.unchanged = self.tokens.ids.len();
    }

    /// Reads the tokens that follow.
    ///
    /// Special tokens become their twins, or nothing. Everything else is spelled as the other tokenizer spells
    /// the whole stretch of text between two special tokens, up to what depends on text further back than a
    /// window; bytes for which it has no piece are left out.
    pub fn push(&mut self, translator: &Translator, tokens: &[TokenId]) {
        let Translator { from, to, special } = translator;
        if self.read == 0 {
            self.leading_spaces = from.vocabulary.leading_spaces();
            self.tokens.clear();
            for id in to.frame() {
                self.tokens.push(id, 0);
            }
            self.stretch = (self.tokens.ids.len(), 0);
        }
        self.read += tokens.len();
        for &token in tokens {
            if from.kind(token) != PieceKind::Special {
                let bytes = from.vocabulary.bytes(token);
                self.text.extend_from_slice(skip_spaces(bytes, &mut self.leading_spaces));
                continue;
            }
            self.spell(to);
            let end = self.text.len();
            // What stands before every text stands there already.
            let begins = end == 0 && self.tokens.ids.len() == to.frame().count();
            let twin = special.get(&token).copied();
            if begins && twin.is_some() && twin == to.frame().nth(self.framed) {
                self.framed += 1;
            } else if let Some(twin) = twin {
                self.tokens.push(twin, end);
            }
            self.stretch = (self.tokens.ids.len(), end);
            self.leading_spaces = from.vocabulary.leading_spaces();
        }
        self.spell(to);
    }

    /// Spells the text since the last special token as far as it is new or may have changed.
    fn spell(&mut self, to: &Speller) {
        let (first, begin) = self.stretch;
        let known = &self.tokens.ends[first..];
        let done = known.last().copied().unwrap_or(begin);
        if done == self.text.len() {
            return;
        }
        let mut length = WINDOW;
        let (keep, from, anchor) = loop {
            let far = known.partition_point(|&end| end + length <= done);
            // Whole characters from a border on.
            let begins = |&&end: &&usize| begins_character(self.text[end]);
            let Some(&anchor) = known[..far].iter().rev().find(begins) else {
                to.spell(&self.text[begin..], &mut self.window);
                break (0, 0, begin);
            };
            to.spell(&self.text[anchor..], &mut self.window);
            let near = known.partition_point(|&end| end < anchor + length / 2);
            let shared = (near..).zip(&known[near..]).find_map(|(at, end)| {
                let from = self.window.ends.binary_search(&(end - anchor)).ok()?;
                Some((at + 1, from + 1, anchor))
            });
            match shared {
                Some(shared) => break shared,
                None => length *= 2,
            }
        };
        self.replace(first + keep, from, anchor);
        self.leave_unwritten(begin);
    }

    /// Begins a new stretch at the last character where much text was left out, so as not to spell all of it
    /// in every step.
    fn leave_unwritten(&mut self, begin: usize) {
        let (end, count) = (self.text.len(), self.tokens.ids.len());
        let written = self.tokens.ends.last().map_or(begin, |&written| written.max(begin));
        if end - written > 4 * WINDOW {
            let mut last = (end - 3..end).rev();
            let last = last.find(|&at| begins_character(self.text[at]));
            self.stretch = (count, last.unwrap_or(end));
        }
    }

    /// Puts the window's tokens from `from` on in the place of those from `keep` on.
    fn replace(&mut self, keep: usize, from: usize, anchor: usize) {
        let (old, new) = (&self.tokens.ids[keep..], &self.window.ids[from..]);
        let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        if keep + same < self.tokens.ids.len() {
            self.unchanged = self.unchanged.min(keep + same);
        }
        self.tokens.truncate(keep);
        for (&id, end) in new.iter().zip(&self.window.ends[from..]) {
            self.tokens.push(id, anchor + end);
        }
    }
}

/// Whether a byte begins a character, or stands alone.
fn begins_character(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_not_spelled_over_and_over() {
        let read = |vocab: &str| {
            let model = format!(r#"{{"type": "BPE", "vocab": {vocab}, "merges": []}}"#);
            let decoder = r#"{"type": "ByteFallback"}"#;
            let file = format!(r#"{{"model": {model}, "decoder": {decoder}}}"#);
            Tokenizer::from_json(file.as_bytes(), None).unwrap()
        };
        let left = read(r#"{"☐": 0, "<0xC3>": 1, "<0xA9>": 2}"#);
        let right = read(r#"{"é": 0}"#);
        let translator = Translator::to_right(&left.overlap(&right), &left, &right);
        let mut translation = Translation::new();
        for _ in 0..1000 {
            translation.push(&translator, &[0]);
            let open = translation.text.len() - translation.stretch.1;
            assert!(open <= 4 * WINDOW, "{open}");
        }
        // A character whose end is still to come is spelled with it.
        let most = 4 * WINDOW / 3 + 1;
        let mut translation = Translation::new();
        translation.push(&translator, &[vec![0; most], vec![1]].concat());
        translation.push(&translator, &[2]);
        assert_eq!(translation.tokens(), [0]);
    }
}
