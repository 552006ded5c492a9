//! A file of prompts to measure with: plain lines, or JSON lines in the forms data sets come in.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use foretoken::{
    AddSpecial, ChatTemplate, Error as EngineError, Message, ModelSource, ParseSpecial, TokenId,
    Tokenizer,
};
use serde_json::Value;

use super::prompt::read_text;
use crate::error::Error;
use crate::{chat, output};

/// What a JSON line can hold, for those who wrote another.
const FORMS: &str =
    "write {\"prompt\": \"..\"}, {\"text\": \"..\"}, {\"turns\": [\"..\"]} or {\"messages\": [..]}";

/// The prompts of a measurement.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prompts")]
pub(crate) struct PromptSetArgs {
    /// File of prompts, one a line, or JSON lines; - is standard input
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,

    /// Take N prompts, spread evenly over the file [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,

    /// Give prompts to the model as chat messages, which `messages` are anyway
    #[arg(long)]
    chat: bool,
}

/// One prompt of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct SetPrompt {
    /// Its line, counted from 1.
    pub(crate) line: usize,
    /// The group of prompts it belongs to.
    pub(crate) category: Option<String>,
    content: Content,
}

#[derive(Debug, PartialEq)]
enum Content {
    Text(String),
    Messages(Vec<Message>),
}

impl PromptSetArgs {
    /// All prompts of a file, as they are.
    pub(crate) fn of_file(prompts: &Path) -> Self {
        Self { prompts: prompts.to_owned(), limit: None, chat: false }
    }

    /// Name of the file.
    pub(crate) fn name(&self) -> String {
        let name = self.prompts.file_name().unwrap_or(self.prompts.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Reads the prompts.
    pub(crate) fn read(&self) -> Result<Vec<SetPrompt>, Error> {
        let text = read_text(&self.prompts)?;
        let json = is_json(&self.prompts, &text);
        let mut prompts = Vec::new();
        for (line, content) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let prompt = if json {
                parse(line, content)
            } else {
                Ok(SetPrompt { line, category: None, content: Content::Text(content.to_owned()) })
            };
            let mut prompt =
                prompt.map_err(|cause| Error::failure(cause).context(&self.place(line)))?;
            if let (true, Content::Text(text)) = (self.chat, &prompt.content) {
                prompt.content = Content::Messages(vec![Message::new("user", text)]);
            }
            prompts.push(prompt);
        }
        if prompts.is_empty() {
            return Err(self.fault("there are no prompts in it; write one a line"));
        }
        Ok(spread(prompts, self.limit))
    }

    /// What writes the conversations among the prompts for the model, if there are any.
    pub(crate) fn template(
        &self,
        prompts: &[SetPrompt],
        source: &ModelSource,
    ) -> Result<Option<ChatTemplate>, Error> {
        let mut talks = prompts.iter().filter(|prompt| prompt.is_conversation());
        match talks.next() {
            None => Ok(None),
            Some(_) if self.chat => chat::template(source).map(Some),
            Some(first) => source.chat_template()?.map(Some).ok_or_else(|| {
                let cause = format!("`{}` has no chat template for its messages", source.name());
                Error::failure(cause).context(&self.place(first.line))
            }),
        }
    }

    /// The prompts with their tokens, at least one, for the model of a name and tokenizer. Those that leave no room
    /// in the context are left out with a warning.
    pub(crate) fn fitting(
        &self,
        prompts: Vec<SetPrompt>,
        model: (&str, &Tokenizer),
        template: Option<&ChatTemplate>,
        context: usize,
    ) -> Result<Vec<(SetPrompt, Vec<TokenId>)>, Error> {
        let mut fitting = Vec::new();
        for prompt in prompts {
            let place = self.place(prompt.line);
            let tokens = prompt.tokens(model, template).map_err(|cause| cause.context(&place))?;
            match tokens.len() {
                0 => return Err(Error::from(EngineError::EmptyPrompt).context(&place)),
                tokens if tokens >= context => {
                    let cause = EngineError::PromptTooLong { tokens, context };
                    output::warn(&format!("{place}: left out: {cause}"));
                }
                _ => fitting.push((prompt, tokens)),
            }
        }
        if fitting.is_empty() {
            let cause = "the context holds none of its prompts; raise --context, or shorten them";
            return Err(self.fault(cause));
        }
        Ok(fitting)
    }

    /// How a line of the file is named.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("`{}` line {line}", self.prompts.display())
    }

    /// What is wrong with the file.
    fn fault(&self, cause: &str) -> Error {
        Error::failure(format!("`{}`: {cause}", self.prompts.display()))
    }
}

impl SetPrompt {
    fn is_conversation(&self) -> bool {
        matches!(self.content, Content::Messages(_))
    }

    /// The tokens; a conversation needs a template.
    fn tokens(
        &self,
        model: (&str, &Tokenizer),
        template: Option<&ChatTemplate>,
    ) -> Result<Vec<TokenId>, Error> {
        match (&self.content, template) {
            (Content::Messages(messages), Some(template)) => {
                chat::tokens(model, template, messages)
            }
            (Content::Text(text), _) => {
                Ok(model.1.encode(text, AddSpecial::Yes, ParseSpecial::Yes)?)
            }
            (Content::Messages(_), None) => {
                Err(Error::failure("messages need the model's chat template"))
            }
        }
    }
}

/// Whether lines are JSON: by the file's name, else by its first character.
fn is_json(file: &Path, text: &str) -> bool {
    let named = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("jsonl"));
    named || text.trim_start().starts_with('{')
}

/// A JSON line. The conversation of `messages` ends with its last message by the user.
fn parse(line: usize, json: &str) -> Result<SetPrompt, String> {
    let object: Value = serde_json::from_str(json)
        // The line is the file's, not the text's.
        .map_err(|cause| format!("no JSON: {cause}").replace(" at line 1 column", " at column"))?;
    let text = |value: &Value, key: &str| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(format!("`{key}` is no text; {FORMS}")),
    };
    let content = if let Some((key, value)) =
        ["prompt", "text"].iter().find_map(|&key| Some((key, object.get(key)?)))
    {
        Content::Text(text(value, key)?)
    } else if let Some(turns) = object.get("turns") {
        Content::Text(text(turns.get(0).unwrap_or(&Value::Null), "turns[0]")?)
    } else if let Some(messages) = object.get("messages") {
        Content::Messages(conversation(messages)?)
    } else {
        return Err(format!("no prompt; {FORMS}"));
    };
    let category = match object.get("category") {
        None | Some(Value::Null) => None,
        Some(category) => Some(text(category, "category")?),
    };
    Ok(SetPrompt { line, category, content })
}

fn conversation(messages: &Value) -> Result<Vec<Message>, String> {
    let message = |message: &Value| {
        let field = |key: &str| message.get(key)?.as_str();
        Some(Message::new(field("role")?, field("content")?))
    };
    let turns = messages.as_array().and_then(|turns| turns.iter().map(message).collect());
    let Some::<Vec<Message>>(mut turns) = turns else {
        return Err("`messages` is no array of {\"role\": \"..\", \"content\": \"..\"}".to_owned());
    };
    match turns.iter().rposition(|turn| turn.role == "user") {
        Some(last) => turns.truncate(last + 1),
        None => return Err("`messages` has none by the user; the model answers one".to_owned()),
    }
    Ok(turns)
}

/// `limit` of the prompts at even distances, from the first one on.
fn spread(mut prompts: Vec<SetPrompt>, limit: Option<NonZeroUsize>) -> Vec<SetPrompt> {
    let all = prompts.len();
    let kept = limit.map_or(all, |limit| limit.get().min(all));
    let mut indices = 0..all;
    prompts.retain(|_| indices.next().is_some_and(|index| index * kept % all < kept));
    prompts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str, limit: usize, chat: bool) -> Result<Vec<SetPrompt>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let prompts = folder.path().join(name);
        std::fs::write(&prompts, text).expect("a file");
        let result = PromptSetArgs { prompts, limit: NonZeroUsize::new(limit), chat }.read();
        result.map_err(|error| match error {
            Error::Failure(message) => {
                message.split_once(&format!("{name}`")).expect("a file").1.to_owned()
            }
            other => panic!("{other:?} names no file"),
        })
    }

    fn texts<'a>(prompts: &'a [SetPrompt]) -> Vec<(usize, &'a str)> {
        let text = |prompt: &'a SetPrompt| match &prompt.content {
            Content::Text(text) => (prompt.line, text.as_str()),
            Content::Messages(messages) => panic!("no text: {messages:?}"),
        };
        prompts.iter().map(text).collect()
    }

    const EVERY_FORM: &str = r#"
        {"task_id": 3, "prompt": "a"}
        {"text": "b", "category": "notes"}

        {"category": "math", "turns": ["c", "and now in French"]}
    "#;

    #[test]
    fn lines_are_prompts_and_keep_their_numbers() {
        let prompts = read("a.txt", " one\r\n\n\ttwo\n  \nthree {\n", 0, false).expect("prompts");
        assert_eq!(texts(&prompts), [(1, " one"), (3, "\ttwo"), (5, "three {")]);
        assert!(prompts.iter().all(|prompt| prompt.category.is_none()));
    }

    #[test]
    fn json_lines_are_known_by_name_or_start() {
        for name in ["a.jsonl", "a.txt"] {
            let prompts = read(name, EVERY_FORM, 0, false).expect("prompts");
            assert_eq!(texts(&prompts), [(2, "a"), (3, "b"), (5, "c")]);
            let categories: Vec<_> = prompts.iter().map(|p| p.category.as_deref()).collect();
            assert_eq!(categories, [None, Some("notes"), Some("math")]);
        }
        assert!(read("a.jsonl", "def f(x):", 0, false).is_err());
    }

    #[test]
    fn a_conversation_ends_with_its_last_user() {
        let line = r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user",
            "content": "u"}, {"role": "assistant", "content": "a"}]}"#;
        let lines = format!("{}\n{{\"text\": \"t\"}}\n", line.replace('\n', ""));
        let talk = vec![Message::new("system", "s"), Message::new("user", "u")];
        let (talk, text) = (Content::Messages(talk), Content::Text("t".to_owned()));
        let chat = Content::Messages(vec![Message::new("user", "t")]);
        for (is_chat, expected) in [(false, [&talk, &text]), (true, [&talk, &chat])] {
            let prompts = read("a.jsonl", &lines, 0, is_chat).expect("prompts");
            assert_eq!(prompts.iter().map(|prompt| &prompt.content).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_limit_takes_prompts_from_everywhere() {
        let lines = "a line\n".repeat(7);
        let kept = |limit| -> Vec<_> {
            let prompts = read("a.txt", &lines, limit, false).expect("prompts");
            prompts.iter().map(|prompt| prompt.line).collect()
        };
        assert_eq!(kept(0), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(kept(1), [1]);
        assert_eq!(kept(3), [1, 4, 6]);
        assert_eq!(kept(6), [1, 3, 4, 5, 6, 7]);
        assert_eq!(kept(8), kept(0));
    }

    #[test]
    fn bad_lines_are_named() {
        let refusal = |text: &str| {
            let text = format!("{{\"text\": \"fine\"}}\n{text}\n");
            read("a.jsonl", &text, 0, false).expect_err("a bad line")
        };
        let cases = [
            refusal("{\"text\": \"cut"),
            refusal("[\"text\"]"),
            refusal("{\"question\": \"why?\"}"),
            refusal("{\"prompt\": 5}"),
            refusal("{\"turns\": []}"),
            refusal("{\"text\": \"a\", \"category\": 7}"),
            refusal("{\"messages\": [{\"role\": \"user\"}]}"),
            refusal("{\"messages\": [{\"role\": \"system\", \"content\": \"a\"}]}"),
            read("a.txt", "\n \n", 0, false).expect_err("no line"),
        ];
        insta::assert_snapshot!(cases.join("\n"), @r#"
 line 2: no JSON: EOF while parsing a string at column 13
 line 2: no prompt; write {"prompt": ".."}, {"text": ".."}, {"turns": [".."]} or {"messages": [..]}
 line 2: no prompt; write {"prompt": ".."}, {"text": ".."}, {"turns": [".."]} or {"messages": [..]}
 line 2: `prompt` is no text; write {"prompt": ".."}, {"text": ".."}, {"turns": [".."]} or {"messages": [..]}
 line 2: `turns[0]` is no text; write {"prompt": ".."}, {"text": ".."}, {"turns": [".."]} or {"messages": [..]}
 line 2: `category` is no text; write {"prompt": ".."}, {"text": ".."}, {"turns": [".."]} or {"messages": [..]}
 line 2: `messages` is no array of {"role": "..", "content": ".."}
 line 2: `messages` has none by the user; the model answers one
: there are no prompts in it; write one a line
"#);
    }
}
