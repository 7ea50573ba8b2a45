//! What needs no store: usage, versions, scripts for shells, config files.

use std::process::Command;

use crate::support::{Done, finish};

fn mica(args: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mica"));
    command.args(args).env("MICA_CONFIG", "/dev/null").env("MICA_ROOT", "/does/not/exist");
    finish(command, b"")
}

#[test]
fn exit_codes_of_usage() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run", "--nonsense", "x"], 125, "--nonsense"),
        (&["ps", "--nonsense"], 125, "--nonsense"),
        (&["run", "--gpus", "some", "x"], 125, "count must be an integer"),
        (&["build", "--squash", "."], 125, "a flag of Docker's that this version of mica does not have"),
        (&["run", "-p", "80:99999", "x"], 125, "invalid container port in `80:99999`"),
        (&["run", "--link", "db", "x"], 125, "`mica network create`"),
        (&["frobnicate"], 1, "frobnicate"),
        (&["rmi"], 1, "Usage"),
        (&["exec", "cc"], 1, "Usage"),
        (&["run"], 1, "Usage"),
        (&["volume", "create", "one", "two"], 1, "two"),
        (&["run", "-it", "x"], 125, "the input device is not a TTY"),
        (&["run", "-d", "-a", "stdout", "x"], 125, "conflicting options"),
        (&["load", "--input"], 125, "--input"),
        (&["logs", "--tail", "x", "cc"], 1, "--tail"),
        (&["build", "https://example.com/x.git"], 1, "builds from folders"),
        (&["build", "/does/not/exist"], 1, "/does/not/exist"),
        (&["cp", "a", "b"], 1, "must specify at least one container source"),
    ];
    for (args, code, words) in cases {
        let done = mica(args);
        assert!(done.code == *code && done.stderr.contains(words), "{args:?}: {done:#?}");
    }
}

#[test]
fn help_and_versions_go_to_standard_output() {
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["container", "--help"],
        &["--version"],
        &["version"],
        &["completion", "bash"],
    ] {
        let done = mica(args);
        assert!(done.code == 0 && !done.stdout.is_empty() && done.stderr.is_empty(), "{args:?}: {done:#?}");
    }
    assert_eq!(
        mica(&["version", "--format", "{{.Server.Version}} {{.Client.Os}}"]).ok(),
        format!("{} linux", env!("CARGO_PKG_VERSION"))
    );
    mica(&["version", "--format", "{{.Nope}}"]).fails(1, "template parsing error: template: :1:2: executing");
}

#[test]
fn mistakes_in_the_config_file_name_their_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    fs_err::write(&path, "[storage]\ndriver = \"overlay\"\nbananas = 3\n").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mica"));
    command.arg("--config").arg(&path).arg("ps");
    finish(command, b"").fails(1, "config.toml:3: unknown field `bananas`");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mica"));
    command.args(["--config", "/does/not/exist.toml", "ps"]);
    finish(command, b"").fails(1, "/does/not/exist.toml");
}

#[test]
fn the_installer_gets_pages_and_scripts() {
    let folder = tempfile::tempdir().expect("a folder");
    mica(&["__docs", folder.path().to_str().expect("valid UTF-8")]).ok();
    for name in ["man1/mica.1", "man1/mica-run.1", "completions/mica", "completions/_mica", "completions/mica.fish"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}
