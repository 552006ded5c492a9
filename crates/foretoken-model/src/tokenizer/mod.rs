//! Text to tokens and back.
//!
//! A [`Tokenizer`] comes from `tokenizer.json`, from `vocab.json` and `merges.txt`, or from the
//! metadata of a GGUF file; afterwards it does not matter which. Decoding is a table of bytes per
//! token, so [`TextStream`] can hand out text token by token. Chat formats are not its business: a
//! [`ChatTemplate`](crate::ChatTemplate) makes one text of a conversation, which is encoded with
//! [`AddSpecial::No`], since templates write their own BOS.

mod byte_pair;
mod error;
mod gguf;
mod json;
mod overlap;
mod pipeline;
mod pretokenizers;
mod sentencepiece;
pub(crate) mod settings;
mod speller;
mod stream;
mod translation;
mod vocab_merges;
mod vocabulary;

use std::fmt;
use std::sync::Arc;

use foretoken_core::TokenId;

use crate::gguf::Gguf;
use byte_pair::BytePair;
use sentencepiece::SentencePiece;
use settings::Settings;
use vocabulary::Vocabulary;

pub use error::TokenizerError;
pub use overlap::Overlap;
pub use stream::TextStream;
pub use translation::{Translation, Translator};
pub use vocab_merges::VocabularyFiles;
pub use vocabulary::{PieceKind, VocabularyMismatch};

/// Longest text that is encoded at once, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// Whether the tokens that begin (and seldom end) a text are added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddSpecial {
    /// Add what the model expects around a text: BOS for most.
    Yes,
    /// Add nothing, as for text that a chat template made or that continues another.
    No,
}

/// Whether special tokens written in a text become those tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseSpecial {
    /// They do, as in Hugging Face's tokenizers and in what users expect of a prompt.
    Yes,
    /// They are text like any other. Added tokens that are not special are found all the same.
    No,
}

/// The tokens around every text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Frame {
    before: Vec<TokenId>,
    after: Vec<TokenId>,
}

impl Frame {
    /// Adds `before` in front and `after` behind.
    fn surround(
        &mut self,
        before: &[TokenId],
        after: &[TokenId],
        vocabulary: &Vocabulary,
    ) -> Result<(), TokenizerError> {
        if let Some(&id) = before.iter().chain(after).find(|&&id| vocabulary.piece(id).is_none()) {
            let (what, size) = ("the post-processor", vocabulary.len());
            return Err(TokenizerError::UnknownId { what, id: id.into(), size });
        }
        self.before.splice(0..0, before.iter().copied());
        self.after.extend_from_slice(after);
        Ok(())
    }

    /// Follows `add_bos_token` and `add_eos_token`.
    fn follow(
        &mut self,
        settings: &Settings,
        bos: Option<TokenId>,
        eos: Option<TokenId>,
    ) -> Result<(), TokenizerError> {
        let wanted = |wanted: Option<bool>, id: Option<TokenId>, what, piece: &str| {
            let missing = || TokenizerError::UnknownPiece { what, piece: piece.to_owned() };
            match wanted {
                Some(true) => id.map(Some).ok_or_else(missing),
                _ => Ok(None),
            }
        };
        self.before.extend(wanted(settings.add_bos_token, bos, "`add_bos_token`", "bos_token")?);
        self.after.extend(wanted(settings.add_eos_token, eos, "`add_eos_token`", "eos_token")?);
        Ok(())
    }
}

/// The algorithm that turns text into tokens.
enum Encoder {
    BytePair(Box<BytePair>),
    SentencePiece(Box<SentencePiece>),
}

/// A vocabulary with its algorithm. Clones share both.
#[derive(Clone)]
pub struct Tokenizer {
    encoder: Arc<Encoder>,
    vocabulary: Arc<Vocabulary>,
    frame: Frame,
    bos: Option<TokenId>,
    eos: Option<TokenId>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` where there is one.
    ///
    /// What stands around a text: the post-processor's template if there is one, else what
    /// `add_bos_token` says, else nothing.
    pub fn from_json(
        tokenizer: &[u8],
        tokenizer_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        json::read(tokenizer, tokenizer_config)
    }

    /// Reads the older pair of `vocab.json` and `merges.txt`, byte-level BPE.
    pub fn from_vocab_and_merges(files: &VocabularyFiles<'_>) -> Result<Self, TokenizerError> {
        vocab_merges::read(files)
    }

    /// Reads the vocabulary in a GGUF file's metadata: byte-level BPE (`gpt2`) or SentencePiece
    /// (`llama`).
    ///
    /// BOS is added as `tokenizer.ggml.add_bos_token` says. Where the key is absent SentencePiece
    /// adds it, and BPE only with the pre-tokenizers of models that expect it.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        gguf::read(gguf)
    }

    fn new(
        encoder: Encoder,
        vocabulary: Vocabulary,
        frame: Frame,
        bos: Option<TokenId>,
        eos: Option<TokenId>,
    ) -> Self {
        Self { encoder: Arc::new(encoder), vocabulary: Arc::new(vocabulary), frame, bos, eos }
    }

    /// The tokens of `text`.
    pub fn encode(
        &self,
        text: &str,
        add: AddSpecial,
        parse: ParseSpecial,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        if text.len() > MAX_TEXT {
            return Err(TokenizerError::TextTooLong { bytes: text.len(), limit: MAX_TEXT });
        }
        let mut ids = Vec::new();
        if add == AddSpecial::Yes {
            ids.extend_from_slice(&self.frame.before);
        }
        if !text.is_empty() {
            match &*self.encoder {
                Encoder::BytePair(encoder) => encoder.encode(text, parse, &mut ids)?,
                Encoder::SentencePiece(encoder) => encoder.encode(text, parse, &mut ids)?,
            }
        }
        if add == AddSpecial::Yes {
            ids.extend_from_slice(&self.frame.after);
        }
        Ok(ids)
    }

    /// The tokens of a text that goes on where `prompt` ends: together they decode as one text. Nothing is
    /// added and no special token parsed, and the space that encoding puts before a text is left out
    /// unless nothing of the prompt is visible.
    pub fn encode_after(
        &self,
        prompt: &[TokenId],
        text: &str,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        /// Each may stand before the text, so that nothing is put there; the first that stays a token of its
        /// own does.
        const ANCHORS: [&str; 3] = ["\n", ".", "x"];
        let encode = |text: &str| self.encode(text, AddSpecial::No, ParseSpecial::No);
        if self.vocabulary.leading_spaces() > 0 && !self.decode(prompt).is_empty() {
            for anchor in ANCHORS {
                let (anchored, whole) = (encode(anchor)?, encode(&format!("{anchor}{text}"))?);
                if let Some(tokens) = whole.strip_prefix(anchored.as_slice()) {
                    return Ok(tokens.to_vec());
                }
            }
        }
        encode(text)
    }

    /// The text of `tokens`: what each writes, joined and read as UTF-8 with U+FFFD for what is
    /// none. Special tokens are not shown. A space that encoding puts before a text is dropped
    /// again. (The clean-up of spaces before punctuation that some old configurations ask for is
    /// not done, since it changes text that was written so.)
    pub fn decode(&self, tokens: &[TokenId]) -> String {
        let mut stream = self.stream();
        let mut text: String = String::new();
        for &token in tokens {
            text.push_str(stream.push(token));
        }
        text.push_str(stream.finish());
        text
    }

    /// A stream that decodes from the beginning of a text.
    pub fn stream(&self) -> TextStream {
        TextStream::new(Arc::clone(&self.vocabulary))
    }

    /// A stream that goes on where `prompt` ends: together they decode as one text. The first
    /// word's space is kept unless nothing of the prompt is visible, and a character that the
    /// prompt leaves incomplete is completed.
    pub fn stream_after(&self, prompt: &[TokenId]) -> TextStream {
        let mut stream = self.stream();
        for &token in prompt {
            stream.push(token);
        }
        stream
    }

    /// Number of ids, holes included: the highest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// What people call the algorithm.
    pub fn algorithm(&self) -> &'static str {
        match &*self.encoder {
            Encoder::BytePair(_) => "byte-pair encoding",
            Encoder::SentencePiece(_) => "SentencePiece",
        }
    }

    /// The piece of an id as the vocabulary spells it (`Ġthe`, `▁the`, `<0x0A>`); none for ids
    /// without one.
    pub fn piece(&self, id: TokenId) -> Option<&str> {
        self.vocabulary.piece(id)
    }

    /// The role of an id.
    pub fn kind(&self, id: TokenId) -> PieceKind {
        self.vocabulary.kind(id)
    }

    /// The id of a piece, spelled as [`piece`](Self::piece) spells it. Searches the whole table.
    pub fn id(&self, piece: &str) -> Option<TokenId> {
        self.vocabulary.id(piece)
    }

    /// The token that begins a text, whether or not encoding adds it.
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// The token that the tokenizer's own files name as end of text. What ends a generation is the
    /// checkpoint's to say.
    pub fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// Where this vocabulary and another differ, if they do: the first id whose pieces differ,
    /// where padding and ids without a piece are the same as none.
    pub fn difference(&self, other: &Self) -> Option<VocabularyMismatch> {
        if Arc::ptr_eq(&self.vocabulary, &other.vocabulary) {
            return None;
        }
        self.vocabulary.difference(&other.vocabulary)
    }

    /// A number that is the same for vocabularies without a [`Self::difference`] and, but for chance, for no
    /// others; also on other machines and in other versions.
    pub fn fingerprint(&self) -> u64 {
        self.vocabulary.fingerprint()
    }

    /// The tokens that mean the same in this vocabulary, the left one, and another.
    pub fn overlap(&self, other: &Self) -> Overlap {
        Overlap::new(self, other)
    }

    /// Checks that a model with `vocabulary` tokens can take what this tokenizer makes.
    ///
    /// Added tokens beyond the model are tolerated: fine-tuned models often name a padding token
    /// that they have no row for, and only a text that spells it out leads there.
    pub fn check_fits(&self, vocabulary: usize) -> Result<(), TokenizerError> {
        let trained = |kind| matches!(kind, PieceKind::Text | PieceKind::Byte);
        match self.vocabulary.last(trained) {
            Some(id) if id as usize >= vocabulary => Err(TokenizerError::ModelVocabulary {
                piece: self.piece(id).unwrap_or_default().to_owned(),
                id,
                vocabulary,
            }),
            _ => Ok(()),
        }
    }
}
