//! `integration bundles`: the OCI's own validator looks at the bundle of each kind of container while that runs.
//!
//! Debian has runtime-tools as a Go library with the schema of runtime-spec beside it; `xtask/oci/validate.go` is the small
//! program around them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::mica::Sandbox;
use crate::{fixtures, output, sh, workspace};

/// Set in the copy of xtask that runs in a network namespace.
const MARK: &str = "MICA_XTASK_BUNDLES";
const SOURCES: &str = "/usr/share/gocode";
const SCHEMA: &str = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json";

/// Kinds of containers by their flags.
const KINDS: [&[&str]; 16] = [
    &[],
    &["-t"],
    &["--privileged"],
    &["--read-only", "--tmpfs", "/run:size=1m"],
    &["--memory", "64m", "--cpus", "0.5", "--pids-limit", "9", "--cpuset-cpus", "0", "--cpu-shares", "512"],
    &["--ulimit", "nofile=64:128", "--oom-score-adj", "5", "--shm-size", "1m", "--memory", "64m", "--oom-kill-disable"],
    &["--device", "/dev/null:/dev/mine:rw", "--device-cgroup-rule", "c 42:* rwm", "--device-cgroup-rule", "a *:* r"],
    &["--device", "vendor.test/thing=one"],
    &["-v", "kept:/data", "-v", "/usr:/host:ro", "--mount", "type=image,source=base,target=/image"],
    &["--network", "none"],
    &["--network", "host"],
    &["--network", "bridge", "-p", "127.0.0.1::80"],
    &["--uts", "host", "--ipc", "host", "--pid", "host", "--cgroupns", "host"],
    &["--init", "--sysctl", "net.core.somaxconn=9", "--stop-signal", "INT"],
    &["-u", "1000:1000", "--group-add", "7", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    &[
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "systempaths=unconfined",
        "--annotation",
        "org.test.a=b",
    ],
];

/// What the validator says although the specification allows it, by a piece of its words.
const MISTAKEN: [(&str, &str); 3] = [
    // config.md, "Root": the path is absolute or relative to the bundle, and only the former can be in a place of its own.
    ("root.path is \"", "it MUST be a child of"),
    // It takes a minor number of 0 for a missing one, and prints the whole structure.
    ("device {/dev/", " 0 -"),
    // A reference, which belongs to the line before it.
    ("Refer to: https://", ""),
];

/// Looks at every kind on one driver: bundles do not depend on where roots come from.
pub fn run() -> Result<()> {
    if std::env::var_os(MARK).is_none() {
        let mut command = sh::command(&["unshare", "--net", "--"]);
        command.arg(std::env::current_exe()?).args(["integration", "bundles"]).env(MARK, "1");
        return sh::run(&mut command);
    }
    let sandbox = Sandbox::new("bundles", "overlay")?;
    let validator = build(&sandbox)?;
    sandbox.import(&fixtures::busybox()?, "base")?;
    let devices = sandbox.path("cdi");
    fs_err::create_dir_all(&devices)?;
    fs_err::write(devices.join("thing.json"), described().to_string())?;
    for kind in KINDS {
        let words = [&["run", "-d"], kind, &["base", "sleep", "600"]].concat();
        let words = [&["--cdi-spec-dir", devices.to_str().context("UTF-8")?], &words[..]].concat();
        let id = sandbox.read(&words)?;
        let bundle = sandbox.root().join("containers").join(&id);
        let wrong = validate(&validator, &bundle)?;
        ensure!(wrong.is_empty(), "the bundle with {kind:?} is not valid:\n{}", wrong.join("\n"));
        sandbox.read(&["rm", "-f", &id])?;
    }
    // A validator that finds nothing must be able to find something.
    let broken = sandbox.path("broken");
    fs_err::create_dir_all(&broken)?;
    fs_err::write(
        broken.join("config.json"),
        json!({ "ociVersion": "1.0.2", "process": { "cwd": "rel" } }).to_string(),
    )?;
    ensure!(!validate(&validator, &broken)?.is_empty(), "the validator takes anything");
    output::line(format!("    {} kinds of bundles", KINDS.len()));
    Ok(())
}

fn described() -> Value {
    json!({ "cdiVersion": "0.6.0", "kind": "vendor.test/thing", "devices": [{ "name": "one", "containerEdits": {
        "env": ["THING=1"],
        "deviceNodes": [{ "path": "/dev/thing", "hostPath": "/dev/null" }],
        "mounts": [{ "hostPath": "/usr", "containerPath": "/thing", "options": ["ro", "bind"] }],
        "hooks": [{ "hookName": "createRuntime", "path": "/bin/true", "args": ["true"] }],
    } }] })
}

/// Compiles the validator from what `cargo xtask setup` installed, without the network.
fn build(sandbox: &Sandbox) -> Result<PathBuf> {
    let program = sandbox.path("validate");
    let mut go = sh::command(&["go", "build", "-o"]);
    go.arg(&program).arg(workspace::root().join("xtask/oci/validate.go"));
    go.env("GO111MODULE", "off").env("GOPATH", SOURCES).env("GOCACHE", workspace::target().join("go"));
    sh::run(&mut go).context("cannot compile the validator: run `cargo xtask setup`")?;
    Ok(program)
}

/// What is wrong with a bundle.
fn validate(validator: &Path, bundle: &Path) -> Result<Vec<String>> {
    let output = sh::output(sh::command(&[validator.to_str().context("UTF-8")?]).arg(bundle).arg(SCHEMA))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() == said.is_empty(), "the validator failed: {output:?}");
    let is_mistaken = |line: &str| MISTAKEN.iter().any(|(begin, rest)| line.starts_with(begin) && line.contains(rest));
    Ok(said.lines().filter(|line| !is_mistaken(line)).map(str::to_owned).collect())
}
