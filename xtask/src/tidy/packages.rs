//! Which crate of ours may use which, and why each foreign one is there.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{File, Finding};

/// What the two crates above the model may use.
const ENGINE: &[&str] =
    &["foretoken-core", "foretoken-tensor", "foretoken-cpu", "foretoken-cuda", "foretoken-model"];

/// For each crate the crates of ours that it, its tests and its build script may use.
const EDGES: &[(&str, &[&str])] = &[
    ("foretoken-core", &[]),
    ("foretoken-tensor", &["foretoken-core"]),
    ("foretoken-cpu", &["foretoken-tensor"]),
    ("foretoken-cuda", &["foretoken-tensor"]),
    ("foretoken-model", &["foretoken-core", "foretoken-tensor"]),
    ("foretoken", ENGINE),
    ("foretoken-train", ENGINE),
    ("foretoken-server", &["foretoken"]),
    (
        "foretoken-cli",
        &[
            "foretoken-core",
            "foretoken-tensor",
            "foretoken-cpu",
            "foretoken-cuda",
            "foretoken-model",
            "foretoken",
            "foretoken-train",
            "foretoken-server",
        ],
    ),
    ("xtask", &[]),
];

/// The heading of CONTRIBUTING.md under which every foreign crate has its row.
const TABLE: &str = "## Dependencies";

/// A crate of the workspace.
pub(super) struct Member<'a> {
    name: &'a str,
    manifest: File<'a>,
    /// Names of direct dependencies of every kind.
    dependencies: Vec<&'a str>,
}

/// The workspace's crates, from `cargo metadata`.
pub(super) fn members<'a>(
    metadata: &'a Value,
    root: &Path,
    find: impl Fn(&str) -> Result<File<'a>, String>,
) -> Result<Vec<Member<'a>>, String> {
    let ours = array(&metadata["workspace_members"]);
    let packages = array(&metadata["packages"]).iter();
    let members = packages.filter(|package| ours.contains(&package["id"])).map(|package| {
        let manifest = Path::new(text(&package["manifest_path"]));
        let relative = manifest.strip_prefix(root).unwrap_or(manifest).to_string_lossy();
        let dependencies = array(&package["dependencies"]).iter();
        Ok(Member {
            name: text(&package["name"]),
            manifest: find(&relative)?,
            dependencies: dependencies.map(|dependency| text(&dependency["name"])).collect(),
        })
    });
    members.collect()
}

/// Checks that our crates use each other only as [`EDGES`] says.
pub(super) fn edges(members: &[Member<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == member.name) else {
            findings
                .push(member.finding(member.name, "is no crate of EDGES; decide what it may use"));
            continue;
        };
        for name in &member.dependencies {
            let is_ours = members.iter().any(|other| other.name == *name);
            if is_ours && *name != member.name && !allowed.contains(name) {
                let message = format!(
                    "may not be used by `{}`; move the code to the crate that may know both",
                    member.name
                );
                findings.push(member.finding(name, &message));
            }
        }
    }
    findings
}

/// Checks that the foreign crates our crates name are those of CONTRIBUTING.md's table.
pub(super) fn dependency_table(members: &[Member<'_>], contributing: File<'_>) -> Vec<Finding> {
    let rows = table_rows(&contributing);
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for member in members {
        for name in &member.dependencies {
            let is_ours = members.iter().any(|other| other.name == *name);
            let is_new = !is_ours && used.insert(*name);
            if is_new && !rows.iter().any(|row| row.name == *name) {
                let message = format!(
                    "has no row under `{TABLE}` of {}; say why it is there",
                    contributing.path
                );
                findings.push(member.finding(name, &message));
            }
        }
    }
    for row in &rows {
        let message = if !used.contains(row.name) {
            "is no dependency any more; drop its row"
        } else if row.reason.is_empty() {
            "has no reason; say why it is there"
        } else {
            continue;
        };
        let message = format!("`{}` {message}", row.name);
        findings.push(Finding::new(contributing.path, row.line, message));
    }
    findings
}

impl Member<'_> {
    /// A finding at the line of the manifest that names a dependency.
    fn finding(&self, name: &str, message: &str) -> Finding {
        let is_key = |line: &str| {
            let rest = line.trim_start().strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        let message = format!("`{name}` {message}");
        Finding::new(self.manifest.path, self.manifest.line_where(is_key), message)
    }
}

struct Row<'a> {
    line: usize,
    name: &'a str,
    reason: &'a str,
}

fn table_rows<'a>(contributing: &File<'a>) -> Vec<Row<'a>> {
    let lines = (1..).zip(contributing.text.lines()).skip_while(|(_, line)| *line != TABLE);
    let section = lines.skip(1).take_while(|(_, line)| !line.starts_with("## "));
    let rows = section.filter_map(|(line, row)| {
        let (name, reason) = row.strip_prefix("| `")?.split_once("` |")?;
        Some(Row { line, name, reason: reason.trim_matches([' ', '|']) })
    });
    rows.collect()
}

/// The elements of a JSON array; none where it is something else.
pub(super) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A JSON string; empty where it is something else.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member<'a>(name: &'a str, dependencies: &[&'a str]) -> Member<'a> {
        let text =
            "[dependencies]\nserde_json = \"1\"\nserde.workspace = true\nforetoken-cpu = {}\n";
        let manifest = File { path: "a/Cargo.toml", text };
        Member { name, manifest, dependencies: dependencies.to_vec() }
    }

    fn shown(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unlisted_edges_and_crates_are_found() {
        let members = [
            member("foretoken-cpu", &["serde"]),
            member("foretoken-core", &["foretoken-cpu"]),
            member("foretoken", &["foretoken-core", "foretoken-cpu"]),
            member("foretoken-new", &[]),
        ];
        let found = shown(&edges(&members));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a/Cargo.toml:4: `foretoken-cpu` may not be used by"));
        assert!(found[1].starts_with("a/Cargo.toml:1: `foretoken-new` is no crate of EDGES"));
    }

    #[test]
    fn members_come_from_metadata_with_every_kind_of_dependency() {
        let metadata = serde_json::json!({
            "workspace_members": ["ours"],
            "packages": [
                { "id": "theirs", "name": "serde" },
                { "id": "ours", "name": "x", "manifest_path": "/r/x/Cargo.toml", "dependencies": [
                    { "name": "a", "kind": null }, { "name": "b", "kind": "dev" }
                ] },
            ],
        });
        let find = |path: &str| match path {
            "x/Cargo.toml" => Ok(File { path: "x/Cargo.toml", text: "" }),
            other => Err(other.to_owned()),
        };
        let found = members(&metadata, Path::new("/r"), find).expect("the manifest is found");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name, &found[0].dependencies[..]), ("x", &["a", "b"][..]));
    }

    #[test]
    fn missing_stale_and_empty_rows_are_found() {
        let members = [member("foretoken-core", &["serde", "serde_json", "libm"])];
        let text = "| `x` | no row |\n## Dependencies\n\n| crate | why |\n|---|---|\n\
                    | `serde` | reads JSON |\n| `libm` | |\n| `gone` | was here |\n## Next\n| `y` | z |\n";
        let found = shown(&dependency_table(&members, File { path: "C.md", text }));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("a/Cargo.toml:2: `serde_json` has no row"), "{found:?}");
        assert!(found[1].starts_with("C.md:7: `libm` has no reason"), "{found:?}");
        assert!(found[2].starts_with("C.md:8: `gone` is no dependency"), "{found:?}");
    }
}
