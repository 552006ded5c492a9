//! The command as its users meet it: output, errors and exit codes, each run a process of its own.

mod bad_input;
mod bench;
mod bench_generate;
mod expected;
mod heads;
mod help;
mod index;
mod lossless;
mod models;
mod real_models;
mod shapes;
mod talk;
mod train;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a run of the command left behind.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The root of the project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The command in the project's root with nothing in its environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foretoken"));
    command.args(arguments).env_clear().current_dir(root());
    command
}

/// Runs the command.
fn foretoken(arguments: &[&str]) -> Run {
    foretoken_with(arguments, &[], "")
}

/// Runs the command with these variables and this standard input.
fn foretoken_with(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Run {
    let mut child = command(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // A command that ends early does not read it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("the command ends");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The one JSON object a successful run prints.
fn json(arguments: &[&str]) -> Value {
    let run = foretoken(arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
    assert_eq!(run.stdout.lines().count(), 1, "one line on stdout: {}", run.stdout);
    serde_json::from_str(&run.stdout).expect("stdout is JSON")
}

/// The error line of a run, after its exit code. Prints nothing else and nothing on stdout.
fn refusal(arguments: &[&str]) -> String {
    refusal_with(arguments, &[])
}

/// As [`refusal`], with these variables set.
fn refusal_with(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let run = foretoken_with(arguments, environment, "");
    assert_eq!(run.stdout, "", "{arguments:?}: nothing on stdout");
    assert_eq!(run.stderr.lines().count(), 1, "{arguments:?}: one line: {}", run.stderr);
    let code = run.code.expect("the command was not killed");
    format!("{code} {}", run.stderr.trim_end())
}

/// A folder beside the project, if it is there.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn shared(path: &str) -> Option<String> {
    let folder = root().join("../shared").join(path);
    if folder.exists() {
        return Some(folder.to_string_lossy().into_owned());
    }
    eprintln!("skipped: there is no {}", folder.display());
    None
}
