//! Rules of every text file: names, unfinished work, and traces of the machine it was written on.

use std::path::Path;

use super::code::words;
use super::{File, Finding};

/// Names that say nothing of what a file holds.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "misc"];

/// Marks of unfinished work, parted so that this file holds none.
const MARKERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Folders at the root of somebody's machine.
const MACHINE_FOLDERS: &[&str] = &["work", "tmp", "home", "root", "Users", "mnt"];

/// Hosts that links may lead to: they outlive mirrors, registries and build machines.
const HOSTS: &[&str] = &[
    "arxiv.org",
    "doc.rust-lang.org",
    "docs.rs",
    "example.invalid",
    "github.com",
    "huggingface.co",
    "keepachangelog.com",
    "localhost",
    "platform.openai.com",
    "semver.org",
    "www.apache.org",
    "www.w3.org",
];

/// Files whose contents are vocabulary or come from the package registry, not prose of ours.
const NOT_OURS: &[&str] = &["Cargo.lock", "tokenizer.json", "vocab.json", "merges.txt"];

/// Checks one text file.
pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let mut findings = empty_name(file);
    let name = Path::new(file.path).file_name().and_then(|name| name.to_str());
    if name.is_some_and(|name| NOT_OURS.contains(&name)) {
        return findings;
    }
    for (number, line) in file.lines() {
        let messages = markers(line).chain(machine_paths(line)).chain(hosts(line));
        findings.extend(messages.map(|message| Finding::new(file.path, number, message)));
    }
    findings
}

fn empty_name(file: &File<'_>) -> Vec<Finding> {
    let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let empty = parts.filter(|part| EMPTY_NAMES.contains(part));
    empty
        .map(|part| {
            let message = format!("`{part}` does not say what it holds; name it by its subject");
            Finding::new(file.path, 1, message)
        })
        .collect()
}

fn markers(line: &str) -> impl Iterator<Item = String> {
    let written = MARKERS.iter().filter(|marker| words(line, marker).next().is_some());
    let lower = MARKERS[0].to_lowercase();
    let called = words(line, &lower).any(|at| line[at + lower.len()..].starts_with('!'));
    written
        .copied()
        .chain(called.then_some(MARKERS[0]))
        .map(|marker| format!("`{marker}` marks unfinished work; finish it or open an issue"))
}

fn machine_paths(line: &str) -> impl Iterator<Item = String> {
    let folders = MACHINE_FOLDERS.iter().filter(|folder| {
        let path = format!("/{folder}/");
        // After any of these the slash continues a relative path, a variable or a link.
        let relative = |before: char| before.is_alphanumeric() || "._-~/})>*".contains(before);
        line.match_indices(&path).any(|(at, _)| !line[..at].ends_with(relative))
    });
    folders.map(|folder| {
        format!("`/{folder}/..` is a path of one machine; make it relative or a parameter")
    })
}

fn hosts(line: &str) -> impl Iterator<Item = String> {
    let links = line.split("://").skip(1).zip(line.split("://"));
    let web = links.filter(|(_, before)| before.ends_with("http") || before.ends_with("https"));
    let hosts = web.map(|(after, _)| {
        let is_host = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
        let end = after.find(|letter| !is_host(letter)).unwrap_or(after.len());
        after[..end].trim_end_matches('.')
    });
    // An empty host is a placeholder, such as `http://{address}`.
    let unknown = hosts.filter(|host| !host.is_empty() && !HOSTS.contains(host));
    unknown.map(|host| {
        format!("a link to `{host}`; if it is public and stable, add it to HOSTS, else drop it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        check(&File { path, text }).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn empty_names_are_found() {
        for path in ["src/utils.rs", "src/misc/mod.rs", "tools/helpers.py", "helper.rs"] {
            assert_eq!(lines_found(path, ""), [1], "{path}");
        }
        assert_eq!(lines_found("src/utility_bill.rs", ""), [0; 0]);
    }

    #[test]
    fn unfinished_work_is_found() {
        for text in [concat!("// TO", "DO: x"), concat!("# X", "XX"), concat!("to", "do!()")] {
            assert_eq!(lines_found("a.rs", &format!("\n{text}")), [2], "{text}");
        }
        assert_eq!(lines_found("a.rs", "mastodon todo list"), [0; 0]);
    }

    #[test]
    fn machine_paths_are_found() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(lines_found("a.json", &format!("\"/{folder}/x\"")), [1], "{folder}");
            assert_eq!(lines_found("a.md", &format!("../{folder}/x {{root}}/{folder}/x")), [0; 0]);
        }
        assert_eq!(lines_found("a/tokenizer.json", concat!("\"/home", "/\": 7")), [0; 0]);
    }

    #[test]
    fn unknown_hosts_are_found() {
        let link = |host: &str| format!("see <https://{host}/a> and http://{{address}}/");
        assert_eq!(lines_found("a.toml", &link("mirror.example")), [1]);
        assert_eq!(lines_found("a.toml", &link("github.com")), [0; 0]);
        assert_eq!(lines_found("Cargo.lock", &link("mirror.example")), [0; 0]);
    }
}
