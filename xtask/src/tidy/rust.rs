//! Rules of Rust sources: budgets of files and functions, and where `unsafe` may stand.

use super::code::{code, line_of, words};
use super::{File, Finding};

/// Lines a source file has at most.
const FILE_LINES: usize = 500;

/// Lines a file of [`LONG_FILES`] has at most.
const LONG_FILE_LINES: usize = 800;

/// Lines a function has at most, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Files longer than [`FILE_LINES`], each with the reason why parting it would hurt its reader.
const LONG_FILES: &[(&str, &str)] = &[];

/// Where `unsafe` may be written: the kernels, and the one map of a file.
const UNSAFE_HOMES: &[&str] =
    &["crates/foretoken-cpu/", "crates/foretoken-cuda/", "crates/foretoken-model/src/mmap.rs"];

/// Checks one source file.
pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let code = code(file.text);
    let mut findings = file_length(file);
    findings.extend(function_lengths(file.path, &code));
    findings.extend(unsafe_homes(file.path, &code));
    findings
}

/// Entries of [`LONG_FILES`] that are needed no longer.
pub(super) fn stale_exceptions(files: &[File<'_>]) -> Vec<Finding> {
    let long =
        |path| files.iter().any(|file| file.path == path && file.lines().count() > FILE_LINES);
    let stale = LONG_FILES.iter().filter(|(path, _)| !long(*path));
    stale
        .map(|(path, _)| {
            Finding::new(path, 1, "has an exception it does not need; drop it from LONG_FILES")
        })
        .collect()
}

fn file_length(file: &File<'_>) -> Vec<Finding> {
    let listed = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    let budget = if listed { LONG_FILE_LINES } else { FILE_LINES };
    let lines = file.lines().count();
    if lines <= budget {
        return Vec::new();
    }
    let message =
        format!("the file has {lines} lines, at most {budget} are allowed; part it by subject");
    vec![Finding::new(file.path, budget + 1, message)]
}

fn function_lengths(path: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for start in words(code, "fn") {
        let Some(length) = function_length(&code[start..]) else { continue };
        let lines = 1 + code[start..start + length].matches('\n').count();
        if lines > FUNCTION_LINES {
            let name: String =
                code[start + 2..].trim_start().split(['(', '<']).next().unwrap_or_default().into();
            let message = format!(
                "`{name}` has {lines} lines, at most {FUNCTION_LINES} are allowed; name its parts"
            );
            findings.push(Finding::new(path, line_of(code, start), message));
        }
    }
    findings
}

/// Bytes from `fn` to one past the closing brace; none for a function pointer or a declaration.
fn function_length(code: &str) -> Option<usize> {
    let is_named = code[2..].starts_with(|next: char| next.is_whitespace());
    if !is_named {
        return None;
    }
    let (mut brackets, mut braces) = (0, 0);
    for (index, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if brackets == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                // A brace inside brackets belongs to a type, such as `[u8; { N }]`.
                if braces == 0 && brackets == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn unsafe_homes(path: &str, code: &str) -> Vec<Finding> {
    if UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    let message = format!(
        "`unsafe` may stand only in {}; use a safe interface of theirs",
        UNSAFE_HOMES.join(", ")
    );
    words(code, "unsafe").map(|at| Finding::new(path, line_of(code, at), message.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        let found = check(&File { path, text }).into_iter();
        found.map(|finding| (finding.line, finding.message)).collect()
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(findings("a.rs", &"\n".repeat(FILE_LINES)), []);
        let found = findings("a.rs", &"\n".repeat(FILE_LINES + 1));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, FILE_LINES + 1);
    }

    #[test]
    fn long_functions_are_found_where_they_start() {
        let body = |lines: usize| "    x();\n".repeat(lines);
        let fits = format!("fn fits() {{\n{}}}\n", body(FUNCTION_LINES - 2));
        let long = format!(
            "impl A {{\n    fn long(a: [u8; 2], b: &'_ str) -> fn(u8) {{\n        let c = \"}}\"; // }}\n{}    }}\n}}\n",
            body(FUNCTION_LINES - 2)
        );
        assert_eq!(findings("a.rs", &fits), []);
        let found = findings("a.rs", &format!("{fits}{long}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, FUNCTION_LINES + 2);
        assert!(found[0].1.starts_with("`long` has 71 lines"), "{found:?}");
    }

    #[test]
    fn declarations_and_function_pointers_have_no_length() {
        let padding = "\n".repeat(FUNCTION_LINES);
        for before in ["fn a(&self) -> [u8; 3];", "type F = fn(u8);"] {
            assert_eq!(
                findings("a.rs", &format!("{before}{padding}fn b() {{}}\n")),
                [],
                "{before}"
            );
        }
    }

    #[test]
    fn unsafe_is_found_outside_its_homes() {
        let text = "// unsafe\n#![deny(unsafe_code)]\nfn f() { unsafe { g(\"unsafe\") } }\n";
        let found = findings("crates/foretoken-core/src/lib.rs", text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3]);
        assert_eq!(findings("crates/foretoken-model/src/mmap.rs", text), []);
        assert_eq!(findings("crates/foretoken-cpu/src/kernels/dot.rs", text), []);
    }
}
