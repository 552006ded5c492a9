//! `tokenizer.json`, the format of the Hugging Face `tokenizers` library.
//!
//! The file describes a pipeline. Only parts whose behaviour is understood are taken over; any
//! other is an error that names it, since a text encoded almost right costs quality without a
//! trace. Truncation and padding are ignored, as is BPE dropout: they serve training.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use foretoken_core::TokenId;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokenizers::AddedToken;

use super::byte_pair::{BytePair, Parts, Rules};
use super::pipeline::{Decoder, Normalizer, PostProcessor, PreTokenizer};
use super::settings::{AddedTokenEntry, Settings};
use super::vocabulary::{BytePieces, PieceKind, Spelling, Vocabulary, byte_piece};
use super::{Encoder, Frame, Tokenizer, TokenizerError};

/// The file.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedTokenEntry>,
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<PreTokenizer>,
    post_processor: Option<PostProcessor>,
    decoder: Option<Decoder>,
    model: Bpe,
}

/// The kind of model alone, read first so that the error for another kind can name it.
#[derive(Deserialize)]
struct Kind {
    model: ModelKind,
}

#[derive(Deserialize)]
struct ModelKind {
    r#type: Option<String>,
    merges: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: Entries<TokenId>,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// A JSON object as a list of its entries, in file order.
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(List(PhantomData))
    }
}

/// Builds a tokenizer from the two files.
pub(super) fn read(bytes: &[u8], config: Option<&[u8]>) -> Result<Tokenizer, TokenizerError> {
    let invalid = |cause| TokenizerError::Json { what: "tokenizer.json", cause };
    let settings = Settings::parse(config)?;
    let kind: Kind = serde_json::from_slice(bytes).map_err(invalid)?;
    match kind.model.r#type {
        Some(found) if found != "BPE" => return Err(unsupported("tokenizer model", found, "BPE")),
        None if kind.model.merges.is_none() => {
            return Err(unsupported("tokenizer model", "of no type".into(), "BPE"));
        }
        _ => {}
    }
    let file: File = serde_json::from_slice(bytes).map_err(invalid)?;
    file.model.check()?;

    let added = added_tokens(&file.added_tokens)?;
    let decoder = file.decoder.as_ref().map(Decoder::plan).transpose()?;
    let (spelling, spaces) = decoder.unwrap_or_else(|| {
        // Without a decoder pieces write themselves.
        (Spelling::Replaced { replacements: Vec::new(), bytes: BytePieces::Literal }, 0)
    });
    let vocabulary = vocabulary(&file.model.vocab.0, &added, &spelling, spaces)?;

    let mut frame = Frame::default();
    if let Some(post_processor) = &file.post_processor {
        post_processor.surround(&mut frame, &vocabulary)?;
    }
    let bos = piece_id(&vocabulary, "`bos_token`", settings.bos())?;
    let eos = piece_id(&vocabulary, "`eos_token`", settings.eos())?;
    if !file.post_processor.as_ref().is_some_and(PostProcessor::adds_tokens) {
        frame.follow(&settings, bos, eos)?;
    }
    let encoder = BytePair::new(Parts {
        normalizer: file.normalizer.map(Normalizer::build).transpose()?,
        pre_tokenizer: file.pre_tokenizer.map(PreTokenizer::build).transpose()?,
        added,
        ..file.model.parts()?
    })?;
    Ok(Tokenizer::new(Encoder::BytePair(Box::new(encoder)), vocabulary, frame, bos, eos))
}

impl Bpe {
    /// Subword marks are how other libraries spell words; nothing here decodes them.
    fn check(&self) -> Result<(), TokenizerError> {
        let marks = [
            ("BPE setting `continuing_subword_prefix`", &self.continuing_subword_prefix),
            ("BPE setting `end_of_word_suffix`", &self.end_of_word_suffix),
        ];
        for (what, mark) in marks {
            if let Some(mark) = mark.as_ref().filter(|mark| !mark.is_empty()) {
                return Err(unsupported(what, mark.clone(), "none"));
            }
        }
        Ok(())
    }

    fn parts(self) -> Result<Parts, TokenizerError> {
        let merges = self.merges.into_iter().enumerate().map(|(rank, merge)| match merge {
            Merge::Pair(left, right) => Ok((left, right)),
            Merge::Line(line) => merge_line(rank, &line),
        });
        Ok(Parts {
            merges: merges.collect::<Result<_, _>>()?,
            vocabulary: self.vocab.0,
            rules: Rules {
                unk_token: self.unk_token,
                fuse_unk: self.fuse_unk,
                byte_fallback: self.byte_fallback,
                ignore_merges: self.ignore_merges,
            },
            ..Parts::default()
        })
    }
}

/// A merge written as two pieces with a space between them; pieces hold no spaces.
pub(super) fn merge_line(rank: usize, line: &str) -> Result<(String, String), TokenizerError> {
    match line.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(TokenizerError::MergeLine { rank, line: line.to_owned() }),
    }
}

/// The tokens with their ids, which this file must state.
fn added_tokens(entries: &[AddedTokenEntry]) -> Result<Vec<(AddedToken, TokenId)>, TokenizerError> {
    let with_id = |entry: &AddedTokenEntry| match entry.id {
        Some(id) => Ok((entry.token.clone(), id)),
        None => Err(TokenizerError::AddedToken {
            token: entry.token.content.clone(),
            problem: "has no id".to_owned(),
        }),
    };
    entries.iter().map(with_id).collect()
}

/// The table of trained and added pieces; an added token may also be a trained piece.
pub(super) fn vocabulary(
    trained: &[(String, TokenId)],
    added: &[(AddedToken, TokenId)],
    spelling: &Spelling,
    leading_spaces: usize,
) -> Result<Vocabulary, TokenizerError> {
    let decodes_bytes = matches!(spelling, Spelling::Replaced { bytes: BytePieces::Decoded, .. });
    let trained = trained.iter().map(|(piece, id)| {
        let byte = decodes_bytes && byte_piece(piece).is_some();
        (piece.clone(), *id, if byte { PieceKind::Byte } else { PieceKind::Text })
    });
    let added = added.iter().map(|(token, id)| {
        let kind = if token.special { PieceKind::Special } else { PieceKind::Added };
        (token.content.clone(), *id, kind)
    });
    Vocabulary::new(trained.chain(added), spelling, leading_spaces)
}

/// The id of a piece that a setting names; none where it names none.
pub(super) fn piece_id(
    vocabulary: &Vocabulary,
    what: &'static str,
    piece: Option<&str>,
) -> Result<Option<TokenId>, TokenizerError> {
    let Some(piece) = piece else { return Ok(None) };
    let unknown = || TokenizerError::UnknownPiece { what, piece: piece.to_owned() };
    vocabulary.id(piece).map(Some).ok_or_else(unknown)
}

/// Refuses a part of the file by name.
pub(super) fn unsupported(what: &'static str, found: String, known: &str) -> TokenizerError {
    TokenizerError::Unsupported { what, found, known: known.to_owned() }
}

/// The ids that a template of `tokenizer.json` gives its special tokens.
pub(super) type TemplateIds = HashMap<String, TemplateToken>;

/// One special token of a template.
#[derive(Deserialize)]
pub(super) struct TemplateToken {
    pub(super) ids: Vec<TokenId>,
}
