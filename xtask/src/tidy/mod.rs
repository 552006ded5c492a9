//! The rules of the tree: budgets, names, `unsafe`, markers, paths, crate edges, dependencies, licences.
//!
//! Every rule is a function from text to findings, so its tests need no files; only this module reads
//! the tree and asks git and cargo. What rustc and clippy can check is left to them.

mod code;
mod packages;
mod rust;
mod supply;
mod text;

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A broken rule, where it is broken, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A text file of the tree; `path` is relative to the root, with forward slashes.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    path: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn is_rust(&self) -> bool {
        Path::new(self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// The file's lines, numbered from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Number of the first line that satisfies `wanted`, else 1.
    fn line_where(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.lines().find(|(_, line)| wanted(line)).map_or(1, |(number, _)| number)
    }
}

/// Checks the tree this program was built from.
pub(crate) fn run() -> Result<Vec<Finding>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let texts = read_texts(&root)?;
    let files: Vec<File<'_>> = texts.iter().map(|(path, text)| File { path, text }).collect();

    let mut findings = rust::stale_exceptions(&files);
    for file in &files {
        findings.extend(text::check(file));
        if file.is_rust() {
            findings.extend(rust::check(file));
        }
    }

    let arguments = ["metadata", "--format-version", "1", "--locked", "--all-features"];
    let metadata: Value = serde_json::from_str(&output(&root, env!("CARGO"), &arguments)?)?;
    let find = |path: &str| {
        let found = files.iter().find(|file| file.path == path);
        found.copied().ok_or_else(|| format!("{path} is missing"))
    };
    let members = packages::members(&metadata, &root, find)?;
    findings.extend(packages::edges(&members));
    findings.extend(packages::dependency_table(&members, find("CONTRIBUTING.md")?));
    let locked = supply::packages(&metadata);
    let (policy, lock) = (find("deny.toml")?, find("Cargo.lock")?);
    findings.extend(supply::licences(&locked, policy, lock));
    findings.extend(supply::duplicates(&locked, policy, lock));
    Ok(findings)
}

/// Every UTF-8 file that git tracks or would track.
fn read_texts(root: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let listing = output(root, "git", &arguments)?;
    let mut texts = Vec::new();
    for path in listing.split_terminator('\0') {
        let absolute = root.join(path);
        // Deleted but not yet committed, or a submodule.
        if absolute.is_file()
            && let Ok(text) = String::from_utf8(fs::read(absolute)?)
        {
            texts.push((path.to_owned(), text));
        }
    }
    Ok(texts)
}

fn output(root: &Path, program: &str, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(program).args(arguments).current_dir(root).output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{program} {}` failed: {reason}", arguments.join(" ")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
