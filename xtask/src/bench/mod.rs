//! `cargo xtask bench`: medians of interleaved rounds and their ratios to peers from apt, in one run on one machine.
//!
//! All stores lie on one tmpfs, so the figures compare engines and not disks. Absolute times mean little on a shared
//! machine; ratios within a run do. Nothing here passes or fails: tests are not timed.

mod archive;
mod containers;
mod durability;
mod load;
mod registry;
mod scale;
mod start;
mod storage;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::mica::Sandbox;
use crate::{isolate, output, sh, workspace};

/// Dispatches by name; all benches without one.
pub fn run(args: &[String]) -> Result<()> {
    if isolate::reexec()? {
        return Ok(());
    }
    workspace::mica_binary().or_else(|_| workspace::build_release())?;
    let memory = workspace::target().join("bench");
    fs_err::create_dir_all(&memory)?;
    sh::run(sh::command(&["mount", "-t", "tmpfs", "-o", "size=18G", "bench"]).arg(&memory))?;
    // Podman raises limits by default, which a machine without CAP_SYS_RESOURCE refuses.
    fs_err::write(memory.join("containers.conf"), "[containers]\ndefault_ulimits = []\n")?;
    let result = match args.first().map(String::as_str) {
        None => start::run(&memory).and_then(|()| containers::run(&memory)).and_then(|()| load::run(&memory)),
        Some("run") => start::run(&memory),
        Some("containers") => containers::run(&memory),
        Some("load") => load::run(&memory),
        Some("scale") => scale::run(&memory),
        Some("durability") => durability::run(),
        Some("storage") => storage::run(&memory),
        Some("registry") => registry::run(&memory, args.get(1).map(String::as_str)),
        Some(other) => {
            bail!("no bench `{other}`: run | containers | load | registry [pull|push] | scale | storage | durability")
        }
    };
    sh::run(sh::command(&["umount", "--lazy"]).arg(&memory))?;
    result
}

/// One contender: a name, and what one round of it runs.
struct Contender<'a> {
    name: &'a str,
    /// Brings things into the state that a round starts from; not timed.
    prepare: Box<dyn Fn() -> Result<()> + 'a>,
    round: Box<dyn Fn() -> Result<()> + 'a>,
}

/// Runs the rounds interleaved, after one that is not counted, and prints medians, their ratios to the first, and the
/// fastest and slowest rounds. Returns the medians.
fn compare(title: &str, rounds: usize, contenders: &[Contender<'_>]) -> Result<Vec<Duration>> {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (contender, times) in contenders.iter().zip(&mut times) {
            (contender.prepare)()?;
            let started = Instant::now();
            (contender.round)().with_context(|| contender.name.to_owned())?;
            if round > 0 {
                times.push(started.elapsed());
            }
        }
    }
    output::heading(format!("{title} ({rounds} rounds, interleaved)"));
    let medians: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    for ((contender, times), middle) in contenders.iter().zip(&times).zip(&medians) {
        output::line(format!(
            "  {:28} {:>9.1} ms   {:>6.2} x   {:>9.1} to {:>9.1} ms",
            contender.name,
            milliseconds(*middle),
            middle.as_secs_f64() / medians[0].as_secs_f64(),
            milliseconds(times[0]),
            milliseconds(times[times.len() - 1]),
        ));
    }
    Ok(medians)
}

/// Says whether a goal is met; figures on a shared machine fail nobody.
fn met(goal: &str, met: bool) {
    output::line(format!("  {goal}: {}", if met { "met" } else { "NOT MET" }));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Runs a command without any output.
fn quiet(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Podman with its store on the bench's file system and runc below it.
fn podman(memory: &std::path::Path, args: &[&str]) -> Command {
    let mut command =
        sh::command(&["podman", "--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
    command.arg("--root").arg(memory.join("podman")).arg("--runroot").arg(memory.join("podman-run"));
    command.env("CONTAINERS_CONF", memory.join("containers.conf"));
    command.args(args);
    command
}

/// A sandbox on the bench's file system.
fn sandbox(memory: &std::path::Path) -> Result<Sandbox> {
    Sandbox::below(memory, "bench", "overlay")
}
