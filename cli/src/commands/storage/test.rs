//! `storage test`: the conformance suite, run by a program of its own so that a driver that crashes takes only that with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use mica_storage_loader::Examined;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::scratch::Scratch;
use crate::args::storage::Test;
use crate::context::Context;
use crate::failure::{Advice, Status};
use crate::{output, wire};

/// The exit code of a driver that failed.
const FAILED: u8 = 1;
/// The exit code when the suite could not be run; Docker's for a failure of its own.
const NOT_RUN: u8 = 125;
/// What the suite's program ends with when it ran no case.
const SUITE_REFUSED: i32 = 2;

/// How one case ended, as the suite's program says it.
#[derive(Debug, Serialize, Deserialize)]
struct Case {
    name: String,
    demands: String,
    verdict: Verdict,
    #[serde(default)]
    reason: String,
    milliseconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// What the program says: first what it will do, then what came of it, one object a line.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Case(Case),
    Suite { suite: Vec<String> },
}

/// `storage test`.
pub(super) async fn run(context: &Context, args: &Test) -> anyhow::Result<()> {
    let json = args.format.as_deref() == Some("json");
    let (driver, cases) = match judge(context, args, json).await {
        Ok(judged) => judged,
        Err(failure) => {
            output::error(&failure);
            return Err(Status(NOT_RUN).into());
        }
    };
    let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    let (passed, failed, skipped) = (count(Verdict::Passed), count(Verdict::Failed), count(Verdict::Skipped));
    let name = driver.name.as_deref().unwrap_or("?");
    if json {
        let version = driver.note.as_ref().map(|note| &note.version);
        output::line(json!({
            "Driver": name, "Version": version, "Path": driver.path, "Conforms": failed == 0,
            "Passed": passed, "Failed": failed, "Skipped": skipped, "Cases": cases,
        }))?;
    } else {
        let verdict = if failed == 0 { "conforms" } else { "does not conform" };
        output::line(format!("the driver `{name}` {verdict}: {passed} passed, {failed} failed, {skipped} skipped"))?;
    }
    if failed == 0 { Ok(()) } else { Err(Status(FAILED).into()) }
}

async fn judge(context: &Context, args: &Test, quiet: bool) -> anyhow::Result<(Examined, Vec<Case>)> {
    let search = wire::driver_search(&context.settings);
    let is_path = args.driver.contains('/') || args.driver.ends_with(".so");
    let path = if is_path { PathBuf::from(&args.driver) } else { search.find(&args.driver)? };
    let driver = search.examine(&path)?;
    let program = wire::find_suite()?;
    if context.settings.privileges.are_confined() {
        bail!("the conformance suite needs root: layers hold devices and other people's files");
    }
    let scratch = match &args.folder {
        Some(folder) => Scratch::new(folder)?,
        None => Scratch::of_store(&context.settings)?,
    };
    leave_mounts()?;
    let mut suite = start(&program, args, &driver.path, scratch.path())?;
    let cases = suite.watch(quiet).await?;
    Ok((driver, cases))
}

/// Puts this thread, and with it what it starts, into a mount namespace of its own: whatever a driver leaves mounted goes
/// with the last process in it, and nothing of it is ever seen outside.
fn leave_mounts() -> anyhow::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, all, None::<&str>).context("cannot make mounts private")
}

/// The suite's program at work.
struct Suite {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    interrupt: Signal,
    terminate: Signal,
}

fn start(program: &Path, args: &Test, driver: &Path, scratch: &Path) -> anyhow::Result<Suite> {
    let mut command = Command::new(program);
    if args.thorough {
        command.arg("--thorough");
    }
    command.arg("--json").arg(driver).arg(scratch).args(&args.options);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    let stdout = child.stdout.take().context("the suite has no output")?;
    let lines = BufReader::new(stdout).lines();
    // Whoever interrupts this command wants the scratch folder to be gone too.
    Ok(Suite { child, lines, interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
}

impl Suite {
    /// Shows each case as it ends. A driver that ends the process has failed the case it was in.
    async fn watch(&mut self, quiet: bool) -> anyhow::Result<Vec<Case>> {
        let mut expected = Vec::new();
        let mut cases = Vec::new();
        while let Some(line) = self.next().await? {
            match serde_json::from_str(&line) {
                Ok(Said::Suite { suite }) => expected = suite,
                Ok(Said::Case(case)) => {
                    show(&case, quiet)?;
                    cases.push(case);
                }
                // A driver may print what it likes.
                Err(_) => output::warn(line),
            }
        }
        let status = self.child.wait().await?;
        if status.code() == Some(SUITE_REFUSED) || expected.is_empty() {
            bail!("the conformance suite ran no test");
        }
        if let Some(name) = expected.get(cases.len()) {
            let case = Case {
                name: name.clone(),
                demands: "A driver does not end the process it is in.".to_owned(),
                verdict: Verdict::Failed,
                reason: format!("the suite's process ended with {status} in this test"),
                milliseconds: 0,
            };
            show(&case, quiet)?;
            cases.push(case);
        }
        Ok(cases)
    }

    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        tokio::select! {
            line = self.lines.next_line() => Ok(line.context("cannot hear the suite")?),
            _ = self.interrupt.recv() => self.stop().await,
            _ = self.terminate.recv() => self.stop().await,
        }
    }

    async fn stop(&mut self) -> anyhow::Result<Option<String>> {
        self.child.kill().await?;
        Err(Advice::new("interrupted", "the scratch folder is removed").into())
    }
}

fn show(case: &Case, quiet: bool) -> anyhow::Result<()> {
    if quiet {
        return Ok(());
    }
    let Case { name, demands, reason, .. } = case;
    match case.verdict {
        Verdict::Passed => output::line(format!("passed   {name}")),
        Verdict::Failed => {
            output::line(format!("FAILED   {name}\n         demands: {demands}\n         found:   {reason}"))
        }
        Verdict::Skipped => output::line(format!("skipped  {name}: {reason}")),
    }
}
