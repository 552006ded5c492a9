//! Conversations, as the chat template of their model writes them.

use foretoken::{
    AddSpecial, ChatTemplate, Engine, GenerationPrompt, Message, ModelSource, ParseSpecial, TokenId,
};

use crate::error::Error;

/// The template of a model, which `--chat` needs.
pub(crate) fn template(source: &ModelSource) -> Result<ChatTemplate, Error> {
    source.chat_template()?.ok_or_else(|| {
        let name = source.name();
        Error::failure(format!("--chat: `{name}` has no chat template; leave --chat out"))
    })
}

/// A conversation up to where the model answers.
pub(crate) fn tokens(
    engine: &Engine,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<TokenId>, Error> {
    let name = engine.checkpoint().name();
    let text = template
        .render(messages, GenerationPrompt::Add)
        .map_err(|cause| Error::failure(format!("`{name}`: {cause}")))?;
    Ok(engine.tokenizer().encode(&text, AddSpecial::No, ParseSpecial::Yes)?)
}
