//! The pieces of a vocabulary, what each writes, and how two vocabularies compare.
//!
//! What a token writes is a fixed run of bytes, found once at load. Decoding is then the
//! concatenation of runs, read as UTF-8, which makes it incremental by construction. How text
//! becomes tokens is none of this module's business.

use std::fmt;
use std::ops::Range;

use foretoken_core::TokenId;

use super::TokenizerError;

/// Most ids without a piece: tables are indexed by id, and holes in real vocabularies are few.
const MAX_HOLES: usize = 1 << 16;

/// The role of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Part of ordinary text.
    Text,
    /// One byte of a character that has no piece of its own.
    Byte,
    /// Added as it stands beside the trained pieces, and shown as it stands.
    Added,
    /// Controls the model (BOS, end of turn, ...) and is never shown.
    Special,
    /// Padding of the table, or no piece at all; no text leads to it and it shows nothing.
    Unused,
}

/// How a trained piece spells text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spelling {
    /// One letter per byte, after GPT-2.
    ByteLevel,
    /// Text with stand-ins, such as `▁` for a space; a piece like `<0x0A>` is a byte if so stated.
    Replaced { replacements: Vec<(String, String)>, bytes: BytePieces },
}

/// Whether pieces like `<0x0A>` stand for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BytePieces {
    Decoded,
    Literal,
}

impl Spelling {
    /// SentencePiece's: `▁` for a space, byte pieces.
    pub(super) fn sentence_piece() -> Self {
        let replacements = vec![("▁".to_owned(), " ".to_owned())];
        Self::Replaced { replacements, bytes: BytePieces::Decoded }
    }

    /// Appends what `piece` writes.
    fn write(&self, piece: &str, out: &mut Vec<u8>) {
        match self {
            Self::ByteLevel => {
                let start = out.len();
                for letter in piece.chars() {
                    if let Some(byte) = byte_of(letter) {
                        out.push(byte);
                    } else {
                        // No byte-level piece at all: it writes itself.
                        out.truncate(start);
                        out.extend_from_slice(piece.as_bytes());
                        return;
                    }
                }
            }
            Self::Replaced { replacements, bytes } => {
                let mut text = piece.to_owned();
                for (from, to) in replacements {
                    text = text.replace(from, to);
                }
                match byte_piece(&text) {
                    Some(byte) if *bytes == BytePieces::Decoded => out.push(byte),
                    _ => out.extend_from_slice(text.as_bytes()),
                }
            }
        }
    }
}

/// The byte that a letter of the byte-level alphabet stands for: printable Latin-1 stands for
/// itself, the other 68 bytes follow from U+0100 on in byte order (Radford et al. 2019,
/// `encoder.py`).
fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The byte of a piece such as `<0x0A>`.
pub(super) fn byte_piece(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// One id's entry; an id without a piece has an empty text and is unused.
#[derive(Debug, Clone)]
struct Entry {
    text: Box<str>,
    kind: PieceKind,
    bytes: Range<u32>,
}

/// The pieces by id.
#[derive(Debug)]
pub(super) struct Vocabulary {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Spaces dropped at the very beginning of a text, where encoding put them.
    leading_spaces: usize,
}

impl Vocabulary {
    /// Collects `(piece, id, kind)`, in any order; a later entry of an id replaces an earlier one
    /// of the same text and contradicts any other.
    pub(super) fn new(
        pieces: impl IntoIterator<Item = (String, TokenId, PieceKind)>,
        spelling: &Spelling,
        leading_spaces: usize,
    ) -> Result<Self, TokenizerError> {
        let pieces: Vec<_> = pieces.into_iter().collect();
        let limit = pieces.len() + MAX_HOLES;
        let mut vocabulary = Self { entries: Vec::new(), bytes: Vec::new(), leading_spaces };
        for (piece, id, kind) in pieces {
            if id as usize >= limit {
                return Err(TokenizerError::IdTooLarge { piece, id, limit });
            }
            vocabulary.insert(piece, id, kind, spelling)?;
        }
        if vocabulary.entries.is_empty() {
            return Err(TokenizerError::Empty);
        }
        Ok(vocabulary)
    }

    fn insert(
        &mut self,
        text: String,
        id: TokenId,
        kind: PieceKind,
        spelling: &Spelling,
    ) -> Result<(), TokenizerError> {
        let index = id as usize;
        if index >= self.entries.len() {
            let none = Entry { text: "".into(), kind: PieceKind::Unused, bytes: 0..0 };
            self.entries.resize(index + 1, none);
        }
        let known = &self.entries[index].text;
        if !known.is_empty() && **known != *text {
            return Err(TokenizerError::DuplicateId { first: known.to_string(), second: text, id });
        }
        let kind = if is_padding(&text, id) { PieceKind::Unused } else { kind };
        let start = self.bytes.len() as u32;
        match kind {
            PieceKind::Text | PieceKind::Byte => spelling.write(&text, &mut self.bytes),
            PieceKind::Added => self.bytes.extend_from_slice(text.as_bytes()),
            PieceKind::Special | PieceKind::Unused => {}
        }
        let end = u32::try_from(self.bytes.len())
            .map_err(|_| TokenizerError::Encode("the pieces write more than 4 GiB".to_owned()))?;
        self.entries[index] = Entry { text: text.into(), kind, bytes: start..end };
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn leading_spaces(&self) -> usize {
        self.leading_spaces
    }

    /// The piece as the vocabulary spells it.
    pub(super) fn piece(&self, id: TokenId) -> Option<&str> {
        let text = &*self.entries.get(id as usize)?.text;
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn kind(&self, id: TokenId) -> PieceKind {
        self.entries.get(id as usize).map_or(PieceKind::Unused, |entry| entry.kind)
    }

    /// What the token writes; nothing for special, unused and unknown ids.
    pub(super) fn bytes(&self, id: TokenId) -> &[u8] {
        let Some(entry) = self.entries.get(id as usize) else { return &[] };
        &self.bytes[entry.bytes.start as usize..entry.bytes.end as usize]
    }

    /// The id of a piece, by a search of the table.
    pub(super) fn id(&self, piece: &str) -> Option<TokenId> {
        let found = self.entries.iter().position(|entry| *entry.text == *piece)?;
        (!piece.is_empty()).then_some(found as TokenId)
    }

    /// The last id for which `wanted` holds.
    pub(super) fn last(&self, wanted: impl Fn(PieceKind) -> bool) -> Option<TokenId> {
        self.entries.iter().rposition(|entry| wanted(entry.kind)).map(|index| index as TokenId)
    }

    /// The first id at which the two differ in a way that matters.
    pub(super) fn difference(&self, other: &Self) -> Option<VocabularyMismatch> {
        (0..self.len().max(other.len()) as TokenId).find_map(|id| {
            let (left, right) = (self.shown(id), other.shown(id));
            let owned = |piece: Option<&str>| piece.map(str::to_owned);
            let (left, right) = (left != right).then(|| (owned(left), owned(right)))?;
            Some(VocabularyMismatch { id, left, right })
        })
    }

    /// The piece of an id that is in use.
    fn shown(&self, id: TokenId) -> Option<&str> {
        self.piece(id).filter(|_| self.kind(id) != PieceKind::Unused)
    }

    /// FNV-1a over ids and pieces.
    pub(super) fn fingerprint(&self) -> u64 {
        let pieces = (0..self.len() as TokenId).filter_map(|id| Some((id, self.shown(id)?)));
        pieces.fold(0xcbf2_9ce4_8422_2325, |hash, (id, piece)| {
            // No piece runs into the next: 255 is in no UTF-8.
            let bytes = id.to_le_bytes().into_iter().chain(piece.bytes()).chain([255]);
            bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        })
    }
}

/// Whether `text` is the name that GGUF converters give to an id without a piece.
fn is_padding(text: &str, id: TokenId) -> bool {
    text.strip_prefix("[PAD").and_then(|rest| rest.strip_suffix(']')) == Some(&id.to_string())
}

/// Two vocabularies that cannot be used together: the first id at which they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VocabularyMismatch {
    /// The id.
    pub id: TokenId,
    /// Its piece in the first vocabulary, if it has one there.
    pub left: Option<String>,
    /// Its piece in the second.
    pub right: Option<String>,
}

impl fmt::Display for VocabularyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |piece: &Option<String>| match piece {
            Some(piece) => format!("`{}`", piece.escape_debug()),
            None => "no piece".to_owned(),
        };
        let (left, right) = (shown(&self.left), shown(&self.right));
        write!(f, "token id {} is {left} in one vocabulary and {right} in the other", self.id)
    }
}

impl std::error::Error for VocabularyMismatch {}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pieces: &[(&str, TokenId, PieceKind)]) -> Vocabulary {
        let owned = pieces.iter().map(|&(text, id, kind)| (text.to_owned(), id, kind));
        Vocabulary::new(owned, &Spelling::sentence_piece(), 0).unwrap()
    }

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let letters: Vec<char> = ('\0'..='\u{200}').filter(|&c| byte_of(c).is_some()).collect();
        let mut bytes: Vec<u8> = letters.iter().filter_map(|&c| byte_of(c)).collect();
        assert_eq!(bytes.len(), 256);
        bytes.sort_unstable();
        bytes.dedup();
        assert_eq!(bytes.len(), 256);
        for (letter, byte) in [('Ġ', b' '), ('Ċ', b'\n'), ('a', b'a'), ('Ń', 0xAD), ('ł', 0xA0)]
        {
            assert_eq!(byte_of(letter), Some(byte));
        }
    }

    #[test]
    fn pieces_write_bytes_by_their_kind() {
        use PieceKind::{Added, Byte, Special, Text, Unused};
        let vocabulary = table(&[
            ("▁the", 0, Text),
            ("<0xE2>", 1, Byte),
            ("▁raw", 2, Added),
            ("<s>", 3, Special),
            ("[PAD4]", 4, Text),
            ("[PAD4]", 6, Text),
        ]);
        assert_eq!(vocabulary.bytes(0), b" the");
        assert_eq!(vocabulary.bytes(1), [0xE2]);
        assert_eq!(vocabulary.bytes(2), "▁raw".as_bytes());
        assert_eq!(vocabulary.bytes(3), b"");
        assert_eq!((vocabulary.kind(4), vocabulary.bytes(4)), (Unused, &b""[..]));
        assert_eq!((vocabulary.kind(5), vocabulary.piece(5)), (Unused, None));
        assert_eq!(vocabulary.kind(6), Text, "the number is not the id");
        assert_eq!(vocabulary.kind(99), Unused);
        assert_eq!((vocabulary.id("<s>"), vocabulary.id("")), (Some(3), None));
    }

    #[test]
    fn padding_is_no_difference_and_anything_else_is() {
        use PieceKind::Text;
        let short = table(&[("a", 0, Text), ("b", 1, Text)]);
        let padded = table(&[("a", 0, Text), ("b", 1, Text), ("[PAD2]", 2, Text)]);
        assert_eq!(short.difference(&padded), None);
        assert_eq!(padded.difference(&short), None);
        let longer = table(&[("a", 0, Text), ("b", 1, Text), ("c", 2, Text)]);
        let mismatch = longer.difference(&padded).unwrap();
        assert_eq!(mismatch, VocabularyMismatch { id: 2, left: Some("c".into()), right: None });
        let other = table(&[("a", 0, Text), ("x", 1, Text), ("y", 2, Text)]);
        let message = short.difference(&other).unwrap().to_string();
        assert_eq!(message, "token id 1 is `b` in one vocabulary and `x` in the other");
    }

    #[test]
    fn two_pieces_for_one_id_and_enormous_ids_are_refused() {
        let new = |id| {
            let pieces =
                [("a".to_owned(), 0, PieceKind::Text), ("b".to_owned(), id, PieceKind::Text)];
            Vocabulary::new(pieces, &Spelling::ByteLevel, 0).unwrap_err().to_string()
        };
        assert_eq!(new(0), "the pieces `a` and `b` share the id 0");
        assert_eq!(
            new(u32::MAX),
            "the piece `b` has the id 4294967295; this vocabulary may go up to 65538"
        );
    }
}
