//! How two vocabularies compare, and by which way a draft of the one serves a target of the other.
//!
//! It knows tokenizers and no models: what is said here about acceptance is of a draft that is right.

use foretoken_model::{
    AddSpecial, Overlap, ParseSpecial, Tokenizer, Translation, Translator, VocabularyMismatch,
};

use crate::Error;

/// The text on which vocabularies are compared.
const SAMPLE: &str = include_str!("sample.txt");
/// Drafted tokens per pass on the sample.
const DRAFTED: usize = 8;
/// Tokens of the target that are looked at to draft as many.
const AHEAD: usize = 64;
/// Least share of the target's tokens that a draft by tokens must be able to propose to be preferred. At 0.56 it
/// loses 5 % against text at temperature 0 and wins 6 to 10 % at 0.8 (`docs/model.md`).
const ENOUGH: f64 = 0.5;

/// How the vocabulary of a draft model meets the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DraftVocabulary {
    /// As the same where the vocabularies agree; otherwise by tokens where enough of the target's tokens can be
    /// proposed so, and by text where not.
    #[default]
    Auto,
    /// Tokens have the same ids; unused ids may differ.
    Same,
    /// The draft chooses among the tokens that both have.
    Tokens,
    /// The draft writes text in its own tokens, which is tokenized for the target.
    Text,
}

impl DraftVocabulary {
    /// All, in the order in which help lists them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Same, Self::Tokens, Self::Text];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Same => "same",
            Self::Tokens => "tokens",
            Self::Text => "text",
        }
    }

    /// The way of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }
}

/// Two vocabularies side by side.
#[derive(Debug, Clone)]
pub struct Vocabularies {
    /// Ids of the target's vocabulary.
    pub target: usize,
    /// Ids of the draft's.
    pub draft: usize,
    /// Where they differ first, if they do.
    pub difference: Option<VocabularyMismatch>,
    /// Tokens that both have.
    pub shared: usize,
    /// What this means for a sample of text.
    pub sample: SampleOverlap,
}

/// Two vocabularies on a text of English prose, lists, code, data and some other languages.
#[derive(Debug, Clone, Copy, Default)]
pub struct SampleOverlap {
    /// Tokens that the target makes of the text.
    pub tokens: usize,
    /// Those of them that the draft has too: what a draft by tokens can propose.
    pub shared: usize,
    /// Tokens per pass of a draft by tokens that is never wrong where it can be right, with 8 drafted per pass.
    pub by_tokens: f64,
    /// The same by text, of a draft that writes the right text as its tokenizer would. Another spelling may do
    /// better.
    pub by_text: f64,
}

impl SampleOverlap {
    /// Share of the text's tokens that a draft by tokens can propose.
    pub fn share(&self) -> f64 {
        self.shared as f64 / self.tokens.max(1) as f64
    }
}

impl Vocabularies {
    /// Compares the vocabularies of a target and a draft.
    pub fn compare(target: &Tokenizer, draft: &Tokenizer) -> Self {
        let overlap = target.overlap(draft);
        Self {
            target: target.vocab_size(),
            draft: draft.vocab_size(),
            difference: target.difference(draft),
            shared: overlap.shared(),
            sample: SampleOverlap::new(&overlap, target, draft),
        }
    }

    /// The way that [`DraftVocabulary::Auto`] takes; none where nothing is shared.
    pub fn choose(&self) -> Option<DraftVocabulary> {
        match self.difference {
            None => Some(DraftVocabulary::Same),
            Some(_) if self.shared == 0 => None,
            Some(_) if self.sample.share() >= ENOUGH => Some(DraftVocabulary::Tokens),
            Some(_) => Some(DraftVocabulary::Text),
        }
    }
}

impl DraftVocabulary {
    /// The way between two vocabularies that is taken where this one is asked for; `name` is the draft's.
    pub fn between(self, target: &Tokenizer, draft: &Tokenizer, name: &str) -> Result<Self, Error> {
        let no_overlap = || Error::NoOverlap { draft: name.to_owned() };
        match (self, target.difference(draft)) {
            (Self::Auto | Self::Same, None) => Ok(Self::Same),
            (Self::Same, Some(difference)) => Err(Error::Vocabulary {
                draft: name.to_owned(),
                difference: difference.to_string(),
            }),
            (Self::Auto, Some(_)) => {
                Vocabularies::compare(target, draft).choose().ok_or_else(no_overlap)
            }
            (Self::Tokens, _) if target.overlap(draft).shared() == 0 => Err(no_overlap()),
            (Self::Tokens | Self::Text, _) => Ok(self),
        }
    }
}

impl SampleOverlap {
    fn new(overlap: &Overlap, target: &Tokenizer, draft: &Tokenizer) -> Self {
        // A vocabulary that cannot write the sample says nothing about it.
        let tokens = target.encode(SAMPLE, AddSpecial::No, ParseSpecial::No).unwrap_or_default();
        let has_twin = |&&token: &&u32| overlap.right(token).is_some();
        let by_tokens = |at: usize| tokens[at..].iter().take(DRAFTED).take_while(has_twin).count();
        let [reader, writer] =
            [Translator::to_right, Translator::to_left].map(|to| to(overlap, target, draft));
        let (mut read, mut drafted, mut written) = (Translation::new(), Vec::new(), Vec::new());
        let by_text = |at: usize| {
            let ahead = &tokens[at..tokens.len().min(at + AHEAD)];
            read.push(&reader, &tokens[read.read()..at]);
            drafted.clear();
            reader.continue_with(read.tokens(), ahead, &mut drafted);
            drafted.truncate(DRAFTED);
            written.clear();
            writer.continue_with(&tokens[..at], &drafted, &mut written);
            written.iter().zip(ahead).take(DRAFTED).take_while(|(a, b)| a == b).count()
        };
        Self {
            tokens: tokens.len(),
            shared: tokens.iter().filter(has_twin).count(),
            by_tokens: per_pass(tokens.len(), by_tokens),
            by_text: per_pass(tokens.len(), by_text),
        }
    }
}

/// Tokens per pass over a text where `accepted` says how many drafted tokens are right at each place.
fn per_pass(tokens: usize, mut accepted: impl FnMut(usize) -> usize) -> f64 {
    let (mut at, mut passes) = (0, 0);
    while at < tokens {
        at += accepted(at) + 1;
        passes += 1;
    }
    tokens as f64 / f64::from(passes.max(1))
}
