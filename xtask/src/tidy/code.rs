//! Rust source reduced to its code: comments and literals blanked, every line and column kept.

/// Replaces comments and string, character and byte literals by spaces.
pub(super) fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut masked = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = opaque_end(source, at).min(bytes.len());
        if end > at {
            masked
                .extend(source[at..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            let next = source[at..].chars().next().unwrap_or(' ');
            masked.push(next);
            at += next.len_utf8();
        }
    }
    masked
}

/// One past the comment or literal that starts at `at`; `at` itself where none starts.
fn opaque_end(source: &str, at: usize) -> usize {
    let rest = &source[at..];
    at + match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        [b'\'', ..] => {
            // 'x' is a literal, 'x without a closing quote a lifetime.
            let mut after = rest[1..].char_indices().skip(1);
            after.next().filter(|(_, quote)| *quote == '\'').map_or(0, |(index, _)| index + 2)
        }
        [b'r', b'"' | b'#', ..] if starts_raw(&source.as_bytes()[..at]) => {
            let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
            match rest.as_bytes().get(1 + hashes) {
                Some(b'"') => {
                    let open = hashes + 2;
                    let close = format!("\"{}", "#".repeat(hashes));
                    rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
                }
                _ => 1 + hashes, // a raw identifier, such as r#type
            }
        }
        _ => 0,
    }
}

/// Whether an `r` after `before` starts a token (alone, or as `br` or `cr`).
fn starts_raw(before: &[u8]) -> bool {
    match before {
        [.., middle, b'b' | b'c'] => !is_word(*middle),
        [.., last] => !is_word(*last),
        [] => true,
    }
}

/// Length of the literal at the start of `rest`, escapes respected.
fn quoted(rest: &str, quote: u8) -> usize {
    let mut bytes = rest.bytes().enumerate().skip(1);
    while let Some((index, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == quote {
            return index + 1;
        }
    }
    rest.len()
}

/// Length of the (nesting) block comment at the start of `rest`.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Whether a byte can be part of an identifier.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Byte offsets at which `word` stands alone in `text`.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(start, _)| start).filter(move |&start| {
        let before = start.checked_sub(1).map(|index| bytes[index]);
        let after = bytes.get(start + word.len()).copied();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Line number, from 1, of a byte offset.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset].bytes().filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals_only() {
        for (source, expected) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y", 'z', '\'', b'q')"#, "f(      ,    ,     , b   )"),
            ("let s: &'static str = \"é\";", "let s: &'static str =     ;"),
            ("'é' x", "     x"),
            (r##"(r#"a"b"#, br"c", r"d")"##, "(        , b    ,     )"),
            ("for x in y", "for x in y"),
            ("var\"s\"", "var   "),
            ("\"open", "     "),
        ] {
            assert_eq!(code(source), expected, "{source}");
        }
        assert_eq!(code("r#fn()"), "  fn()");
        assert_eq!(code("\"a\nb\"").lines().count(), 2);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe_code unsafe{", "unsafe").collect::<Vec<_>>(), [12]);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
