//! SentencePiece's BPE: merge the best-scored pair of neighbours until none is left.
//!
//! Kudo and Richardson 2018, `bpe_model.cc`: characters are merged into pieces by descending score
//! of the result, the leftmost first among equals; characters without a piece are written as byte
//! pieces. Ranking pairs by score as merge lists do breaks ties differently, so this is its own
//! algorithm.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use foretoken_core::TokenId;

use super::vocabulary::{PieceKind, byte_piece};
use super::{ParseSpecial, TokenizerError};

/// Stands for a space in pieces.
const SPACE: char = '▁';

/// Whether a space goes before a text, so that its first word is spelled like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpacePrefix {
    Add,
    Leave,
}

/// One entry of a vocabulary.
pub(super) struct Scored {
    pub(super) piece: String,
    pub(super) id: TokenId,
    pub(super) score: f64,
    pub(super) kind: PieceKind,
}

/// A SentencePiece encoder.
pub(super) struct SentencePiece {
    pieces: HashMap<String, (TokenId, f64)>,
    bytes: Box<[Option<TokenId>; 256]>,
    unknown: Option<TokenId>,
    added: Added,
    prefix: SpacePrefix,
}

/// Tokens that are found in a text as they stand, by first byte, longest first.
#[derive(Default)]
struct Added(HashMap<u8, Vec<(String, TokenId, PieceKind)>>);

impl Added {
    fn insert(&mut self, piece: String, id: TokenId, kind: PieceKind) {
        let Some(&first) = piece.as_bytes().first() else { return };
        self.0.entry(first).or_default().push((piece, id, kind));
    }

    fn sort(&mut self) {
        for pieces in self.0.values_mut() {
            pieces.sort_by_key(|(piece, ..)| std::cmp::Reverse(piece.len()));
        }
    }

    /// The first token in `text`, the longest at that place: where it begins, its length and id.
    fn find(&self, text: &str, parse: ParseSpecial) -> Option<(usize, usize, TokenId)> {
        if self.0.is_empty() {
            return None;
        }
        text.bytes().enumerate().find_map(|(at, byte)| {
            let here = text.get(at..)?;
            let found = self.0.get(&byte)?.iter().find(|(piece, _, kind)| {
                let wanted = *kind == PieceKind::Added || parse == ParseSpecial::Yes;
                wanted && here.starts_with(piece.as_str())
            });
            found.map(|(piece, id, _)| (at, piece.len(), *id))
        })
    }
}

impl SentencePiece {
    /// Scores must not be NaN.
    pub(super) fn new(
        vocabulary: impl IntoIterator<Item = Scored>,
        unknown: Option<TokenId>,
        prefix: SpacePrefix,
    ) -> Self {
        let mut encoder = Self {
            pieces: HashMap::new(),
            bytes: Box::new([None; 256]),
            unknown,
            added: Added::default(),
            prefix,
        };
        for Scored { piece, id, score, kind } in vocabulary {
            match kind {
                PieceKind::Text => {
                    encoder.pieces.insert(piece, (id, score));
                }
                PieceKind::Byte => {
                    if let Some(byte) = byte_piece(&piece) {
                        encoder.bytes[usize::from(byte)] = Some(id);
                    }
                }
                PieceKind::Added | PieceKind::Special => encoder.added.insert(piece, id, kind),
                PieceKind::Unused => {}
            }
        }
        encoder.added.sort();
        encoder
    }

    /// Each stretch between added tokens is a text of its own.
    pub(super) fn encode(
        &self,
        mut text: &str,
        parse: ParseSpecial,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        while let Some((at, length, id)) = self.added.find(text, parse) {
            self.encode_plain(&text[..at], ids)?;
            ids.push(id);
            text = &text[at + length..];
        }
        self.encode_plain(text, ids)
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        if text.is_empty() {
            return Ok(());
        }
        let prefix = (self.prefix == SpacePrefix::Add).then_some(SPACE);
        let marked = |c| if c == ' ' { SPACE } else { c };
        let text: String = prefix.into_iter().chain(text.chars().map(marked)).collect();
        Merger::new(&text, &self.pieces).run(|symbol| self.write(symbol, ids))
    }

    /// Appends the id of `symbol`, or those of its bytes.
    fn write(&self, symbol: &str, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        if let Some(&(id, _)) = self.pieces.get(symbol) {
            ids.push(id);
            return Ok(());
        }
        let start = ids.len();
        for byte in symbol.bytes() {
            if let Some(id) = self.bytes[usize::from(byte)] {
                ids.push(id);
            } else {
                ids.truncate(start);
                let unknown = symbol.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
                ids.push(self.unknown.ok_or(TokenizerError::Unencodable(unknown))?);
                break;
            }
        }
        Ok(())
    }
}

/// A run of text that is merged so far; a symbol without length was merged into its left neighbour.
struct Symbol {
    start: usize,
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that make a piece.
struct Pair {
    score: f64,
    left: usize,
    right: usize,
    /// Length of both together; another length shows that one of them has changed since.
    length: usize,
}

impl Ord for Pair {
    /// The greatest is merged first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

/// The state of merging one text.
struct Merger<'a> {
    text: &'a str,
    pieces: &'a HashMap<String, (TokenId, f64)>,
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Pair>,
}

impl<'a> Merger<'a> {
    fn new(text: &'a str, pieces: &'a HashMap<String, (TokenId, f64)>) -> Self {
        let symbol = |(index, (start, c)): (usize, (usize, char))| Symbol {
            start,
            length: c.len_utf8(),
            previous: index.checked_sub(1),
            next: (start + c.len_utf8() < text.len()).then_some(index + 1),
        };
        let symbols: Vec<Symbol> = text.char_indices().enumerate().map(symbol).collect();
        let mut merger = Self { text, pieces, symbols, queue: BinaryHeap::new() };
        for right in 1..merger.symbols.len() {
            merger.offer(Some(right - 1), Some(right));
        }
        merger
    }

    /// Queues two neighbours if they make a piece.
    fn offer(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let start = self.symbols[left].start;
        let length = self.symbols[left].length + self.symbols[right].length;
        if let Some(&(_, score)) = self.pieces.get(&self.text[start..start + length]) {
            self.queue.push(Pair { score, left, right, length });
        }
    }

    /// Merges all and hands the symbols to `write`, left to right.
    fn run(
        mut self,
        mut write: impl FnMut(&str) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        while let Some(Pair { left, right, length, .. }) = self.queue.pop() {
            let (first, second) = (&self.symbols[left], &self.symbols[right]);
            // A symbol that was merged away has no length, one that grew has more than its share.
            let gone = first.length == 0 || second.length == 0;
            if gone || first.length + second.length != length {
                continue;
            }
            let (previous, next) = (first.previous, second.next);
            self.symbols[right].length = 0;
            self.symbols[left].length = length;
            self.symbols[left].next = next;
            if let Some(next) = next {
                self.symbols[next].previous = Some(left);
            }
            self.offer(previous, Some(left));
            self.offer(Some(left), next);
        }
        for symbol in self.symbols.iter().filter(|symbol| symbol.length > 0) {
            write(&self.text[symbol.start..symbol.start + symbol.length])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(pieces: &[(&str, f64, PieceKind)], prefix: SpacePrefix) -> SentencePiece {
        let scored = pieces.iter().enumerate().map(|(id, &(piece, score, kind))| Scored {
            piece: piece.to_owned(),
            id: id as TokenId,
            score,
            kind,
        });
        SentencePiece::new(scored, None, prefix)
    }

    fn ids(encoder: &SentencePiece, text: &str, parse: ParseSpecial) -> Vec<TokenId> {
        let mut ids = Vec::new();
        encoder.encode(text, parse, &mut ids).unwrap();
        ids
    }

    use PieceKind::{Added as AddedKind, Byte, Special, Text};

    #[test]
    fn the_best_score_wins_and_the_leftmost_among_equals() {
        let pieces = [
            ("a", 0.0, Text),
            ("b", 0.0, Text),
            ("ab", -2.0, Text),
            ("ba", -1.0, Text),
            ("aa", -3.0, Text),
        ];
        let encoder = encoder(&pieces, SpacePrefix::Leave);
        assert_eq!(ids(&encoder, "aba", ParseSpecial::Yes), [0, 3]);
        assert_eq!(ids(&encoder, "aaa", ParseSpecial::Yes), [4, 0]);
        assert_eq!(ids(&encoder, "abab", ParseSpecial::Yes), [0, 3, 1]);
    }

    #[test]
    fn spaces_are_marked_and_one_goes_in_front_of_each_stretch() {
        let pieces =
            [("▁", 0.0, Text), ("a", 0.0, Text), ("▁a", -1.0, Text), ("<s>", 0.0, Special)];
        let with = encoder(&pieces, SpacePrefix::Add);
        assert_eq!(ids(&with, "a a<s>a", ParseSpecial::Yes), [2, 2, 3, 2]);
        assert_eq!(ids(&with, " ", ParseSpecial::Yes), [0, 0]);
        let without = encoder(&pieces, SpacePrefix::Leave);
        assert_eq!(ids(&without, "a a<s>a", ParseSpecial::Yes), [1, 2, 3, 1]);
    }

    #[test]
    fn special_tokens_are_text_when_asked_and_added_ones_never() {
        let pieces = [
            ("<", 0.0, Text),
            ("s", 0.0, Text),
            (">", 0.0, Text),
            ("<s>", 0.0, Special),
            ("<ss>", 0.0, AddedKind),
            ("<s", 0.0, AddedKind),
        ];
        let encoder = encoder(&pieces, SpacePrefix::Leave);
        assert_eq!(ids(&encoder, "<s><ss>", ParseSpecial::Yes), [3, 4]);
        assert_eq!(ids(&encoder, "<s><ss>", ParseSpecial::No), [5, 2, 4]);
    }

    #[test]
    fn characters_without_a_piece_become_bytes_or_an_error() {
        let encoder = encoder(&[("<0xC3>", 0.0, Byte), ("<0xA9>", 0.0, Byte)], SpacePrefix::Leave);
        assert_eq!(ids(&encoder, "é", ParseSpecial::Yes), [0, 1]);
        let error = encoder.encode("x", ParseSpecial::Yes, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no piece for `x`"), "{error}");
        let with_unknown = SentencePiece { unknown: Some(7), ..encoder };
        assert_eq!(ids(&with_unknown, "éx", ParseSpecial::Yes), [0, 1, 7]);
    }

    /// Merges by looking for the best pair of neighbours anew each time.
    fn naive(encoder: &SentencePiece, text: &str) -> Vec<TokenId> {
        let mut symbols: Vec<String> = text.chars().map(String::from).collect();
        loop {
            let mut best: Option<(f64, usize)> = None;
            for (left, pair) in symbols.windows(2).enumerate() {
                if let Some(&(_, score)) = encoder.pieces.get(&pair.concat())
                    && best.is_none_or(|(other, _)| score > other)
                {
                    best = Some((score, left));
                }
            }
            let Some((_, left)) = best else { break };
            let right = symbols.remove(left + 1);
            symbols[left].push_str(&right);
        }
        symbols.iter().map(|symbol| encoder.pieces[symbol].0).collect()
    }

    /// All texts of 9 letters out of two, under vocabularies with many ties.
    #[test]
    fn the_queue_agrees_with_a_plain_search() {
        let pieces = ["a", "b", "ab", "ba", "aa", "bb", "aba", "bab", "abb", "aab", "abab", "bbaa"];
        for vocabulary in 0..40u32 {
            let score = |index: u32| {
                f64::from(index.wrapping_mul(2_654_435_761).rotate_left(vocabulary) % 5)
            };
            let scored: Vec<(&str, f64, PieceKind)> = pieces
                .iter()
                .zip(0u32..)
                .map(|(&piece, index)| (piece, score(index), Text))
                .collect();
            let encoder = encoder(&scored, SpacePrefix::Leave);
            for text in 0..512u32 {
                let text: String =
                    (0..9).map(|bit| if text >> bit & 1 == 1 { 'a' } else { 'b' }).collect();
                let merged = ids(&encoder, &text, ParseSpecial::Yes);
                assert_eq!(merged, naive(&encoder, &text), "{vocabulary} {text}");
            }
        }
    }
}
