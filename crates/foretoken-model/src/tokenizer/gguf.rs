//! The vocabulary in a GGUF file's metadata.
//!
//! Every id has a piece and a type; byte-level BPE comes with merges and the name of a
//! pre-tokenizer, SentencePiece with scores. Source: the GGUF specification of the ggml project.

use foretoken_core::TokenId;
use tokenizers::AddedToken;

use super::byte_pair::{BytePair, Parts};
use super::pretokenizers;
use super::sentencepiece::{Scored, SentencePiece, SpacePrefix};
use super::vocabulary::{PieceKind, Spelling, Vocabulary, byte_piece};
use super::{Encoder, Frame, Tokenizer, TokenizerError};
use crate::gguf::Gguf;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SPACE: &str = "tokenizer.ggml.add_space_prefix";

pub(super) fn read(gguf: &Gguf) -> Result<Tokenizer, TokenizerError> {
    let pieces = Pieces::read(gguf)?;
    match gguf.str(MODEL)?.ok_or(TokenizerError::MissingKey(MODEL))? {
        "gpt2" => byte_pair(gguf, &pieces),
        "llama" => sentence_piece(gguf, &pieces),
        other => Err(TokenizerError::Unsupported {
            what: "tokenizer model",
            found: other.to_owned(),
            known: "gpt2 and llama".to_owned(),
        }),
    }
}

/// The pieces by id, with their kinds.
struct Pieces<'a> {
    tokens: &'a [String],
    kinds: Vec<PieceKind>,
}

impl<'a> Pieces<'a> {
    fn read(gguf: &'a Gguf) -> Result<Self, TokenizerError> {
        let tokens = gguf.strings(TOKENS)?.ok_or(TokenizerError::MissingKey(TOKENS))?;
        let kinds = match gguf.integers(TYPES)? {
            Some(types) => {
                check_length(TYPES, types.len(), tokens.len())?;
                types.iter().enumerate().map(kind).collect::<Result<_, _>>()?
            }
            None => tokens.iter().map(|piece| untyped(piece)).collect(),
        };
        Ok(Self { tokens, kinds })
    }

    fn iter(&self) -> impl Iterator<Item = (&'a String, TokenId, PieceKind)> {
        let numbered = self.tokens.iter().zip(&self.kinds).enumerate();
        numbered.map(|(id, (piece, &kind))| (piece, id as TokenId, kind))
    }

    fn vocabulary(
        &self,
        spelling: &Spelling,
        leading_spaces: usize,
    ) -> Result<Vocabulary, TokenizerError> {
        let pieces = self.iter().map(|(piece, id, kind)| (piece.clone(), id, kind));
        Vocabulary::new(pieces, spelling, leading_spaces)
    }

    /// The id that a key holds; none where the key is absent.
    fn id(&self, gguf: &Gguf, key: &'static str) -> Result<Option<TokenId>, TokenizerError> {
        let size = self.tokens.len();
        match gguf.u64(key)? {
            Some(id) if id >= size as u64 => Err(TokenizerError::UnknownId { what: key, id, size }),
            id => Ok(id.map(|id| id as TokenId)),
        }
    }

    /// BOS and EOS, and where they go by the file's keys or else `add_bos`.
    fn ends(&self, gguf: &Gguf, add_bos: bool) -> Result<Ends, TokenizerError> {
        let (bos, eos) = (self.id(gguf, BOS)?, self.id(gguf, EOS)?);
        let mut frame = Frame::default();
        if gguf.bool(ADD_BOS)?.unwrap_or(add_bos) {
            frame.before.push(bos.ok_or(TokenizerError::MissingKey(BOS))?);
        }
        if gguf.bool(ADD_EOS)?.unwrap_or(false) {
            frame.after.push(eos.ok_or(TokenizerError::MissingKey(EOS))?);
        }
        Ok(Ends { frame, bos, eos })
    }
}

struct Ends {
    frame: Frame,
    bos: Option<TokenId>,
    eos: Option<TokenId>,
}

fn kind((index, code): (usize, &i64)) -> Result<PieceKind, TokenizerError> {
    Ok(match code {
        1 => PieceKind::Text,
        // Unknown and control: neither is ever shown.
        2 | 3 => PieceKind::Special,
        4 => PieceKind::Added,
        5 => PieceKind::Unused,
        6 => PieceKind::Byte,
        other => {
            let (value, problem) = (other.to_string(), "but types are numbered 1 to 6");
            return Err(TokenizerError::Value { key: TYPES, index, value, problem });
        }
    })
}

/// The kind of a piece in a file that states none.
fn untyped(piece: &str) -> PieceKind {
    if byte_piece(piece).is_some() { PieceKind::Byte } else { PieceKind::Text }
}

fn check_length(key: &'static str, found: usize, wanted: usize) -> Result<(), TokenizerError> {
    if found == wanted { Ok(()) } else { Err(TokenizerError::Length { key, found, wanted }) }
}

fn byte_pair(gguf: &Gguf, pieces: &Pieces<'_>) -> Result<Tokenizer, TokenizerError> {
    // Files from before the key existed were all read in one way.
    let split = pretokenizers::find(gguf.str(PRE)?.unwrap_or("default"))?;
    let Ends { frame, bos, eos } = pieces.ends(gguf, split.add_bos)?;
    let lines = gguf.strings(MERGES)?.ok_or(TokenizerError::MissingKey(MERGES))?;
    let merges = lines.iter().enumerate().map(|(rank, line)| super::json::merge_line(rank, line));
    let vocabulary = pieces.vocabulary(&Spelling::ByteLevel, 0)?;
    let added = pieces.iter().filter_map(|(piece, id, _)| {
        let special = match vocabulary.kind(id) {
            PieceKind::Special => true,
            PieceKind::Added => false,
            _ => return None,
        };
        Some((AddedToken::from(piece.clone(), special).normalized(false), id))
    });
    let encoder = BytePair::new(Parts {
        vocabulary: pieces.iter().map(|(piece, id, _)| (piece.clone(), id)).collect(),
        merges: merges.collect::<Result<_, _>>()?,
        added: added.collect(),
        ..split.parts()?
    })?;
    Ok(Tokenizer::new(Encoder::BytePair(Box::new(encoder)), vocabulary, frame, bos, eos))
}

fn sentence_piece(gguf: &Gguf, pieces: &Pieces<'_>) -> Result<Tokenizer, TokenizerError> {
    let scores = gguf.floats(SCORES)?.ok_or(TokenizerError::MissingKey(SCORES))?;
    check_length(SCORES, scores.len(), pieces.tokens.len())?;
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        let (value, problem) = ("NaN".to_owned(), "which ranks nowhere");
        return Err(TokenizerError::Value { key: SCORES, index, value, problem });
    }
    let Ends { frame, bos, eos } = pieces.ends(gguf, true)?;
    let prefix = match gguf.bool(ADD_SPACE)? {
        Some(false) => SpacePrefix::Leave,
        _ => SpacePrefix::Add,
    };
    let spaces = usize::from(prefix == SpacePrefix::Add);
    let vocabulary = pieces.vocabulary(&Spelling::sentence_piece(), spaces)?;
    let scored = pieces.iter().zip(scores).map(|((piece, id, _), &score)| Scored {
        piece: piece.clone(),
        id,
        score,
        kind: vocabulary.kind(id),
    });
    let encoder = SentencePiece::new(scored, pieces.id(gguf, UNKNOWN)?, prefix);
    Ok(Tokenizer::new(Encoder::SentencePiece(Box::new(encoder)), vocabulary, frame, bos, eos))
}
