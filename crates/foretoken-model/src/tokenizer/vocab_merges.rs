//! `vocab.json` and `merges.txt`, the pair that byte-level BPE models had before `tokenizer.json`.
//!
//! The pair does not say how text is split; the class in `tokenizer_config.json` does.

use std::collections::BTreeMap;

use foretoken_core::TokenId;
use tokenizers::AddedToken;

use super::byte_pair::{BytePair, Parts};
use super::json::{Entries, merge_line, piece_id, vocabulary};
use super::pretokenizers;
use super::settings::Settings;
use super::vocabulary::Spelling;
use super::{Encoder, Frame, Tokenizer, TokenizerError};

/// The contents of the files of [`Tokenizer::from_vocab_and_merges`].
#[derive(Debug, Clone, Copy)]
pub struct VocabularyFiles<'a> {
    /// `vocab.json`: pieces to ids.
    pub vocab: &'a [u8],
    /// `merges.txt`: one pair a line in order of rank.
    pub merges: &'a [u8],
    /// `added_tokens.json`: further tokens to ids.
    pub added_tokens: Option<&'a [u8]>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<&'a [u8]>,
}

/// The pre-tokenizer of a Python tokenizer class, by its name in GGUF files.
const CLASSES: [(&str, &str); 4] = [
    ("GPT2Tokenizer", "gpt-2"),
    ("GPT2TokenizerFast", "gpt-2"),
    ("Qwen2Tokenizer", "qwen2"),
    ("Qwen2TokenizerFast", "qwen2"),
];

pub(super) fn read(files: &VocabularyFiles<'_>) -> Result<Tokenizer, TokenizerError> {
    let settings = Settings::parse(files.tokenizer_config)?;
    let Entries(trained) = entries("vocab.json", files.vocab)?;
    let added = added_tokens(files.added_tokens, &settings)?;
    let split = pretokenizers::find(class(&settings)?)?;
    let vocabulary = vocabulary(&trained, &added, &Spelling::ByteLevel, 0)?;

    let bos = piece_id(&vocabulary, "`bos_token`", settings.bos())?;
    let eos = piece_id(&vocabulary, "`eos_token`", settings.eos())?;
    let mut frame = Frame::default();
    frame.follow(&settings, bos, eos)?;
    let encoder = BytePair::new(Parts {
        vocabulary: trained,
        merges: merges(files.merges)?,
        added,
        ..split.parts()?
    })?;
    Ok(Tokenizer::new(Encoder::BytePair(Box::new(encoder)), vocabulary, frame, bos, eos))
}

fn entries(what: &'static str, bytes: &[u8]) -> Result<Entries<TokenId>, TokenizerError> {
    serde_json::from_slice(bytes).map_err(|cause| TokenizerError::Json { what, cause })
}

/// The pre-tokenizer's name; GPT-2's, from which the format comes, where no class is named.
fn class(settings: &Settings) -> Result<&'static str, TokenizerError> {
    let Some(class) = &settings.tokenizer_class else { return Ok("gpt-2") };
    let known = CLASSES.iter().find(|(name, _)| name == class);
    known.map(|&(_, pre)| pre).ok_or_else(|| TokenizerError::Unsupported {
        what: "tokenizer class",
        found: class.clone(),
        known: CLASSES.map(|(name, _)| name).join(", ") + ", and any with a tokenizer.json",
    })
}

/// The tokens of `added_tokens.json` and of the configuration. The configuration knows which are
/// special; those that only the first names are taken for special, as most are.
fn added_tokens(
    file: Option<&[u8]>,
    settings: &Settings,
) -> Result<Vec<(AddedToken, TokenId)>, TokenizerError> {
    let mut added = BTreeMap::new();
    if let Some(bytes) = file {
        for (content, id) in entries("added_tokens.json", bytes)?.0 {
            added.insert(id, AddedToken::from(content, true));
        }
    }
    for (key, entry) in settings.added_tokens_decoder.iter().flatten() {
        let token = entry.token.clone();
        let Ok(id) = key.parse::<TokenId>() else {
            let problem = format!("has `{key}` for an id in tokenizer_config.json");
            return Err(TokenizerError::AddedToken { token: token.content, problem });
        };
        added.insert(id, token);
    }
    Ok(added.into_iter().map(|(id, token)| (token, id)).collect())
}

fn merges(bytes: &[u8]) -> Result<Vec<(String, String)>, TokenizerError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(TokenizerError::Encode("merges.txt is not UTF-8".to_owned()));
    };
    let lines = text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    lines.enumerate().map(|(rank, line)| merge_line(rank, line)).collect()
}
