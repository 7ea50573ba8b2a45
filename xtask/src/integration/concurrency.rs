//! 64 `mica` processes at once on one store, and `kill -9` of any of them: every command that was left alone is right,
//! and what a killed one left is cleared by the next.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::fixtures;
use crate::mica::Sandbox;

const AT_ONCE: usize = 64;

/// Runs both halves on one driver.
pub fn run(driver: &str) -> Result<()> {
    let sandbox = Sandbox::new("concurrency", driver)?;
    sandbox.import(&fixtures::busybox()?, "busybox")?;
    let before = sandbox.bytes()?;
    all_right(&sandbox)?;
    killed(&sandbox)?;
    clean(&sandbox, before)
}

/// Three of four processes run a container and one builds an image; each has an answer of its own to give.
fn all_right(sandbox: &Sandbox) -> Result<()> {
    let mut children = Vec::new();
    for number in 0..AT_ONCE {
        let (mut command, expected) = if number % 4 == 3 {
            let context = sandbox.path(&format!("context-{number}"));
            fs_err::create_dir_all(&context)?;
            fs_err::write(
                context.join("Dockerfile"),
                format!("FROM busybox\nRUN echo {number} > /number\nCOPY . /copied\n"),
            )?;
            fs_err::write(context.join("file"), number.to_string())?;
            let tag = format!("built:{number}");
            (sandbox.command(&["build", "-q", "-t", &tag, &context.to_string_lossy()]), String::from("sha256:"))
        } else {
            let script = format!("echo {number} > /mine; cat /mine; exit {}", number % 7);
            (
                sandbox.command(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", &script]),
                format!("{number}\n"),
            )
        };
        children.push((number, expected, spawn(&mut command)?));
    }
    for (number, expected, child) in children {
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        let status = if number % 4 == 3 { 0 } else { (number % 7) as i32 };
        ensure!(output.status.code() == Some(status), "process {number} ended with {}: {complaint}", output.status);
        ensure!(said.starts_with(&expected), "process {number} said {said:?}, not {expected:?}: {complaint}");
    }
    for number in (3..AT_ONCE).step_by(4) {
        let tag = format!("built:{number}");
        let said = sandbox.read(&["run", "--rm", "--network", "none", &tag, "cat", "/number", "/copied/file"])?;
        ensure!(said == format!("{number}\n{number}"), "{tag} holds {said:?}");
    }
    sandbox.run(&["system", "check"])
}

/// Processes of each kind are killed at moments spread over their run.
fn killed(sandbox: &Sandbox) -> Result<()> {
    let context = sandbox.path("context-killed");
    fs_err::create_dir_all(&context)?;
    let archive = sandbox.path("busybox.tar");
    sandbox.run(&["save", "-o", &archive.to_string_lossy(), "busybox"])?;
    for round in 0..24_u64 {
        fs_err::write(context.join("Dockerfile"), format!("FROM busybox\nRUN echo {round} > /round\n"))?;
        let name = format!("killed-{round}");
        let mut command = match round % 4 {
            0 => sandbox.command(&["run", "--rm", "--network", "none", "busybox", "sleep", "0.2"]),
            1 => sandbox.command(&["run", "-d", "--name", &name, "--network", "none", "busybox", "sleep", "0.2"]),
            2 => sandbox.command(&["build", "-q", "-t", "killed:1", &context.to_string_lossy()]),
            _ => sandbox.command(&["load", "-i", &archive.to_string_lossy()]),
        };
        let mut child = spawn(&mut command)?;
        thread::sleep(Duration::from_millis(2 + round * 3));
        // The process may have ended by itself, which is as good a moment as any.
        let _ended = child.kill();
        child.wait()?;
        let alive = sandbox.read(&["run", "--rm", "--network", "none", "busybox", "echo", "alive"])?;
        ensure!(alive == "alive", "after round {round} the store answered {alive:?}");
    }
    monitor_killed(sandbox)
}

/// A container whose monitor is killed is shown as ended, and can be removed.
fn monitor_killed(sandbox: &Sandbox) -> Result<()> {
    sandbox.run(&["run", "-d", "--name", "orphan", "--network", "none", "busybox", "sleep", "600"])?;
    let id = sandbox.read(&["ps", "-q", "--no-trunc", "--filter", "name=orphan"])?;
    let state = fs_err::read_to_string(sandbox.run_root().join("containers").join(&id).join("state.json"))?;
    let field = |name: &str| -> Result<String> {
        let (_, rest) = state.split_once(&format!("\"{name}\":")).with_context(|| format!("no {name} in {state}"))?;
        Ok(rest.trim_start().chars().take_while(char::is_ascii_digit).collect())
    };
    crate::sh::run(Command::new("kill").args(["-9", &field("monitor_pid")?]))?;
    thread::sleep(Duration::from_millis(100));
    let status = sandbox.read(&["ps", "-a", "--filter", "name=orphan", "--format", "{{.Status}}"])?;
    ensure!(status.starts_with("Exited"), "a container without its monitor is shown as {status:?}");
    let process = std::path::PathBuf::from("/proc").join(field("pid")?);
    let lives = || fs_err::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "));
    for _ in 0..50 {
        if !lives() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // A zombie has ended: it waits for the machine's first process, which is not ours to hurry.
    ensure!(!lives(), "the process of a container without its monitor lives on");
    sandbox.run(&["rm", "orphan"])
}

/// After removing what was made, nothing is left: no container, byte, process, mount or run directory.
fn clean(sandbox: &Sandbox, before: u64) -> Result<()> {
    thread::sleep(Duration::from_millis(500));
    for container in sandbox.read(&["ps", "-aq"])?.split_whitespace() {
        sandbox.run(&["rm", "-f", container])?;
    }
    for image in sandbox
        .read(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?
        .lines()
        .filter(|name| *name != "busybox:latest" && !name.starts_with("<none>"))
    {
        sandbox.run(&["rmi", image])?;
    }
    sandbox.run(&["system", "prune", "-f"])?;
    sandbox.run(&["system", "check"])?;
    let leftovers = sandbox.leftovers()?;
    ensure!(leftovers.is_empty(), "left behind: {leftovers:#?}");
    let left = sandbox.bytes()? as i64 - before as i64;
    ensure!(left.abs() <= 512 * 1024, "the store has {left} bytes more than before");
    Ok(())
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start mica")
}
