//! `cargo xtask parity`: everyday docker command lines, whose output and exit codes are compared with what the real Docker
//! said to the same lines. What it said is in `xtask/parity/recorded.txt` and is recorded again by `--record`, from the
//! `docker.io` of this machine's distribution with a daemon of its own.

mod normal;
mod script;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::normal::Normal;
use self::script::{Answer, Line};
use crate::integration::Daemon;
use crate::mica::Sandbox;
use crate::{fixtures, isolate, output, sh, workspace};

/// The command lines.
const LINES: &str = "xtask/parity/lines.txt";
/// What Docker said to them.
const RECORDED: &str = "xtask/parity/recorded.txt";
/// How many lines may differ for a known reason.
const KNOWN_MAX: usize = 30;

/// Compares, or records with `--record`.
pub fn run(args: &[String]) -> Result<()> {
    let record = match args {
        [] => false,
        [flag] if flag == "--record" => true,
        _ => bail!("usage: cargo xtask parity [--record]"),
    };
    if isolate::reexec()? {
        return Ok(());
    }
    workspace::mica_binary().or_else(|_| workspace::build_release())?;
    let lines = script::lines(&fs_err::read_to_string(workspace::root().join(LINES))?)?;
    let sandbox = Sandbox::new("parity", "overlay")?;
    let ground = Ground::new(&sandbox)?;
    if record {
        let daemon = Daemon::start(&sandbox)?;
        let client = daemon.client(&[]);
        let answers = ground.answers(&lines, &client, &Normal::new(ground.roots("docker/data")))?;
        fs_err::write(workspace::root().join(RECORDED), script::record(&lines, &answers))?;
        output::line(format!("recorded {} lines", lines.len()));
        return Ok(());
    }
    let recorded = script::answers(&fs_err::read_to_string(workspace::root().join(RECORDED))?)?;
    let client = sandbox.command::<&str>(&[]);
    let answers = ground.answers(&lines, &client, &Normal::new(ground.roots("root")))?;
    compare(&lines, &recorded, &answers)
}

fn compare(lines: &[Line], recorded: &BTreeMap<String, Answer>, answers: &[Answer]) -> Result<()> {
    let known = lines.iter().filter(|line| line.differs.is_some()).count();
    ensure!(known <= KNOWN_MAX, "{known} lines differ for a known reason, and {KNOWN_MAX} are enough");
    let mut wrong = 0;
    for (line, answer) in lines.iter().zip(answers) {
        let expected = recorded
            .get(&line.key)
            .with_context(|| format!("`{}` was never recorded: `cargo xtask parity --record`", line.command))?;
        let same = expected == answer;
        match (&line.differs, same) {
            (None, true) | (Some(_), false) => {}
            (None, false) => {
                wrong += 1;
                output::line(format!("{}\n  docker:\n{}  mica:\n{}", line.command, expected.shown(), answer.shown()));
            }
            // A difference that is gone must not go on being excused.
            (Some(reason), true) => {
                wrong += 1;
                output::line(format!("{}\n  does not differ any more: {reason}", line.command));
            }
        }
    }
    ensure!(wrong == 0, "{wrong} of {} lines are not as Docker has them", lines.len());
    output::line(format!("{} lines as Docker has them, {known} differ for a reason", lines.len() - known));
    Ok(())
}

/// Where lines run: a folder with a few files, and `docker` in the path.
#[derive(Debug)]
struct Ground {
    directory: PathBuf,
    sandbox: PathBuf,
}

impl Ground {
    fn new(sandbox: &Sandbox) -> Result<Self> {
        let directory = sandbox.path("work");
        fs_err::create_dir_all(directory.join("bin"))?;
        fs_err::copy(fixtures::busybox()?, directory.join("base.tar"))?;
        Ok(Self { directory, sandbox: sandbox.path("") })
    }

    /// What stands for folders that differ between engines.
    fn roots(&self, root: &str) -> Vec<(String, &'static str)> {
        let path = |path: &Path| path.display().to_string();
        vec![(path(&self.sandbox.join(root)), "<ROOT>"), (path(&self.directory), "<HERE>")]
    }

    /// Runs all lines with `docker` meaning this command.
    fn answers(&self, lines: &[Line], docker: &Command, normal: &Normal) -> Result<Vec<Answer>> {
        let words: Vec<String> = std::iter::once(docker.get_program())
            .chain(docker.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let program = self.directory.join("bin/docker");
        fs_err::write(&program, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.directory.join("bin").display());
        let answer = |line: &Line| -> Result<Answer> {
            let mut command = sh::command(&["sh", "-c", &line.command]);
            command.current_dir(&self.directory).env("PATH", &path).env("MICA_CONFIG", "/dev/null");
            command.env("DOCKER_CONFIG", self.directory.join("none")).env("TZ", "UTC").env("DOCKER_BUILDKIT", "0");
            let done = sh::output(&mut command)?;
            Ok(normal.answer(line, &done))
        };
        lines.iter().map(answer).collect()
    }
}
