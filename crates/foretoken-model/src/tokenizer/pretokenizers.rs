//! How byte-level BPE models split text before merging, by the names GGUF files use.
//!
//! GGUF holds only a name (`tokenizer.ggml.pre`); the patterns come from the models' own
//! `tokenizer.json` files, each of whose splitting steps is one pattern here. Matches and the text
//! between them become parts of their own, and each further pattern splits the parts again. An
//! unknown name is an error: text split almost right costs quality without a trace.

use tokenizers::normalizers::{NFC, NormalizerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::TokenizerError;
use super::byte_pair::{Parts, Rules};

/// GPT-2 (Radford et al. 2019).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Meta-Llama-3-8B.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Qwen2-7B: single digits.
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Mistral-Nemo-Base-2407 (the Tekken vocabulary).
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Han, and what else deepseek-llm-7b and deepseek-coder-6.7b split off with it.
const DEEPSEEK_CJK: &str = "[一-龥ࠀ-一가-퟿]+";
/// deepseek-llm-7b: the cased letters, as the file lists them.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}",
    r"\u{1C4}-\u{293}\u{295}-\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}",
    r"\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}",
    r"\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}",
    r"\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}",
    r"\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}",
    r"\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}",
    r"\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}",
    r"\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}",
    r"\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}",
    r"\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}",
    r"\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}",
    r"\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}",
    r"\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}",
    r"\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}",
    r"\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}",
    r"\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}]+",
);
/// `DeepSeek-V3`.
const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r##"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
);

/// One way to split, and what else the models that use it have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    splits: &'static [&'static str],
    /// Whether a part that is a piece as a whole is never taken apart.
    ignore_merges: bool,
    /// Whether these models expect BOS where the file does not say.
    pub(super) add_bos: bool,
    /// Whether text is composed (NFC) first.
    compose: bool,
}

const PLAIN: PreTokenizer =
    PreTokenizer { names: &[], splits: &[], ignore_merges: false, add_bos: false, compose: false };

const ALL: [PreTokenizer; 11] = [
    PreTokenizer {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"],
        splits: &[GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"],
        splits: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["default"],
        splits: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ..PLAIN
    },
    PreTokenizer { names: &["dbrx", "smaug-bpe"], splits: &[LLAMA3], ..PLAIN },
    PreTokenizer {
        names: &["qwen2", "stablelm2", "deepseek-r1-qwen"],
        splits: &[QWEN2],
        compose: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["tekken"],
        splits: &[TEKKEN],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"],
        splits: &[r"\p{N}", GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        splits: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        splits: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}"],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3"],
        splits: &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        splits: &[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            DEEPSEEK_CJK,
            r"\p{N}+",
        ],
        ..PLAIN
    },
];

/// The pre-tokenizer of that name.
pub(super) fn find(name: &str) -> Result<PreTokenizer, TokenizerError> {
    let found = ALL.iter().find(|each| each.names.contains(&name));
    found.copied().ok_or_else(|| TokenizerError::Unsupported {
        what: "pre-tokenizer",
        found: name.to_owned(),
        known: ALL.iter().flat_map(|each| each.names).copied().collect::<Vec<_>>().join(", "),
    })
}

impl PreTokenizer {
    /// The parts of an encoder that splits this way, without a vocabulary.
    pub(super) fn parts(&self) -> Result<Parts, TokenizerError> {
        let split = |&pattern: &&str| {
            let regex = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(regex, SplitDelimiterBehavior::Isolated, false);
            split.map(PreTokenizerWrapper::Split).map_err(|cause| TokenizerError::Pattern {
                pattern: pattern.to_owned(),
                cause: cause.to_string(),
            })
        };
        let mut steps = self.splits.iter().map(split).collect::<Result<Vec<_>, _>>()?;
        steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)));
        Ok(Parts {
            normalizer: self.compose.then_some(NormalizerWrapper::NFC(NFC)),
            pre_tokenizer: Some(PreTokenizerWrapper::Sequence(Sequence::new(steps))),
            rules: Rules { ignore_merges: self.ignore_merges, ..Rules::default() },
            ..Parts::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{
        Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _,
    };

    use super::*;

    /// The parts of `text`, in byte-level letters.
    fn split(name: &str, text: &str) -> Vec<String> {
        let parts = find(name).unwrap().parts().unwrap();
        let mut text = PreTokenizedString::from(text);
        parts.pre_tokenizer.unwrap().pre_tokenize(&mut text).unwrap();
        let splits = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(part, ..)| part.to_owned()).collect()
    }

    #[test]
    fn every_pattern_compiles_and_every_name_is_found_once() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|each| each.names).copied().collect();
        for name in &names {
            assert!(!split(name, "a 1").is_empty(), "{name}");
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn families_differ_in_digits_contractions_and_line_ends() {
        let text = "I'LL pay 12345\n\n x";
        let cases = [
            ("gpt-2", vec!["I", "'", "LL", "Ġpay", "Ġ12345", "ĊĊ", "Ġx"]),
            ("llama-bpe", vec!["I", "'LL", "Ġpay", "Ġ", "123", "45", "ĊĊ", "Ġx"]),
            ("qwen2", vec!["I", "'LL", "Ġpay", "Ġ", "1", "2", "3", "4", "5", "ĊĊ", "Ġx"]),
            ("starcoder", vec!["I", "'", "LL", "Ġpay", "Ġ", "1", "2", "3", "4", "5", "ĊĊ", "Ġx"]),
            ("falcon", vec!["I", "'", "LL", "Ġpay", "Ġ", "123", "45", "ĊĊ", "Ġx"]),
        ];
        for (name, parts) in cases {
            assert_eq!(split(name, text), parts, "{name}");
        }
    }

    #[test]
    fn qwen_composes_characters_and_llama_3_keeps_whole_pieces() {
        let parts = |name| find(name).unwrap().parts().unwrap();
        let mut text = tokenizers::NormalizedString::from("e\u{301}");
        parts("qwen2").normalizer.unwrap().normalize(&mut text).unwrap();
        assert_eq!(text.get(), "é");
        assert!(parts("llama-bpe").normalizer.is_none());
        assert!(parts("llama-bpe").rules.ignore_merges && parts("tekken").rules.ignore_merges);
        assert!(!parts("qwen2").rules.ignore_merges);
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_so() {
        let message = find("qwen9").unwrap_err().to_string();
        assert!(
            message.starts_with("the pre-tokenizer `qwen9` is not supported; supported are gpt-2")
        );
    }
}
