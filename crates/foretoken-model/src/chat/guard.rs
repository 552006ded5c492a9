//! What keeps a hostile template within its means.
//!
//! The template engine's fuel pays for instructions and for bytes made, but not for walking
//! containers within containers: a template that nests lists in lists could print or compare
//! exponentially many items, add lists without paying, or overflow the stack when a deep nest is
//! dropped. Nests that grow have to pass through a variable, so [`prepare`] puts a call of the
//! filter [`bounded`] behind every `set`, `for` and `macro`. It pays for the size of the value
//! written out and limits its depth. Other statements that bind variables are refused; no chat
//! template uses them.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// The filter's name in the rewritten template.
pub(super) const FILTER: &str = "_bounded";
/// Deepest nest of containers a variable may hold.
const MAX_DEPTH: usize = 32;
/// Statements that chat templates may use.
const STATEMENTS: &str = "if elif else endif for endfor set endset macro endmacro break continue \
                          filter endfilter generation endgeneration";

/// Adds the checks, and makes `{% generation %}` (which marks the assistant's text for training and
/// renders its body unchanged) a condition that holds. The error names a statement that is refused.
pub(super) fn prepare(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() * 2);
    let mut rest = source;
    while let Some(start) = find_tag(rest) {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        let end = match &tag[..2] {
            "{#" => tag.find("#}").map(|end| end + 2),
            "{{" => code_end(tag, "}}"),
            _ if tag_name(tag) == "raw" => raw_end(tag),
            _ => code_end(tag, "%}"),
        };
        // Without an end it is no template; the engine says so with the place.
        let (tag, after) = tag.split_at(end.unwrap_or(tag.len()));
        if tag.starts_with("{%") && tag_name(tag) != "raw" && end.is_some() {
            out.push_str(&rewrite(tag)?);
        } else {
            out.push_str(tag);
        }
        rest = after;
    }
    Ok(out + rest)
}

/// Where the next tag of any kind begins.
fn find_tag(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    bytes.windows(2).position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

/// A block tag's inside, without marks of white space control.
fn inside(tag: &str) -> &str {
    let body = tag.strip_prefix("{%").unwrap_or(tag);
    let body = body.strip_suffix("%}").unwrap_or(body);
    let body = body.strip_prefix(['-', '+']).unwrap_or(body);
    body.strip_suffix(['-', '+']).unwrap_or(body).trim()
}

/// The statement of a block tag.
fn tag_name(tag: &str) -> &str {
    let body = tag.strip_prefix("{%").unwrap_or(tag);
    let body = body.strip_prefix(['-', '+']).unwrap_or(body).trim_start();
    body.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The length of a tag with code, found as the engine finds it: outside of strings and brackets.
fn code_end(tag: &str, end: &str) -> Option<usize> {
    let mut depth = 0i64;
    let mut quote: Option<u8> = None;
    let mut bytes = tag.bytes().enumerate().skip(2);
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => {
                bytes.next();
            }
            (Some(open), _) => quote = (byte != open).then_some(open),
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, _) if depth == 0 && tag.as_bytes()[at..].starts_with(end.as_bytes()) => {
                return Some(at + 2);
            }
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b')' | b']' | b'}') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The length of a raw block with its tags.
fn raw_end(tag: &str) -> Option<usize> {
    let mut at = code_end(tag, "%}")?;
    loop {
        at += tag[at..].find("{%")?;
        let length = code_end(&tag[at..], "%}")?;
        if inside(&tag[at..at + length]) == "endraw" {
            return Some(at + length);
        }
        at += 2;
    }
}

/// The tag with what belongs behind it.
fn rewrite(tag: &str) -> Result<String, String> {
    let code = inside(tag);
    let name = tag_name(tag);
    let arguments = code.strip_prefix(name).unwrap_or_default().trim();
    let targets = match name {
        "generation" => return Ok(tag.replacen(name, "if true", 1)),
        "endgeneration" => return Ok(tag.replacen(name, "endif", 1)),
        // A block that is captured is text.
        "set" => arguments.split_once('=').map_or(Vec::new(), |(target, _)| vec![target]),
        "for" => arguments.split_once(" in ").map_or(Vec::new(), |(target, _)| vec![target]),
        "macro" => parameters(arguments),
        _ if STATEMENTS.split(' ').any(|known| known == name) => Vec::new(),
        _ => return Err(format!("the statement `{name}` is not for chat templates")),
    };
    // What follows the tag must follow the additions in the same way.
    let close = if tag.ends_with("-%}") { "-%}" } else { "%}" };
    let mut out = tag.to_owned();
    for target in targets {
        let target = target.trim();
        out.extend(["{%- set ", target, " = (", target, ") | ", FILTER, " ", close]);
    }
    Ok(out)
}

/// The parameter names in `name(a, b=[1, 2])`.
fn parameters(declaration: &str) -> Vec<&str> {
    let Some((_, list)) = declaration.split_once('(') else { return Vec::new() };
    let mut names = Vec::new();
    let (mut start, mut depth, mut quote) = (0, 0, None);
    for (at, c) in list.char_indices() {
        match (quote, c) {
            (Some(open), _) => quote = (c != open).then_some(open),
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ',' | ')') if depth == 0 => {
                names.push(list[start..at].split('=').next().unwrap_or_default().trim());
                start = at + 1;
            }
            (None, ')' | ']' | '}') => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The filter: the value itself, a lazy list as a plain one. Fails where it is too large or too
/// deep.
pub(super) fn bounded(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if is_lazy(&value) {
        pay_items(state, &value)?;
        let items: Vec<Value> = value.try_iter()?.collect();
        pay(state, &items.clone().into(), 0)?;
        return Ok(items.into());
    }
    pay(state, &value, 0)?;
    Ok(value)
}

/// A list that is made while it is read. Its length must be known: others can be read only once.
fn is_lazy(value: &Value) -> bool {
    value.kind() == ValueKind::Iterable && value.len().is_some()
}

/// Pays for the items of a container, without looking at them.
fn pay_items(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let items = value.len().unwrap_or(0);
    state.consume_fuel(items as u64 / 2)
}

/// Pays for a value written out, and refuses nests that are too deep and namespaces within
/// containers (which could hold themselves).
fn pay(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return state.consume_fuel(text.len() as u64 / 64);
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    let namespace = object.type_name().ends_with("::Namespace");
    if depth > MAX_DEPTH || (namespace && depth > 0) {
        let message = "a value is nested too deeply, or holds a namespace";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    match value.kind() {
        ValueKind::Map => {
            pay_items(state, value)?;
            for key in value.try_iter()? {
                pay(state, &value.get_item(&key)?, depth + 1)?;
                pay(state, &key, depth + 1)?;
            }
        }
        ValueKind::Seq | ValueKind::Iterable if value.len().is_some() => {
            pay_items(state, value)?;
            for item in value.try_iter()? {
                pay(state, &item, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses widths of `str.format` that are computed or beyond four digits: the engine makes the
/// padding before it is paid for.
pub(super) fn check_format(pattern: &Value) -> Result<(), Error> {
    let pattern = pattern.as_str().unwrap_or_default();
    let long = |run: &str| run.len() > 4;
    let computed = pattern.split('{').any(|field| field.contains(':') && !field.contains('}'));
    if computed || pattern.split(|c: char| !c.is_ascii_digit()).any(long) {
        let message = "a width in `format` is computed or has more than four digits";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_go_behind_every_statement_that_binds() {
        let cases = [
            ("{% set a = 1 %}\nx", "{% set a = 1 %}{%- set a = (a) | _bounded %}\nx"),
            (
                "{%- set n.a, b = x -%}",
                "{%- set n.a, b = x -%}{%- set n.a, b = (n.a, b) | _bounded -%}",
            ),
            ("{% set a %}x{% endset %}", "{% set a %}x{% endset %}"),
            (
                "{% for k, v in d if k %}",
                "{% for k, v in d if k %}{%- set k, v = (k, v) | _bounded %}",
            ),
            (
                "{% macro m(a, b=[1, ')'], c='=,') %}",
                "{% macro m(a, b=[1, ')'], c='=,') %}{%- set a = (a) | _bounded %}\
                 {%- set b = (b) | _bounded %}{%- set c = (c) | _bounded %}",
            ),
            ("{%- generation -%}x{% endgeneration %}", "{%- if true -%}x{% endif %}"),
        ];
        for (source, wanted) in cases {
            assert_eq!(prepare(source).unwrap(), wanted);
        }
    }

    #[test]
    fn text_strings_comments_and_raw_blocks_stay() {
        let sources = [
            "{{ '{% set a = 1 %}' }}{{ \"\\\"}}{% set a = 1 %}\" }}",
            "{# {% set a = 1 %} #}{ % set }}",
            "{% raw %}{% set a = 1 %}{{ {% endraw %}{{ {'a': {}} }}",
            "{% if '%}' == \"{% set\" %}{% endif %}",
            "{% set a = ",
            "{{ é",
        ];
        for source in sources {
            assert_eq!(prepare(source).unwrap(), source);
        }
        let tail = prepare("{{ '}}' }}{% set a = '%}' %}").unwrap();
        assert_eq!(tail, "{{ '}}' }}{% set a = '%}' %}{%- set a = (a) | _bounded %}");
    }

    #[test]
    fn other_statements_are_refused_by_name() {
        for name in ["with", "call", "import", "include", "extends", "block", "from", "do"] {
            let message = prepare(&format!("a {{%- {name} x %}}")).unwrap_err();
            assert_eq!(message, format!("the statement `{name}` is not for chat templates"));
        }
    }
}
