//! From a line to a document: templates, tokens, and what of them is learned.

use std::ops::Range;

use foretoken_core::TokenId;
use foretoken_model::{
    AddSpecial, ChatTemplate, Checkpoint, GenerationPrompt, Message, ModelError, ParseSpecial,
    Tokenizer,
};

use super::document::Document;
use super::error::LineError;
use super::record::Record;

/// The role whose turns are learned.
const ANSWERS: &str = "assistant";

/// How a model reads text.
#[derive(Debug, Clone)]
pub struct Encoder {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// Tokens that end a text; the first is written.
    eos: Vec<TokenId>,
    vocab: usize,
}

impl Encoder {
    /// The tokenizer and chat template of an opened model.
    ///
    /// # Errors
    /// If their files cannot be read, or the model has fewer tokens than its tokenizer.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let source = checkpoint.source();
        let (tokenizer, template) = (source.tokenizer()?, source.chat_template()?);
        let eos = checkpoint.eos().iter().copied();
        let eos = tokenizer.eos().into_iter().chain(eos).collect();
        Ok(Self { eos, ..Self::new(tokenizer, template, checkpoint.spec().vocab) })
    }

    /// A model of `vocab` tokens, whose texts end with the tokenizer's token for that.
    pub fn new(tokenizer: Tokenizer, template: Option<ChatTemplate>, vocab: usize) -> Self {
        let eos = tokenizer.eos().into_iter().collect();
        Self { tokenizer, template, eos, vocab }
    }

    /// The document of a line of JSON.
    ///
    /// `text` stands between the tokens that the tokenizer puts around a text, and ends with that for the
    /// end of text unless it ends with such a one already. A conversation is what the chat template writes,
    /// to the last byte; of its tokens the assistant's answers are learned, and what ends them. `tokens` are
    /// taken as they are.
    ///
    /// # Errors
    /// If the line is none of these, or holds nothing to learn.
    pub fn document(&self, line: &str) -> Result<Document, LineError> {
        match Record::parse(line)? {
            Record::Text(text) => self.text(&text),
            Record::Chat(messages) => self.chat(&messages),
            Record::Tokens { tokens, prompt } => {
                let learned = (0..tokens.len()).map(|index| index >= prompt).collect();
                self.checked(tokens, learned)
            }
        }
    }

    fn text(&self, text: &str) -> Result<Document, LineError> {
        if text.is_empty() {
            return Err(LineError::Nothing("the text is empty"));
        }
        let mut tokens = self.tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes)?;
        if let Some(eos) = self.eos.first()
            && !self.ends(text, &tokens)
        {
            tokens.push(*eos);
        }
        let learned = vec![true; tokens.len()];
        self.checked(tokens, learned)
    }

    /// Whether a text has its end: written out, with spaces behind it at most, or put there by the tokenizer.
    fn ends(&self, text: &str, tokens: &[TokenId]) -> bool {
        let text = text.trim_end();
        let mut pieces = self.eos.iter().filter_map(|eos| self.tokenizer.piece(*eos));
        tokens.last().is_some_and(|last| self.eos.contains(last))
            || pieces.any(|piece| text.ends_with(piece))
    }

    fn chat(&self, messages: &[Message]) -> Result<Document, LineError> {
        let template = self.template.as_ref().ok_or(LineError::NoTemplate)?;
        if !messages.iter().any(|message| message.role == ANSWERS) {
            return Err(LineError::Nothing("nobody answers as `assistant`"));
        }
        let whole = template.render(messages, GenerationPrompt::Omit)?;
        let tokens = self.encode(&whole)?;
        let mut learned = vec![false; tokens.len()];
        for index in (0..messages.len()).filter(|index| messages[*index].role == ANSWERS) {
            if let Some(answer) = self.answer(template, (&whole, &tokens), messages, index)? {
                learned[answer].fill(true);
            }
        }
        self.checked(tokens, learned)
    }

    /// The tokens of the answer `index`: those behind the longest prefix that the whole shares with the
    /// prompt for it, to the end of what it shares with the conversation up to it. None where the template
    /// writes earlier turns otherwise once others follow, as some do to leave out their reasoning.
    fn answer(
        &self,
        template: &ChatTemplate,
        (whole, tokens): (&str, &[TokenId]),
        messages: &[Message],
        index: usize,
    ) -> Result<Option<Range<usize>>, LineError> {
        let (before, upto) = (&messages[..index], &messages[..=index]);
        let prompt = template.render(before, GenerationPrompt::Add)?;
        // A header that the answer does not have, such as one that asks for reasoning, costs its own tokens
        // only; turns before it must be those of the whole.
        let is_shared = index == 0
            || whole.starts_with(&prompt)
            || whole.starts_with(&template.render(before, GenerationPrompt::Omit)?);
        let upto = template.render(upto, GenerationPrompt::Omit)?;
        if !is_shared || !whole.starts_with(&upto) {
            return Ok(None);
        }
        let start = common(tokens, &self.encode(&prompt)?);
        let end = if upto.len() == whole.len() {
            tokens.len()
        } else {
            common(tokens, &self.encode(&upto)?)
        };
        Ok((start < end).then_some(start..end))
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>, LineError> {
        Ok(self.tokenizer.encode(text, AddSpecial::No, ParseSpecial::Yes)?)
    }

    fn checked(&self, tokens: Vec<TokenId>, learned: Vec<bool>) -> Result<Document, LineError> {
        let vocab = self.vocab;
        match tokens.iter().find(|token| **token as usize >= vocab) {
            Some(&token) => Err(LineError::Token { token, vocab }),
            None => Document::new(tokens, learned),
        }
    }
}

/// Tokens that both begin with.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
