//! What the locked dependencies may bring: known licences, and one version of each crate.
//!
//! The policy is deny.toml, one entry per line, so that `cargo deny check` and this module agree.

use std::iter::Peekable;

use serde_json::Value;

use super::packages::{array, text};
use super::{File, Finding};

/// A locked package.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package<'a> {
    name: &'a str,
    version: &'a str,
    /// SPDX expression; empty if the package states none.
    licence: &'a str,
}

/// Every package of `cargo metadata`, ours included.
pub(super) fn packages(metadata: &Value) -> Vec<Package<'_>> {
    let packages = array(&metadata["packages"]).iter().map(|package| Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        licence: text(&package["license"]),
    });
    packages.collect()
}

/// Checks every licence against the `allow` list of the policy.
pub(super) fn licences(packages: &[Package<'_>], policy: File<'_>, lock: File<'_>) -> Vec<Finding> {
    let allowed: Vec<&str> = entries(policy, "allow").map(|(_, licence)| licence).collect();
    let refused = packages.iter().filter(|package| !allows(&allowed, package.licence));
    let finding = |package: &Package<'_>| {
        let Package { name, version, licence } = package;
        let message = format!(
            "the licence `{licence}` of {name} {version} is not covered by {}; replace the crate",
            policy.path
        );
        Finding::new(lock.path, package.line(lock), message)
    };
    refused.map(finding).collect()
}

/// Checks that no crate is locked in two versions, apart from the `skip` list of the policy.
pub(super) fn duplicates(
    packages: &[Package<'_>],
    policy: File<'_>,
    lock: File<'_>,
) -> Vec<Finding> {
    let versions = |name| packages.iter().filter(move |package| package.name == name);
    let skips: Vec<(usize, &str)> = entries(policy, "skip").collect();
    let skipped = |package: &Package<'_>| skips.iter().any(|(_, skip)| package.matches(skip));

    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| !skipped(package)) {
        let others = versions(package.name).filter(|other| !skipped(other));
        if let Some(first) = others.map(|other| other.version).min()
            && package.version != first
        {
            let Package { name, version, .. } = package;
            let message = format!(
                "{name} is locked as {first} and as {version}; align what needs them, or add one to \
                 `skip` in {} with the reason",
                policy.path
            );
            findings.push(Finding::new(lock.path, package.line(lock), message));
        }
    }
    for (line, skip) in &skips {
        let is_needed = packages
            .iter()
            .any(|package| package.matches(skip) && versions(package.name).count() > 1);
        if !is_needed {
            let message = format!("`{skip}` is no duplicate any more; drop the line");
            findings.push(Finding::new(policy.path, *line, message));
        }
    }
    findings
}

impl Package<'_> {
    /// Whether the package is `name@version`, where the version may stop early: `syn@2`.
    fn matches(&self, spec: &str) -> bool {
        let rest = spec.split_once('@').filter(|(name, _)| *name == self.name);
        let tail = rest.and_then(|(_, version)| self.version.strip_prefix(version));
        tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('.'))
    }

    /// The line of the lock file that states the package's version.
    fn line(&self, lock: File<'_>) -> usize {
        let name = format!("name = \"{}\"", self.name);
        let version = format!("version = \"{}\"", self.version);
        let mut pairs = lock.lines().zip(lock.lines().skip(1));
        pairs.find(|((_, a), (_, b))| *a == name && *b == version).map_or(1, |(_, (line, _))| line)
    }
}

/// The lines of a list in deny.toml, as line number and first quoted string.
fn entries<'a>(policy: File<'a>, list: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let open = format!("{list} = [");
    let lines = (1..).zip(policy.text.lines()).skip_while(move |(_, line)| *line != open);
    let inside = lines.skip(1).take_while(|(_, line)| *line != "]");
    inside.filter_map(|(number, line)| Some((number, line.split('"').nth(1)?)))
}

/// Whether an SPDX expression can be met with allowed licences alone.
fn allows(allowed: &[&str], expression: &str) -> bool {
    // Before SPDX expressions, a slash meant "or".
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut tokens = spaced.split_whitespace().peekable();
    any_of(&mut tokens, allowed) && tokens.next().is_none()
}

fn any_of<'a>(tokens: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &[&str]) -> bool {
    let mut met = all_of(tokens, allowed);
    while tokens.next_if_eq(&"OR").is_some() {
        met |= all_of(tokens, allowed);
    }
    met
}

fn all_of<'a>(tokens: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &[&str]) -> bool {
    let mut met = one(tokens, allowed);
    while tokens.next_if_eq(&"AND").is_some() {
        met &= one(tokens, allowed);
    }
    met
}

fn one<'a>(tokens: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &[&str]) -> bool {
    match tokens.next() {
        Some("(") => {
            let met = any_of(tokens, allowed);
            tokens.next() == Some(")") && met
        }
        Some(licence) => {
            // An exception only adds permissions.
            if tokens.next_if_eq(&"WITH").is_some() {
                tokens.next();
            }
            allowed.contains(&licence)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: File<'_> = File {
        path: "deny.toml",
        text: "[licenses]\nallow = [\n    \"MIT\",\n    \"Zlib\", # short\n]\n[bans]\nskip = [\n\
               \x20   { crate = \"syn@2\", reason = \"old macros\" },\n]\n",
    };

    const LOCK: File<'_> = File {
        path: "Cargo.lock",
        text: "name = \"syn\"\nversion = \"2.0.1\"\n\nname = \"syn\"\nversion = \"3.1.0\"\n",
    };

    fn package<'a>(name: &'a str, version: &'a str, licence: &'a str) -> Package<'a> {
        Package { name, version, licence }
    }

    #[test]
    fn expressions_are_met_by_allowed_licences_only() {
        let allowed = ["MIT", "Zlib"];
        for met in [
            "MIT",
            "MIT/GPL-3.0",
            "GPL-3.0 OR MIT",
            "(GPL-3.0 OR MIT) AND Zlib",
            "(MIT AND GPL-3.0) OR Zlib",
            "MIT WITH x-exception",
            "GPL-3.0 AND MIT OR Zlib",
        ] {
            assert!(allows(&allowed, met), "{met}");
        }
        for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT)", "MIT MIT", "Zlib AND"] {
            assert!(!allows(&allowed, unmet), "{unmet}");
        }
    }

    #[test]
    fn a_foreign_licence_is_found() {
        let packages = [package("good", "1.0.0", "MIT"), package("syn", "3.1.0", "GPL-3.0")];
        let found = licences(&packages, POLICY, LOCK);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].to_string().starts_with("Cargo.lock:5: the licence `GPL-3.0` of syn 3.1.0")
        );
    }

    #[test]
    fn a_second_version_is_found_unless_it_is_skipped() {
        let syn2 = package("syn", "2.0.1", "MIT");
        let syn3 = package("syn", "3.1.0", "MIT");
        let syn4 = package("syn", "4.0.0", "MIT");
        assert_eq!(duplicates(&[syn2, syn3], POLICY, LOCK), []);
        let syn20 = package("syn", "20.0.0", "MIT");
        assert_eq!(duplicates(&[syn2, syn3, syn20], POLICY, LOCK).len(), 1);
        let found = duplicates(&[syn2, syn4, syn3], POLICY, LOCK);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("syn is locked as 3.1.0 and as 4.0.0"), "{found:?}");
    }

    #[test]
    fn a_skip_without_a_duplicate_is_found() {
        for packages in [&[package("syn", "2.0.1", "MIT")][..], &[package("syn", "20.1.0", "MIT")]]
        {
            let found = duplicates(packages, POLICY, LOCK);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].to_string().starts_with("deny.toml:8: `syn@2` is no duplicate"));
        }
    }
}
