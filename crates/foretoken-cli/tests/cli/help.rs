use super::foretoken;

/// Help is part of the interface: a change of a name or default shows here.
#[test]
fn help_of_every_command() {
    const COMMANDS: [&str; 17] = [
        "",
        "generate",
        "run",
        "score",
        "tokenize",
        "inspect",
        "index",
        "completions",
        "bench",
        "bench forward",
        "bench curve",
        "bench generate",
        "train",
        "train base",
        "train draft",
        "train medusa",
        "train calibrate",
    ];
    for command in COMMANDS {
        let arguments: Vec<_> = command.split(' ').filter(|word| !word.is_empty()).collect();
        let run = foretoken(&[&arguments[..], &["--help"]].concat());
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{command}");
        let name = if command.is_empty() { "foretoken" } else { &command.replace(' ', "-") };
        insta::assert_snapshot!(format!("help-{name}"), run.stdout);
    }
}

#[test]
fn completions_know_every_shell_and_flag() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = foretoken(&["completions", shell]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["generate", "draft-model", "text-file"] {
            assert!(run.stdout.contains(word), "{shell} knows {word}");
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    let run = foretoken(&["--version"]);
    assert_eq!(run.stdout, concat!("foretoken ", env!("CARGO_PKG_VERSION"), "\n"));
}
