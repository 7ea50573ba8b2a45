//! Runs other programs: every failure names the command line and shows what it said.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A command by its words.
pub fn command<S: AsRef<str>>(words: &[S]) -> Command {
    let mut command = Command::new(words[0].as_ref());
    command.args(words[1..].iter().map(AsRef::as_ref));
    command
}

/// Runs with the caller's streams; fails unless it exits with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Like [`run`], for what has once hung: after `limit` everything that it has started is named, ended, and the failure.
pub fn run_within(limit: Duration, command: &mut Command) -> Result<()> {
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{command:?} ended with {status}"),
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            None => break,
        }
    }
    let left = end_with_descendants(&mut child);
    bail!("{command:?} was not done after {} s; these were still there:\n{left}", limit.as_secs())
}

/// Ends a process and all below it, youngest first; says for each what it was and what it waited for.
fn end_with_descendants(child: &mut Child) -> String {
    let mut tree = vec![child.id()];
    let mut at = 0;
    while let Some(&parent) = tree.get(at) {
        at += 1;
        let threads = fs_err::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs_err::read_to_string(thread.path().join("children")).unwrap_or_default();
            tree.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    let of = |pid: u32, file: &str| fs_err::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let mut said = String::new();
    for &pid in tree.iter().rev() {
        let state = of(pid, "stat").rsplit(')').next().unwrap_or_default().trim_start().chars().next().unwrap_or('?');
        let command_line = of(pid, "cmdline").replace('\0', " ");
        said.push_str(&format!("  {pid} {state} {} {command_line}\n", of(pid, "wchan")));
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    }
    let _ = child.wait();
    said
}

/// Runs without input and collects both streams, whatever the exit status.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))
}

/// Runs and returns standard output without its last newline; fails unless it exits with 0.
pub fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// True when a program of this name is in PATH.
pub fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_named_and_ended_with_all_below_it() {
        let mut hangs = command(&["sh", "-c", "sleep 4242 & wait"]);
        let error = run_within(Duration::from_millis(300), &mut hangs).unwrap_err().to_string();
        let sleeper = error.lines().find(|line| line.ends_with("sleep 4242 ")).expect(&error);
        let pid = sleeper.split_whitespace().next().unwrap();
        let state = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z"), "{state}");
        run_within(Duration::from_secs(60), &mut command(&["true"])).unwrap();
        run_within(Duration::from_secs(60), &mut command(&["false"])).unwrap_err();
    }
}
