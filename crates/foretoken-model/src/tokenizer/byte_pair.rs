//! Byte-pair encoding over the `tokenizers` crate: normalise, split, merge.
//!
//! The crate trusts its input in places (a merge that makes a piece longer than the vocabulary's
//! longest, for one), so everything is checked here before it is handed over. Which file the parts
//! came from is unknown here.

use std::collections::HashSet;

use foretoken_core::TokenId;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    AddedToken, AddedVocabulary, Model, NormalizerWrapper, OffsetType, PreTokenizer,
    PreTokenizerWrapper,
};

use super::{ParseSpecial, TokenizerError};

/// What a byte-pair encoder is made of.
#[derive(Default)]
pub(super) struct Parts {
    /// Trained pieces, each id once.
    pub(super) vocabulary: Vec<(String, TokenId)>,
    /// Pairs in order of rank.
    pub(super) merges: Vec<(String, String)>,
    /// Tokens found in a text before anything else.
    pub(super) added: Vec<(AddedToken, TokenId)>,
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: Option<PreTokenizerWrapper>,
    pub(super) rules: Rules,
}

/// The switches of the merge algorithm, as `tokenizer.json` names them.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) unk_token: Option<String>,
    pub(super) fuse_unk: bool,
    pub(super) byte_fallback: bool,
    pub(super) ignore_merges: bool,
}

/// A byte-pair encoder.
pub(super) struct BytePair {
    model: BPE,
    /// Finds every added token.
    parsing: AddedVocabulary,
    /// Finds those that are not special.
    literal: AddedVocabulary,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
}

impl BytePair {
    pub(super) fn new(parts: Parts) -> Result<Self, TokenizerError> {
        let Parts { vocabulary, merges, added, normalizer, pre_tokenizer, rules } = parts;
        check_merges(&vocabulary, &merges)?;
        let ids: Vocab = vocabulary.into_iter().collect();
        if let Some(piece) = rules.unk_token.as_ref().filter(|piece| !ids.contains_key(*piece)) {
            let piece = piece.clone();
            return Err(TokenizerError::UnknownPiece { what: "`unk_token`", piece });
        }
        let mut builder = BPE::builder()
            .vocab_and_merges(ids, merges)
            .fuse_unk(rules.fuse_unk)
            .byte_fallback(rules.byte_fallback)
            .ignore_merges(rules.ignore_merges);
        if let Some(unk_token) = rules.unk_token {
            builder = builder.unk_token(unk_token);
        }
        let model = builder.build().map_err(|cause| TokenizerError::Encode(cause.to_string()))?;
        let parsing = added_vocabulary(added, &model, normalizer.as_ref())?;
        let mut literal = parsing.clone();
        literal.set_encode_special_tokens(true);
        Ok(Self { model, parsing, literal, normalizer, pre_tokenizer })
    }

    pub(super) fn encode(
        &self,
        text: &str,
        parse: ParseSpecial,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        let failed = |cause: tokenizers::Error| TokenizerError::Encode(cause.to_string());
        let added = match parse {
            ParseSpecial::Yes => &self.parsing,
            ParseSpecial::No => &self.literal,
        };
        let mut split = added.extract_and_normalize(self.normalizer.as_ref(), text);
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut split).map_err(failed)?;
        }
        split.tokenize(|part| self.model.tokenize(part.get())).map_err(failed)?;
        let encoding = split.into_encoding(None, 0, OffsetType::None).map_err(failed)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

/// Both parts of every merge and what they make are pieces.
fn check_merges(
    vocabulary: &[(String, TokenId)],
    merges: &[(String, String)],
) -> Result<(), TokenizerError> {
    let pieces: HashSet<&str> = vocabulary.iter().map(|(piece, _)| piece.as_str()).collect();
    let mut joined = String::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if ![left, right, &joined].into_iter().all(|piece| pieces.contains(piece.as_str())) {
            let (left, right) = (left.clone(), right.clone());
            return Err(TokenizerError::Merge { rank, left, right });
        }
    }
    Ok(())
}

/// The crate gives an added token the id of the piece of that name, else the next free one; a file
/// that says otherwise cannot be represented.
fn added_vocabulary(
    mut added: Vec<(AddedToken, TokenId)>,
    model: &BPE,
    normalizer: Option<&NormalizerWrapper>,
) -> Result<AddedVocabulary, TokenizerError> {
    added.sort_by_key(|(_, id)| *id);
    let refuse = |token: &AddedToken, problem: String| TokenizerError::AddedToken {
        token: token.content.clone(),
        problem,
    };
    for (token, _) in &added {
        let white = token.content.trim().is_empty();
        if token.content.is_empty() || (white && (token.lstrip || token.rstrip)) {
            return Err(refuse(token, "is empty, or white space that strips white space".into()));
        }
    }
    let mut vocabulary = AddedVocabulary::new();
    vocabulary
        .add_tokens(added.iter().map(|(token, _)| token.clone()), model, normalizer)
        .map_err(|cause| TokenizerError::Encode(format!("the added tokens clash: {cause}")))?;
    for (token, id) in &added {
        match vocabulary.token_to_id(&token.content, model) {
            Some(given) if given == *id => {}
            _ => {
                let problem = format!("has the id {id}, which is neither its piece's nor the next");
                return Err(refuse(token, problem));
            }
        }
    }
    Ok(vocabulary)
}
