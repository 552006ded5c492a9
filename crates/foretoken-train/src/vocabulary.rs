//! A tokenizer of one's own: byte-level byte-pair encoding, trained on text.
//!
//! Its folder holds what transformers reads beside a model's weights, so it is the folder that a new model's
//! tokenizer is taken from. It knows no tokens of a corpus and no model.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::Sequence;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, TokenizerImpl};

use crate::data::{DataError, Texts};

/// Begins every text; also ends one, and pads.
const TEXT: &str = "<|endoftext|>";
/// Ends a turn.
const END: &str = "<|end|>";
/// The first tokens of the vocabulary: [`TEXT`], the speakers, [`END`].
const SPECIAL: [&str; 4] = [TEXT, "<|user|>", "<|assistant|>", END];
/// Writes a conversation; who is not the assistant is the user.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + ('assistant' if message['role'] == \
    'assistant' else 'user') + '|>\n' + (message['content'] | trim) + '<|end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";
/// Bytes of text that are learned from; more change little.
const MOST: usize = 256 << 20;
/// How often a pair must come to become a token.
const LEAST: u64 = 2;

type BytePairs = TokenizerImpl<BPE, Sequence, ByteLevel, TemplateProcessing, ByteLevel>;

/// Why there is no new tokenizer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// Fewer tokens than there have to be.
    #[error("{wanted} tokens are too few; {} are those of bytes and special ones", .least)]
    Few {
        /// Tokens that were asked for.
        wanted: usize,
        /// The fewest.
        least: usize,
    },
    /// Data without any text, such as of tokens only.
    #[error("the data has no text to train a tokenizer on; name a folder with one")]
    NoText,
    /// Data that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What the training says.
    #[error("no tokenizer could be trained: {0}")]
    Training(String),
    /// A file that cannot be written.
    #[error("cannot write `{}`: {cause}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Trains a tokenizer of at most `vocab` tokens on the text of files and folders, and writes it to a folder,
/// which is made if need be. Of small data fewer tokens come. Equal data gives equal files.
///
/// # Errors
/// If `vocab` is too small, there is no text, or a file cannot be read or written.
pub fn train_tokenizer(
    vocab: usize,
    data: &[PathBuf],
    folder: &Path,
) -> Result<(), VocabularyError> {
    let alphabet = ByteLevel::alphabet();
    let least = SPECIAL.len() + alphabet.len();
    if vocab < least {
        return Err(VocabularyError::Few { wanted: vocab, least });
    }
    let training = |cause: tokenizers::Error| VocabularyError::Training(cause.to_string());
    let split = ByteLevel::default().add_prefix_space(false);
    let mut tokenizer = BytePairs::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(split)).with_decoder(Some(ByteLevel::default()));
    let special = SPECIAL.map(|text| AddedToken::from(text, true));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab)
        .min_frequency(LEAST)
        .initial_alphabet(alphabet.into_iter().collect())
        .special_tokens(special.into())
        .show_progress(false)
        .build();
    let mut texts = Texts::open(data, MOST)?;
    let mut bytes = 0;
    let counted = texts.by_ref().inspect(|text| bytes += text.len());
    tokenizer.train(&mut trainer, counted.flat_map(ordinary)).map_err(training)?;
    texts.finish()?;
    if bytes == 0 {
        return Err(VocabularyError::NoText);
    }
    let begins =
        TemplateProcessing::builder().try_single(format!("{TEXT} $A")).and_then(|builder| {
            builder.special_tokens(vec![(TEXT, 0)]).build().map_err(|cause| cause.to_string())
        });
    let begins = begins.map_err(VocabularyError::Training)?;
    let json = tokenizer.with_post_processor(Some(begins)).to_string(true).map_err(training)?;
    fs::create_dir_all(folder).map_err(write(folder))?;
    for (name, text) in [("tokenizer.json", json)].into_iter().chain(settings()) {
        let file = folder.join(name);
        fs::write(&file, text).map_err(write(&file))?;
    }
    Ok(())
}

/// The text between special tokens, which are no text.
fn ordinary(text: String) -> Vec<String> {
    SPECIAL.iter().fold(vec![text], |pieces, special| {
        pieces.iter().flat_map(|piece| piece.split(special)).map(str::to_owned).collect()
    })
}

/// The files beside the vocabulary.
fn settings() -> [(&'static str, String); 2] {
    let id = |text| SPECIAL.iter().position(|special| *special == text);
    let tokenizer = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": TEXT,
        "eos_token": END,
        "pad_token": TEXT,
        "add_bos_token": true,
        "clean_up_tokenization_spaces": false,
        "chat_template": TEMPLATE,
    });
    let generation = json!({ "bos_token_id": id(TEXT), "eos_token_id": [id(END), id(TEXT)] });
    let text = |value: Value| format!("{value:#}\n");
    [("tokenizer_config.json", text(tokenizer)), ("generation_config.json", text(generation))]
}

fn write(path: &Path) -> impl FnOnce(std::io::Error) -> VocabularyError {
    let file = path.to_owned();
    move |cause| VocabularyError::Write { file, cause }
}
