//! Other processes: the suite's program started again, to race a commit or to be killed in the middle of a stage.
//!
//! The parent tells the child by environment variables what to do, because the child may be a test binary whose arguments belong to its test
//! harness. Both talk by lines, which the child marks, because such a harness prints lines of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mica_storage_api::{Caps, ErrorKind, StageArgs, StageKind};
use mica_storage_loader::{Driver, OpenArgs, Plugin};

use crate::ground::key;
use crate::performer::Performer;
use crate::script::Script;
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::writer::Writer;

const VERB: &str = "MICA_CONFORMANCE_WORKER";
const ROOT: &str = "MICA_CONFORMANCE_ROOT";
const ROOTLESS: &str = "MICA_CONFORMANCE_ROOTLESS";
const NAME: &str = "MICA_CONFORMANCE_NAME";
const MARK: &str = "mica-conformance-worker:";

/// How to start another process of this program that ends up in [`serve_worker`].
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// Arguments for the running program, as `["worker", "--exact", "--nocapture"]` for a test named `worker`.
    pub args: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
}

/// Starts workers for one driver root.
#[derive(Debug)]
pub(crate) struct Workers<'a> {
    pub(crate) command: &'a WorkerCommand,
    pub(crate) rootless: bool,
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

/// Whether this process is a worker; then it has done its work and the caller should end.
///
/// A program that runs the suite calls this first, with the plugin under test.
pub fn serve_worker(plugin: impl FnOnce() -> Result<Plugin, mica_storage_loader::Error>) -> bool {
    let Ok(verb) = std::env::var(VERB) else { return false };
    let answer = match serve(&verb, plugin) {
        Ok(answer) => answer,
        Err(Stop::Fail(reason) | Stop::Skip(reason)) => format!("failed {reason}"),
    };
    say(&answer);
    true
}

fn serve(verb: &str, plugin: impl FnOnce() -> Result<Plugin, mica_storage_loader::Error>) -> Outcome<String> {
    let root = std::env::var_os(ROOT).ok_or_else(|| Stop::Fail(format!("{ROOT} is not set")))?;
    let name = std::env::var(NAME).doing(|| format!("read {NAME}"))?;
    let rootless = std::env::var_os(ROOTLESS).is_some_and(|value| !value.is_empty());
    let driver = plugin()
        .and_then(|plugin| plugin.open(&OpenArgs { rootless, ..OpenArgs::new(Path::new(&root)) }))
        .doing(|| "open the driver".to_owned())?;
    match verb {
        "commit" => commit(&driver, &name),
        "script" => script(&driver, &name),
        "reap" => {
            say("ready");
            wait()?;
            while driver.reap(std::time::Duration::from_millis(50)).doing(|| "reap".to_owned())? {}
            Ok("reaped".to_owned())
        }
        _ => Err(Stop::Fail(format!("`{verb}` is no work"))),
    }
}

/// Stages a layer, waits, and commits it.
fn commit(driver: &Driver, name: &str) -> Outcome<String> {
    let stage = format!("stage-{}", std::process::id());
    let stage = driver
        .stage_begin(&StageArgs::new(StageKind::Layer, key(&stage)?, &[]))
        .doing(|| "begin a stage".to_owned())?;
    Writer { root: stage.target() }.file("who", std::process::id().to_string())?;
    say("ready");
    wait()?;
    match stage.commit(key(name)?) {
        Ok(_) => Ok("published".to_owned()),
        Err(error) if error.kind() == ErrorKind::Exists => Ok("exists".to_owned()),
        Err(error) => Err(error).doing(|| "commit".to_owned()),
    }
}

/// Does the first steps of a sequence, whose seed, prefix and number of steps the parent names, and waits to be killed.
fn script(driver: &Driver, name: &str) -> Outcome<String> {
    let mut words = name.split(' ');
    let mut word = || words.next().ok_or_else(|| Stop::Fail(format!("`{name}` is no sequence")));
    let (seed, prefix, count) = (word()?, word()?, word()?);
    let seed = seed.parse().doing(|| "read the seed".to_owned())?;
    let count: u32 = count.parse().doing(|| "read the number of steps".to_owned())?;
    let mut script = Script::new(seed, prefix, driver.info().caps.contains(Caps::PROMOTE));
    let mut performer = Performer::new(driver);
    say("ready");
    wait()?;
    for _ in 0..count {
        let step = script.next();
        performer.perform(&step, &script)?;
        say("did");
    }
    say("paused");
    wait()?;
    Ok("done".to_owned())
}

/// The parent lets all go at the same moment, or kills us here.
fn wait() -> Outcome {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).doing(|| "wait for the parent".to_owned())?;
    ensure!(line == "go\n", "the parent says `{line}`");
    Ok(())
}

fn say(line: &str) {
    // A parent that has gone away needs no answer.
    let _ = writeln!(std::io::stdout(), "\n{MARK} {line}").and_then(|()| std::io::stdout().flush());
}

impl Workers<'_> {
    /// Starts a process that stages a layer and then waits; it commits it as `key` when told to.
    pub(crate) fn start(&self, root: &Path, key: &str) -> Outcome<Worker> {
        self.start_to("commit", root, key)
    }

    /// Starts a process that opens the driver for this work, and waits to be told to begin.
    pub(crate) fn start_to(&self, verb: &str, root: &Path, name: &str) -> Outcome<Worker> {
        let program = std::env::current_exe().doing(|| "find the running program".to_owned())?;
        let mut child = Command::new(program)
            .args(&self.command.args)
            .envs(self.command.environment.iter().map(|(name, value)| (name, value)))
            .env(VERB, verb)
            .env(ROOT, root)
            .env(NAME, name)
            .env(ROOTLESS, if self.rootless { "1" } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| "start another process".to_owned())?;
        let stdout = child.stdout.take().ok_or_else(|| Stop::Fail("the process has no output".to_owned()))?;
        let mut worker = Worker { child, lines: BufReader::new(stdout) };
        let answer = worker.answer()?;
        ensure!(answer == "ready", "the other process says `{answer}`");
        Ok(worker)
    }
}

impl Worker {
    /// Lets it commit.
    pub(crate) fn go(&mut self) -> Outcome {
        let stdin = self.child.stdin.as_mut().ok_or_else(|| Stop::Fail("the process has no input".to_owned()))?;
        stdin.write_all(b"go\n").doing(|| "tell the other process to go on".to_owned())
    }

    /// What it says next.
    pub(crate) fn answer(&mut self) -> Outcome<String> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.lines.read_until(b'\n', &mut line).doing(|| "hear the other process".to_owned())? == 0 {
                return Err(Stop::Fail("the other process ended without an answer".to_owned()));
            }
            if let Some(answer) = String::from_utf8_lossy(&line).strip_prefix(MARK) {
                return Ok(answer.trim().to_owned());
            }
        }
    }

    /// Hears it until it says this; anything but progress before it is a failure.
    pub(crate) fn answers_until(&mut self, last: &str) -> Outcome {
        loop {
            match self.answer()? {
                answer if answer == last => return Ok(()),
                answer if answer == "did" => {}
                answer => return Err(Stop::Fail(format!("the other process says `{answer}`"))),
            }
        }
    }

    /// Ends it as a crash would, and yields all that it said until then.
    pub(crate) fn kill_and_hear(mut self) -> Outcome<Vec<String>> {
        self.child.kill().doing(|| "kill the other process".to_owned())?;
        self.child.wait().doing(|| "wait for the killed process".to_owned())?;
        let mut said = Vec::new();
        while let Ok(answer) = self.answer() {
            ensure!(!answer.starts_with("failed"), "the other process says `{answer}`");
            said.push(answer);
        }
        Ok(said)
    }

    /// Ends it as a crash would, and yields its process id.
    pub(crate) fn kill(mut self) -> Outcome<u32> {
        self.child.kill().doing(|| "kill the other process".to_owned())?;
        self.child.wait().doing(|| "wait for the killed process".to_owned())?;
        Ok(self.child.id())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped, so that no case leaves a process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
