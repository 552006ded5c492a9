//! The stages of `tokenizer.json` that are understood, as the file writes them.

use foretoken_core::TokenId;
use serde::Deserialize;
use tokenizers::normalizers::{
    Lowercase, NFC, NFD, NFKC, NFKD, NormalizerWrapper, Prepend, Replace, Sequence as Normalizers,
    Strip, StripAccents,
};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::pre_tokenizers::whitespace::{Whitespace, WhitespaceSplit};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::json::{TemplateIds, unsupported};
use super::vocabulary::{BytePieces, Spelling, Vocabulary};
use super::{Frame, TokenizerError};

/// Longest pattern that is compiled; real ones have a few hundred bytes.
const MAX_PATTERN: usize = 4096;

/// What changes the text before it is split.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Normalizer {
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    Lowercase,
    StripAccents,
    Strip {
        strip_left: bool,
        strip_right: bool,
    },
    Prepend {
        prepend: String,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    Sequence {
        normalizers: Vec<Normalizer>,
    },
}

/// A text to look for, or a regular expression.
#[derive(Deserialize)]
pub(super) enum Pattern {
    String(String),
    Regex(String),
}

impl Pattern {
    fn text(&self) -> &str {
        match self {
            Self::String(text) | Self::Regex(text) => text,
        }
    }

    /// The error about this pattern.
    fn refuse(&self, cause: String) -> TokenizerError {
        let pattern = self.text().chars().take(80).collect();
        TokenizerError::Pattern { pattern, cause }
    }

    fn check(&self) -> Result<(), TokenizerError> {
        match self.text().len() {
            0 => Err(self.refuse("it is empty".to_owned())),
            1..=MAX_PATTERN => Ok(()),
            more => Err(self.refuse(format!("it has {more} bytes, more than {MAX_PATTERN}"))),
        }
    }
}

impl Normalizer {
    pub(super) fn build(self) -> Result<NormalizerWrapper, TokenizerError> {
        Ok(match self {
            Self::Nfc => NormalizerWrapper::NFC(NFC),
            Self::Nfd => NormalizerWrapper::NFD(NFD),
            Self::Nfkc => NormalizerWrapper::NFKC(NFKC),
            Self::Nfkd => NormalizerWrapper::NFKD(NFKD),
            Self::Lowercase => NormalizerWrapper::Lowercase(Lowercase),
            Self::StripAccents => NormalizerWrapper::StripAccents(StripAccents),
            Self::Strip { strip_left, strip_right } => {
                NormalizerWrapper::StripNormalizer(Strip::new(strip_left, strip_right))
            }
            // The library panics on a pattern that matches nothing at all, which any regular
            // expression may, and on an empty text put in front.
            Self::Prepend { prepend } if prepend.is_empty() => {
                return Err(unsupported("normalizer", "Prepend of nothing".into(), "some text"));
            }
            Self::Prepend { prepend } => NormalizerWrapper::Prepend(Prepend::new(prepend)),
            Self::Replace { pattern: Pattern::Regex(pattern), .. } => {
                return Err(unsupported("normalizer's regular expression", pattern, "plain text"));
            }
            Self::Replace { pattern, content } => {
                pattern.check()?;
                let built = Replace::new(pattern.text(), content);
                NormalizerWrapper::Replace(built.map_err(|e| pattern.refuse(e.to_string()))?)
            }
            Self::Sequence { normalizers } => {
                let all = normalizers.into_iter().map(Self::build).collect::<Result<_, _>>()?;
                NormalizerWrapper::Sequence(Normalizers::new(all))
            }
        })
    }
}

/// What splits the text into the parts that are encoded on their own.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum PreTokenizer {
    ByteLevel {
        add_prefix_space: bool,
        use_regex: Option<bool>,
    },
    Split {
        pattern: Pattern,
        behavior: SplitDelimiterBehavior,
        #[serde(default)]
        invert: bool,
    },
    Digits {
        #[serde(default)]
        individual_digits: bool,
    },
    Punctuation {
        behavior: Option<SplitDelimiterBehavior>,
    },
    Metaspace {
        replacement: char,
        add_prefix_space: Option<bool>,
        prepend_scheme: Option<PrependScheme>,
        split: Option<bool>,
    },
    Whitespace,
    WhitespaceSplit,
    Sequence {
        pretokenizers: Vec<PreTokenizer>,
    },
}

impl PreTokenizer {
    pub(super) fn build(self) -> Result<PreTokenizerWrapper, TokenizerError> {
        Ok(match self {
            Self::ByteLevel { add_prefix_space, use_regex } => {
                let regex = use_regex.unwrap_or(true);
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(add_prefix_space, false, regex))
            }
            Self::Split { pattern, behavior, invert } => {
                pattern.check()?;
                let text = match &pattern {
                    Pattern::String(text) => SplitPattern::String(text.clone()),
                    Pattern::Regex(text) => SplitPattern::Regex(text.clone()),
                };
                let split = Split::new(text, behavior, invert);
                PreTokenizerWrapper::Split(split.map_err(|e| pattern.refuse(e.to_string()))?)
            }
            Self::Digits { individual_digits } => {
                PreTokenizerWrapper::Digits(Digits::new(individual_digits))
            }
            Self::Punctuation { behavior } => {
                let behavior = behavior.unwrap_or(SplitDelimiterBehavior::Isolated);
                PreTokenizerWrapper::Punctuation(Punctuation::new(behavior))
            }
            Self::Metaspace { replacement, add_prefix_space, prepend_scheme, split } => {
                let scheme = prepend(add_prefix_space, prepend_scheme);
                let split = split.unwrap_or(true);
                PreTokenizerWrapper::Metaspace(Metaspace::new(replacement, scheme, split))
            }
            Self::Whitespace => PreTokenizerWrapper::Whitespace(Whitespace),
            Self::WhitespaceSplit => PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit),
            Self::Sequence { pretokenizers } => {
                let all = pretokenizers.into_iter().map(Self::build).collect::<Result<_, _>>()?;
                PreTokenizerWrapper::Sequence(PreTokenizers::new(all))
            }
        })
    }
}

/// `prepend_scheme`, or what older files say with `add_prefix_space`.
fn prepend(add_prefix_space: Option<bool>, scheme: Option<PrependScheme>) -> PrependScheme {
    match (scheme, add_prefix_space) {
        (Some(scheme), _) => scheme,
        (None, Some(false)) => PrependScheme::Never,
        (None, _) => PrependScheme::Always,
    }
}

/// What stands around an encoded text.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum PostProcessor {
    /// Adjusts offsets, which nobody here asks for.
    ByteLevel {},
    TemplateProcessing {
        single: Vec<TemplatePiece>,
        special_tokens: TemplateIds,
    },
    #[serde(alias = "BertProcessing")]
    RobertaProcessing {
        cls: (String, TokenId),
        sep: (String, TokenId),
    },
    Sequence {
        processors: Vec<PostProcessor>,
    },
}

/// A part of a template.
#[derive(Deserialize)]
pub(super) enum TemplatePiece {
    SpecialToken { id: String },
    Sequence { id: String },
}

impl PostProcessor {
    /// Whether it decides what stands around a text.
    pub(super) fn adds_tokens(&self) -> bool {
        match self {
            Self::ByteLevel {} => false,
            Self::TemplateProcessing { .. } | Self::RobertaProcessing { .. } => true,
            Self::Sequence { processors } => processors.iter().any(Self::adds_tokens),
        }
    }

    /// Puts its tokens around what `frame` has.
    pub(super) fn surround(
        &self,
        frame: &mut Frame,
        vocabulary: &Vocabulary,
    ) -> Result<(), TokenizerError> {
        match self {
            Self::ByteLevel {} => Ok(()),
            Self::TemplateProcessing { single, special_tokens } => {
                let (before, after) = template(single, special_tokens)?;
                frame.surround(&before, &after, vocabulary)
            }
            Self::RobertaProcessing { cls, sep } => frame.surround(&[cls.1], &[sep.1], vocabulary),
            Self::Sequence { processors } => {
                processors.iter().try_for_each(|each| each.surround(frame, vocabulary))
            }
        }
    }
}

/// The ids before and after the text in a template.
fn template(
    single: &[TemplatePiece],
    special_tokens: &TemplateIds,
) -> Result<(Vec<TokenId>, Vec<TokenId>), TokenizerError> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut texts = 0;
    for piece in single {
        match piece {
            TemplatePiece::Sequence { id } if id == "A" => texts += 1,
            TemplatePiece::Sequence { id } => {
                return Err(unsupported("template part", id.clone(), "`A` once"));
            }
            TemplatePiece::SpecialToken { id } => {
                let token = special_tokens.get(id).ok_or_else(|| TokenizerError::UnknownPiece {
                    what: "the post-processor's template",
                    piece: id.clone(),
                })?;
                let side = if texts == 0 { &mut before } else { &mut after };
                side.extend_from_slice(&token.ids);
            }
        }
    }
    if texts == 1 {
        Ok((before, after))
    } else {
        Err(unsupported("template", format!("with {texts} texts"), "`A` once"))
    }
}

/// What turns pieces back into text.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Decoder {
    ByteLevel {},
    Metaspace {
        replacement: char,
        add_prefix_space: Option<bool>,
        prepend_scheme: Option<PrependScheme>,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    ByteFallback,
    Fuse,
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Sequence {
        decoders: Vec<Decoder>,
    },
}

impl Decoder {
    /// How pieces spell text, and the number of spaces to drop at the beginning of a text.
    ///
    /// A space is dropped where encoding put one. (The library's own Metaspace decoder drops all of
    /// the first token's spaces, which loses those that were in the text.)
    pub(super) fn plan(&self) -> Result<(Spelling, usize), TokenizerError> {
        let mut steps = Vec::new();
        self.flatten(&mut steps);
        let mut replacements = Vec::new();
        let mut bytes = BytePieces::Literal;
        let mut spaces = 0;
        for step in &steps {
            match step {
                Self::ByteLevel {} if steps.len() == 1 => return Ok((Spelling::ByteLevel, 0)),
                Self::ByteLevel {} => return Err(refuse("ByteLevel among others")),
                Self::Replace { pattern: Pattern::String(from), content } => {
                    if from.is_empty() || bytes == BytePieces::Decoded || spaces > 0 {
                        return Err(refuse("Replace of nothing, or after ByteFallback or Strip"));
                    }
                    replacements.push((from.clone(), content.clone()));
                }
                Self::Replace { .. } => return Err(refuse("Replace with a regular expression")),
                Self::Metaspace { replacement, add_prefix_space, prepend_scheme } => {
                    replacements.push((replacement.to_string(), " ".to_owned()));
                    let scheme = prepend(*add_prefix_space, *prepend_scheme);
                    spaces = usize::from(scheme != PrependScheme::Never);
                }
                Self::ByteFallback => bytes = BytePieces::Decoded,
                Self::Strip { content: ' ', start, stop: 0 } => spaces = *start,
                Self::Strip { .. } => return Err(refuse("Strip of anything but leading spaces")),
                Self::Fuse | Self::Sequence { .. } => {}
            }
        }
        Ok((Spelling::Replaced { replacements, bytes }, spaces))
    }

    fn flatten<'a>(&'a self, steps: &mut Vec<&'a Self>) {
        match self {
            Self::Sequence { decoders } => decoders.iter().for_each(|each| each.flatten(steps)),
            step => steps.push(step),
        }
    }
}

fn refuse(found: &str) -> TokenizerError {
    let known = "ByteLevel, Metaspace, and Replace, ByteFallback, Fuse, Strip of leading spaces";
    unsupported("decoder", found.to_owned(), known)
}
