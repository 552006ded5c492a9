//! What a line of a data file may be.

use foretoken_core::TokenId;
use foretoken_model::Message;
use serde_json::{Map, Value};

use super::error::LineError;

/// A line as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// `{"text": ..}`: every token is learned.
    Text(String),
    /// `{"messages": [{"role", "content"}, ..]}` or `{"conversations": [{"from", "value"}, ..]}`: the
    /// assistant's answers are learned.
    Chat(Vec<Message>),
    /// `{"tokens": [..], "prompt": n}`: all but the first n tokens are learned.
    Tokens {
        /// The document.
        tokens: Vec<TokenId>,
        /// Tokens of the prompt.
        prompt: usize,
    },
}

impl Record {
    /// Reads a line. Where it has several of the fields, conversations win over tokens and those over text.
    pub(super) fn parse(line: &str) -> Result<Self, LineError> {
        let Value::Object(object) = serde_json::from_str(line)? else {
            return Err(LineError::NoField);
        };
        if let Some(Value::Array(turns)) = object.get("messages") {
            return chat(turns, "role", "content").map(Self::Chat);
        }
        if let Some(Value::Array(turns)) = object.get("conversations") {
            return chat(turns, "from", "value").map(Self::Chat);
        }
        if let Some(Value::Array(tokens)) = object.get("tokens") {
            return Self::tokens(tokens, &object);
        }
        match object.get("text") {
            Some(Value::String(text)) => Ok(Self::Text(text.clone())),
            _ => Err(LineError::NoField),
        }
    }

    fn tokens(tokens: &[Value], object: &Map<String, Value>) -> Result<Self, LineError> {
        let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
        let tokens: Option<Vec<_>> = tokens.iter().map(id).collect();
        let tokens = tokens.ok_or(LineError::Number { field: "tokens", wanted: "token" })?;
        let prompt = match object.get("prompt") {
            None => Some(0),
            Some(value) => value.as_u64().and_then(|prompt| usize::try_from(prompt).ok()),
        };
        let prompt = prompt.ok_or(LineError::Number { field: "prompt", wanted: "count" })?;
        Ok(Self::Tokens { tokens, prompt })
    }
}

fn chat(
    turns: &[Value],
    role: &'static str,
    content: &'static str,
) -> Result<Vec<Message>, LineError> {
    let message = |(index, turn): (usize, &Value)| {
        let text = |field| {
            let text = turn.get(field).and_then(Value::as_str);
            text.ok_or(LineError::Turn { turn: index + 1, field })
        };
        Ok(Message::new(speaker(text(role)?), text(content)?))
    };
    turns.iter().enumerate().map(message).collect()
}

/// The role that templates know; the two data formats differ.
fn speaker(name: &str) -> &str {
    match name {
        "human" => "user",
        "gpt" => "assistant",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_read() {
        let chat = Record::Chat(vec![Message::new("user", "a"), Message::new("assistant", "b")]);
        let cases = [
            (r#"{"kind": 3, "text": "x"}"#, Record::Text("x".to_owned())),
            (
                r#"{"text": "-", "messages": [{"role":"user","content":"a"},
                    {"role":"assistant","content":"b"}]}"#,
                chat.clone(),
            ),
            (
                r#"{"conversations": [{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}"#,
                chat,
            ),
            (
                r#"{"tokens": [5, 6], "prompt": 1}"#,
                Record::Tokens { tokens: vec![5, 6], prompt: 1 },
            ),
            (r#"{"tokens": [7], "text": "x"}"#, Record::Tokens { tokens: vec![7], prompt: 0 }),
            (r#"{"tokens": 512, "text": "x"}"#, Record::Text("x".to_owned())),
        ];
        for (line, wanted) in cases {
            assert_eq!(Record::parse(line).expect("a record"), wanted, "{line}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("{", "no JSON: EOF while parsing an object at line 1 column 1"),
            ("[1]", "no object with `text`"),
            (r#"{"text": 1}"#, "no object with `text`"),
            (r#"{"messages": [{"role": "user"}]}"#, "turn 1 has no text in `content`"),
            (r#"{"conversations": ["x"]}"#, "turn 1 has no text in `from`"),
            (r#"{"tokens": [-1]}"#, "`tokens` holds something that is no token"),
            (r#"{"tokens": [4294967296]}"#, "`tokens` holds something that is no token"),
            (r#"{"tokens": [1], "prompt": "x"}"#, "`prompt` holds something that is no count"),
        ];
        for (line, wanted) in cases {
            let found = Record::parse(line).expect_err(line).to_string();
            assert!(found.starts_with(wanted), "{line}: {found}");
        }
    }
}
