//! The tokenizer and the chat template of a model source; no tensor and no configuration is needed.

use crate::gguf::Gguf;
use crate::source::map_file;
use crate::{ChatTemplate, ModelError, ModelSource, Tokenizer, TokenizerError, VocabularyFiles};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const ADDED: &str = "added_tokens.json";
const TEMPLATE: &str = "chat_template.jinja";

impl ModelSource {
    /// Reads the vocabulary: `tokenizer.json`, else `vocab.json` with `merges.txt`, or what a GGUF
    /// file's metadata hold.
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        if let Self::Gguf(path) = self {
            let gguf = open_gguf(self, path)?;
            return Tokenizer::from_gguf(&gguf).map_err(|cause| self.refuse(None, cause));
        }
        let config = self.read(CONFIG)?;
        if let Some(json) = self.read(TOKENIZER)? {
            return Tokenizer::from_json(&json, config.as_deref())
                .map_err(|cause| self.refuse(Some(TOKENIZER), cause));
        }
        let (Some(vocab), Some(merges)) = (self.read(VOCABULARY)?, self.read(MERGES)?) else {
            return Err(ModelError::Incomplete {
                folder: self.place().into(),
                missing: "tokenizer.json, nor vocab.json with merges.txt",
                advice: "download the tokenizer's files as well",
            });
        };
        let added = self.read(ADDED)?;
        let files = VocabularyFiles {
            vocab: &vocab,
            merges: &merges,
            added_tokens: added.as_deref(),
            tokenizer_config: config.as_deref(),
        };
        Tokenizer::from_vocab_and_merges(&files)
            .map_err(|cause| self.refuse(Some(VOCABULARY), cause))
    }

    /// Reads the chat template: `chat_template.jinja`, else what `tokenizer_config.json` or a GGUF file's
    /// metadata hold; none where the model has no chat format.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, ModelError> {
        let refuse = |file, cause| ModelError::Chat { file, cause };
        if let Self::Gguf(path) = self {
            let gguf = open_gguf(self, path)?;
            return ChatTemplate::from_gguf(&gguf).map_err(|cause| refuse(self.place(), cause));
        }
        let (config, template) = (self.read(CONFIG)?, self.read(TEMPLATE)?);
        let file = if template.is_some() { TEMPLATE } else { CONFIG };
        ChatTemplate::from_files(config.as_deref(), template.as_deref())
            .map_err(|cause| refuse(self.label(file), cause))
    }

    fn refuse(&self, file: Option<&str>, cause: TokenizerError) -> ModelError {
        let file = file.map_or_else(|| self.place(), |file| self.label(file));
        ModelError::Tokenizer { file, cause }
    }
}

/// The header of a GGUF file.
fn open_gguf(source: &ModelSource, path: &std::path::Path) -> Result<Gguf, ModelError> {
    let file = || source.place();
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let bytes = map_file(path)?;
    let bytes = bytes.ok_or_else(|| ModelError::Io { file: file(), cause: missing() })?;
    Gguf::parse(&bytes).map_err(|cause| ModelError::Gguf { file: file(), cause })
}
