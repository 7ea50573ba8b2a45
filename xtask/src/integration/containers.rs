//! A working day with containers: a service and what it needs, crashes, health, logs that are followed and rotated, a
//! gigabyte of output, and every byte and process gone at the end.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::mica::Sandbox;
use crate::{fixtures, output};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a monitor may hold of its container's output, in KiB of resident memory beside its own program.
const MONITOR_MEMORY: u64 = 64 << 10;
/// Lines of 100 bytes that make a gigabyte.
const LINES: u64 = 10_000_000;

/// Tells the story on one driver and checks every sentence of it.
pub fn run(driver: &str) -> Result<()> {
    let sandbox = Sandbox::new("containers", driver)?;
    sandbox.import(&fixtures::debian()?, "debian:base")?;
    crashes(&sandbox)?;
    health(&sandbox)?;
    logs(&sandbox)?;
    streams(&sandbox)?;
    gigabyte(&sandbox)?;
    long_line(&sandbox)?;
    events(&sandbox)?;
    sandbox.run(&["rmi", "debian:base"])?;
    sandbox.run(&["system", "check"])?;
    sandbox.settle()?;
    let leftovers = sandbox.leftovers()?;
    ensure!(leftovers.is_empty(), "left behind: {leftovers:#?}");
    Ok(())
}

/// A worker that crashes is started again, is stopped for good, and comes back with the machine if its policy says so.
fn crashes(sandbox: &Sandbox) -> Result<()> {
    let script = "echo started; sleep 0.1; exit 1";
    sandbox.read(&["run", "-d", "--restart", "on-failure:3", "--name", "worker", "debian:base", "sh", "-c", script])?;
    until("the worker to give up", || Ok(inspect(sandbox, "worker", "{{.State.Status}}")? == "exited"))?;
    ensure!(inspect(sandbox, "worker", "{{.RestartCount}}")? == "3", "the worker was not started again three times");
    ensure!(sandbox.read(&["logs", "worker"])?.lines().count() == 4, "each of the four runs has its line");
    sandbox.read(&["run", "-d", "--restart", "unless-stopped", "--name", "web", "debian:base", "sleep", "600"])?;
    kill_monitor(sandbox, "web")?;
    until("the end of the web server", || Ok(inspect(sandbox, "web", "{{.State.Status}}")? == "exited"))?;
    ensure!(sandbox.read(&["start", "--at-boot"])? == "web", "the boot starts the web server and nothing else");
    sandbox.run(&["stop", "-t", "0", "web"])?;
    ensure!(sandbox.read(&["start", "--at-boot"])?.is_empty(), "what was stopped by hand stays so");
    sandbox.run(&["rm", "worker", "web"])?;
    output::line("    a crashing worker, a killed monitor, a boot");
    Ok(())
}

/// The verdict follows what the check finds.
fn health(sandbox: &Sandbox) -> Result<()> {
    let flags = ["--health-cmd", "test -e /tmp/up", "--health-interval", "50ms", "--health-retries", "2"];
    let rest = ["--name", "web", "debian:base", "sleep", "600"];
    sandbox.read(&[&["run", "-d"][..], &flags, &rest].concat())?;
    let shown = |word: &str| -> Result<bool> { Ok(sandbox.read(&["ps", "--format", "{{.Status}}"])?.contains(word)) };
    until("the web server to be unhealthy", || shown("(unhealthy)"))?;
    sandbox.run(&["exec", "web", "touch", "/tmp/up"])?;
    until("the web server to be healthy", || shown("(healthy)"))?;
    sandbox.run(&["rm", "-f", "web"])?;
    output::line("    health follows the check");
    Ok(())
}

/// A follower sees every line across rotations, and the kept files are as many and as long as was asked for.
fn logs(sandbox: &Sandbox) -> Result<()> {
    let script = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done";
    let flags = ["--log-opt", "max-size=20k", "--log-opt", "max-file=100"];
    let rest = ["--name", "chatty", "debian:base", "sh", "-c", script];
    sandbox.read(&[&["create"][..], &flags, &rest].concat())?;
    sandbox.run(&["start", "chatty"])?;
    let followed = sandbox.read(&["logs", "-f", "chatty"])?;
    let wanted: Vec<String> = (0..5000).map(|number| format!("line {number}")).collect();
    ensure!(followed.lines().eq(wanted.iter().map(String::as_str)), "the follower missed lines");
    ensure!(
        sandbox.read(&["logs", "--tail", "3", "chatty"])? == "line 4997\nline 4998\nline 4999",
        "the tail is wrong"
    );
    sandbox.run(&["rm", "chatty"])?;
    output::line("    5,000 lines followed across rotations");
    Ok(())
}

/// Bytes of every value pass both ways unchanged, and an input that ends is seen to end.
fn streams(sandbox: &Sandbox) -> Result<()> {
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(1 << 20).collect();
    let mut child = sandbox
        .command(&["run", "--rm", "-i", "debian:base", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    let sent = bytes.clone();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent));
    let mut back = Vec::new();
    child.stdout.take().context("no output")?.read_to_end(&mut back)?;
    feeder.join().ok().context("the feeder panicked")??;
    ensure!(child.wait()?.success() && back == bytes, "a megabyte of all bytes changed on its way through `cat`");
    output::line("    a megabyte of all bytes through `cat`, which ends with its input");
    Ok(())
}

/// A gigabyte through `run` and through `logs`, byte for byte, while the monitor stays small.
fn gigabyte(sandbox: &Sandbox) -> Result<()> {
    let pattern = "0123456789".repeat(9);
    let script = format!("yes {pattern}wxyzabcde | head -n {LINES}");
    let line = format!("{pattern}wxyzabcde\n");
    let mut wanted = Sha256::new();
    let block = line.repeat(1000);
    (0..LINES / 1000).for_each(|_| wanted.update(block.as_bytes()));
    let wanted = wanted.finalize();
    let begun = Instant::now();
    let mut run = sandbox
        .command(&["run", "--name", "much", "debian:base", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()?;
    let (digest, bytes, peak) = drain(&mut run)?;
    let rate = |bytes: u64, begun: Instant| bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    ensure!(digest[..] == wanted[..], "`run` passed {bytes} bytes on, and not those that were written");
    ensure!(peak < MONITOR_MEMORY, "the monitor grew to {peak} KiB");
    output::line(format!("    1 GB through `run`: {:.0} MB/s, the monitor at most {peak} KiB", rate(bytes, begun)));
    let begun = Instant::now();
    let mut logs = sandbox.command(&["logs", "much"]).stdout(Stdio::piped()).spawn()?;
    let (digest, bytes, _) = drain(&mut logs)?;
    ensure!(digest[..] == wanted[..], "`logs` gave {bytes} bytes, and not those that were written");
    output::line(format!("    1 GB through `logs`: {:.0} MB/s", rate(bytes, begun)));
    sandbox.run(&["rm", "much"])?;
    sandbox.read(&["run", "-d", "--name", "much", "debian:base", "sleep", "600"])?;
    let begun = Instant::now();
    let mut exec = sandbox.command(&["exec", "much", "sh", "-c", &script]).stdout(Stdio::piped()).spawn()?;
    let (digest, bytes, peak) = drain(&mut exec)?;
    ensure!(digest[..] == wanted[..], "`exec` passed {bytes} bytes on, and not those that were written");
    ensure!(peak < MONITOR_MEMORY, "a monitor grew to {peak} KiB");
    output::line(format!("    1 GB through `exec`: {:.0} MB/s, monitors at most {peak} KiB", rate(bytes, begun)));
    sandbox.run(&["rm", "-f", "much"])
}

/// Reads a command's output to its end: its digest, its length, and the most memory that a monitor had meanwhile.
fn drain(child: &mut Child) -> Result<(Vec<u8>, u64, u64)> {
    let mut output = child.stdout.take().context("no output")?;
    let (mut digest, mut bytes, mut peak) = (Sha256::new(), 0_u64, 0);
    let mut buffer = vec![0; 1 << 20];
    let mut looked = 0;
    loop {
        let count = output.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        bytes += count as u64;
        if bytes >> 26 != looked {
            looked = bytes >> 26;
            peak = peak.max(largest_monitor()?);
        }
    }
    ensure!(child.wait()?.success(), "the command failed");
    Ok((digest.finalize().to_vec(), bytes, peak))
}

/// A line of 30 MB is one line again.
fn long_line(sandbox: &Sandbox) -> Result<()> {
    let script = "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end";
    sandbox.read(&["run", "--name", "long", "debian:base", "sh", "-c", script])?;
    let logged = sandbox.read(&["logs", "long"])?;
    let lengths: Vec<usize> = logged.lines().map(str::len).collect();
    ensure!(lengths == [30_000_000, 3], "the lines of the log have the lengths {lengths:?}");
    sandbox.run(&["rm", "long"])?;
    output::line("    a line of 30 MB");
    Ok(())
}

/// Everything above was told.
fn events(sandbox: &Sandbox) -> Result<()> {
    let told = sandbox.read(&["events", "--since", "0", "--until", "0s", "--format", "{{.Action}}"])?;
    for action in ["create", "start", "die", "stop", "kill", "destroy", "exec_die", "health_status: healthy", "import"]
    {
        ensure!(told.lines().any(|line| line == action), "nobody told of `{action}`");
    }
    Ok(())
}

fn inspect(sandbox: &Sandbox, container: &str, template: &str) -> Result<String> {
    sandbox.read(&["inspect", "-f", template, container])
}

/// The monitor of a running container.
fn monitor(sandbox: &Sandbox, container: &str) -> Result<String> {
    let pid = inspect(sandbox, container, "{{.State.Pid}}")?;
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("a process without a parent")?;
    Ok(parent.trim().to_owned())
}

/// The resident memory of the largest monitor in KiB.
fn largest_monitor() -> Result<u64> {
    let mut largest = 0;
    for process in fs_err::read_dir("/proc")?.flatten() {
        if fs_err::read_to_string(process.path().join("comm")).is_ok_and(|name| name.trim() == "mica-monitor") {
            largest = largest.max(resident(&process.file_name().to_string_lossy()));
        }
    }
    Ok(largest)
}

/// Resident memory in KiB.
fn resident(pid: &str) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn kill_monitor(sandbox: &Sandbox, container: &str) -> Result<()> {
    crate::sh::run(crate::sh::command(&["kill", "-KILL"]).arg(monitor(sandbox, container)?))
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
