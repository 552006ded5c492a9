//! Text from tokens, one at a time.

use std::sync::Arc;

use foretoken_core::TokenId;

use super::vocabulary::Vocabulary;

/// Decodes tokens as they come: the pieces of text it hands out, joined, are exactly the decoding
/// of all tokens, whatever comes later.
///
/// At most three bytes are held back, those of a character that is not complete yet. Bytes that can
/// be no UTF-8 become U+FFFD as in [`String::from_utf8_lossy`].
#[derive(Debug, Clone)]
pub struct TextStream {
    vocabulary: Arc<Vocabulary>,
    /// The bytes of an incomplete character.
    pending: Vec<u8>,
    /// Spaces still to be dropped at the beginning of the text.
    leading_spaces: usize,
    text: String,
}

impl TextStream {
    pub(super) fn new(vocabulary: Arc<Vocabulary>) -> Self {
        let leading_spaces = vocabulary.leading_spaces();
        Self { vocabulary, pending: Vec::new(), leading_spaces, text: String::new() }
    }

    /// Takes the next token and returns the text that has become certain, often none. Special
    /// tokens and ids outside the vocabulary write nothing.
    pub fn push(&mut self, token: TokenId) -> &str {
        self.text.clear();
        let bytes = self.vocabulary.bytes(token);
        self.pending.extend_from_slice(skip_spaces(bytes, &mut self.leading_spaces));
        let complete = decode_complete(&self.pending, &mut self.text);
        self.pending.drain(..complete);
        &self.text
    }

    /// Ends the text: an incomplete character becomes U+FFFD. The stream can go on afterwards.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.pending.is_empty() {
            self.pending.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }
}

/// What is left of a token's bytes without the spaces that are still `leading` a text.
pub(super) fn skip_spaces<'a>(mut bytes: &'a [u8], leading: &mut usize) -> &'a [u8] {
    while *leading > 0 && !bytes.is_empty() {
        match bytes.strip_prefix(b" ") {
            Some(rest) => {
                bytes = rest;
                *leading -= 1;
            }
            None => *leading = 0,
        }
    }
    bytes
}

/// Appends the text of `bytes` up to an incomplete character at their end; returns the bytes used.
fn decode_complete(bytes: &[u8], text: &mut String) -> usize {
    let mut used = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        used += chunk.valid().len();
        let invalid = chunk.invalid();
        let at_end = used + invalid.len() == bytes.len();
        if at_end && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) {
            break;
        }
        if !invalid.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            used += invalid.len();
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{PieceKind, Spelling};
    use super::*;

    /// A vocabulary in which id `b` writes byte `b`, 256 is special, 257 is `▁a`.
    fn bytes(leading_spaces: usize) -> Arc<Vocabulary> {
        let byte = |b: u32| (format!("<0x{b:02X}>"), b, PieceKind::Byte);
        let more =
            [("<s>".to_owned(), 256, PieceKind::Special), ("▁a".to_owned(), 257, PieceKind::Text)];
        let pieces = (0..256).map(byte).chain(more);
        let spelling = Spelling::sentence_piece();
        Arc::new(Vocabulary::new(pieces, &spelling, leading_spaces).unwrap())
    }

    fn run(stream: &mut TextStream, tokens: &[TokenId]) -> (Vec<String>, String) {
        let pieces = tokens.iter().map(|&token| stream.push(token).to_owned()).collect();
        (pieces, stream.finish().to_owned())
    }

    #[test]
    fn a_character_appears_with_its_last_byte() {
        let tokens: Vec<TokenId> = "é🦙".bytes().map(TokenId::from).collect();
        let (pieces, rest) = run(&mut TextStream::new(bytes(0)), &tokens);
        assert_eq!(pieces, ["", "é", "", "", "", "🦙"]);
        assert_eq!(rest, "");
    }

    #[test]
    fn special_tokens_and_foreign_ids_write_nothing_even_inside_a_character() {
        let (pieces, _) = run(&mut TextStream::new(bytes(0)), &[0xC3, 256, 9999, 0xA9]);
        assert_eq!(pieces, ["", "", "", "é"]);
    }

    #[test]
    fn an_unfinished_character_is_flushed_as_one_replacement() {
        let (pieces, rest) = run(&mut TextStream::new(bytes(0)), &[0x61, 0xF0, 0x9F, 0xA6]);
        assert_eq!(pieces, ["a", "", "", ""]);
        assert_eq!(rest, "\u{FFFD}");
    }

    #[test]
    fn only_the_first_space_of_a_text_is_dropped() {
        let (pieces, _) = run(&mut TextStream::new(bytes(1)), &[256, 257, 257]);
        assert_eq!(pieces, ["", "a", " a"]);
        let (pieces, _) = run(&mut TextStream::new(bytes(1)), &[0x20, 257]);
        assert_eq!(pieces, ["", " a"]);
        let (pieces, _) = run(&mut TextStream::new(bytes(1)), &[0x62, 257]);
        assert_eq!(pieces, ["b", " a"]);
    }

    /// Every string of four bytes out of a set with all kinds of UTF-8 bytes.
    #[test]
    fn the_pieces_joined_are_the_lossy_reading_of_all_bytes() {
        let kinds: [u8; 13] =
            [0x61, 0x80, 0x9F, 0xA0, 0xBF, 0xC1, 0xC3, 0xE0, 0xE2, 0xED, 0xF0, 0xF4, 0xFF];
        let vocabulary = bytes(0);
        for number in 0..13usize.pow(4) {
            let text: Vec<u8> =
                (0..4).map(|place| kinds[number / 13usize.pow(place) % 13]).collect();
            let tokens: Vec<TokenId> = text.iter().map(|&b| b.into()).collect();
            let (pieces, rest) = run(&mut TextStream::new(Arc::clone(&vocabulary)), &tokens);
            assert_eq!(pieces.concat() + &rest, String::from_utf8_lossy(&text), "{text:x?}");
        }
    }
}
