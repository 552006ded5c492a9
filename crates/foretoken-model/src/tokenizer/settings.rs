//! `tokenizer_config.json`: what stands beside a vocabulary.

use std::collections::BTreeMap;

use foretoken_core::TokenId;
use serde::Deserialize;
use tokenizers::AddedToken;

use super::TokenizerError;

/// The keys of `tokenizer_config.json` that matter here; all others are about Python classes.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    bos_token: Option<TokenText>,
    eos_token: Option<TokenText>,
    pub(super) add_bos_token: Option<bool>,
    pub(super) add_eos_token: Option<bool>,
    pub(super) tokenizer_class: Option<String>,
    pub(super) added_tokens_decoder: Option<BTreeMap<String, AddedTokenEntry>>,
    pub(crate) chat_template: Option<ChatTemplates>,
}

/// A token by its text, bare or with matching rules.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenText {
    Text(String),
    Object { content: String },
}

impl TokenText {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

/// An added token with its matching rules.
#[derive(Debug, Deserialize)]
pub(super) struct AddedTokenEntry {
    /// The id, where the file does not use it as the key.
    pub(super) id: Option<TokenId>,
    #[serde(flatten)]
    pub(super) token: AddedToken,
}

/// One chat template or several with names.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ChatTemplates {
    One(String),
    Named(Vec<NamedTemplate>),
}

/// A chat template with its name.
#[derive(Debug, Deserialize)]
pub(crate) struct NamedTemplate {
    name: String,
    template: String,
}

impl ChatTemplates {
    /// The template for plain conversations: the one called `default`, else the only one.
    pub(crate) fn plain(&self) -> Option<&str> {
        match self {
            Self::One(template) => Some(template),
            Self::Named(all) => all
                .iter()
                .find(|named| named.name == "default")
                .or(if let [only] = all.as_slice() { Some(only) } else { None })
                .map(|named| named.template.as_str()),
        }
    }
}

impl Settings {
    /// Reads the file, if there is one.
    pub(crate) fn parse(file: Option<&[u8]>) -> Result<Self, TokenizerError> {
        let Some(bytes) = file else { return Ok(Self::default()) };
        serde_json::from_slice(bytes)
            .map_err(|cause| TokenizerError::Json { what: "tokenizer_config.json", cause })
    }

    pub(crate) fn bos(&self) -> Option<&str> {
        self.bos_token.as_ref().map(TokenText::text)
    }

    pub(crate) fn eos(&self) -> Option<&str> {
        self.eos_token.as_ref().map(TokenText::text)
    }
}
