//! Conversations, as the chat template of their model writes them.

use foretoken::{
    AddSpecial, ChatTemplate, GenerationPrompt, Message, ModelSource, ParseSpecial, TokenId,
    Tokenizer,
};

use crate::error::Error;

/// The template of a model, which `--chat` needs.
pub(crate) fn template(source: &ModelSource) -> Result<ChatTemplate, Error> {
    source.chat_template()?.ok_or_else(|| {
        let name = source.name();
        Error::failure(format!("--chat: `{name}` has no chat template; leave --chat out"))
    })
}

/// A conversation up to where the model of that name answers.
pub(crate) fn tokens(
    (name, tokenizer): (&str, &Tokenizer),
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<TokenId>, Error> {
    let text = template
        .render(messages, GenerationPrompt::Add)
        .map_err(|cause| Error::failure(format!("`{name}`: {cause}")))?;
    Ok(tokenizer.encode(&text, AddSpecial::No, ParseSpecial::Yes)?)
}
