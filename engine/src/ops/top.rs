//! `top`: a container's processes, as the host's `ps` shows them.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use crate::cgroup::Groups;
use crate::{Engine, Error, Kind, Result};

/// A table of processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    /// The headings of `ps`.
    pub titles: Vec<String>,
    /// A row for each process, with as many cells as there are titles.
    pub rows: Vec<Vec<String>>,
}

impl Engine {
    /// Lists a running container's processes. The options are those of ps(1); `-ef` when there are none.
    pub async fn top(&self, container: &str, options: &[String]) -> Result<Processes> {
        let (record, state) = self.look_up(container).await?;
        let pid = state.pid().ok_or_else(|| super::kill::not_running(&record.id))?;
        let options = if options.is_empty() { vec!["-ef".to_owned()] } else { options.to_vec() };
        self.blocking(move |engine| {
            let own: BTreeSet<i32> = Groups::of(&record.id, pid).processes().into_iter().collect();
            let output = list(&options, &own)?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().next().unwrap_or("no reason given");
                return Err(Error::refused(Kind::InvalidInput, format!("error running ps: {said}")));
            }
            let processes = parse(&String::from_utf8_lossy(&output.stdout), &own)?;
            engine.tell_of(&record, "top");
            Ok(processes)
        })
        .await
    }
}

/// Runs `ps`, for these processes alone if its options allow to say so: left to itself it lists those of the caller's
/// terminal, and a container with a terminal has another.
fn list(options: &[String], own: &BTreeSet<i32>) -> Result<Output> {
    let pids: Vec<String> = own.iter().map(i32::to_string).collect();
    let run = |more: &[&str]| Command::new("ps").args(options).args(more).output().map_err(Error::io("run", "ps"));
    let output = run(&["-q", &pids.join(",")])?;
    if output.status.success() { Ok(output) } else { run(&[]) }
}

/// The rows of these processes.
fn parse(text: &str, own: &BTreeSet<i32>) -> Result<Processes> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let Some(at) = titles.iter().position(|title| title == "PID") else {
        return Err(Error::refused(Kind::InvalidInput, "couldn't find PID field in ps output"));
    };
    let mut rows = Vec::new();
    let mut last_is_own = false;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Threads, which some options list below their process, have no PID of their own.
        let is_own = match words.get(at) {
            Some(&"-") => last_is_own,
            Some(word) => word.parse().is_ok_and(|pid| own.contains(&pid)),
            None => false,
        };
        last_is_own = is_own;
        if is_own {
            rows.push(cells(&words, titles.len()));
        }
    }
    Ok(Processes { titles, rows })
}

/// As many cells as there are titles; the last one is a command with its spaces.
fn cells(words: &[&str], count: usize) -> Vec<String> {
    let (single, rest) = words.split_at(words.len().min(count.saturating_sub(1)));
    let mut cells: Vec<String> = single.iter().map(|word| (*word).to_owned()).collect();
    cells.push(rest.join(" "));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_own_processes_are_listed() {
        let text = "UID   PID  PPID CMD\nroot    1     0 /sbin/init splash\nroot   42     1 sh -c x y\n0       -     - thread\n7     412    42 sleep\n";
        let processes = parse(text, &BTreeSet::from([42, 412])).unwrap();
        assert_eq!(processes.titles, ["UID", "PID", "PPID", "CMD"]);
        let rows: Vec<String> = processes.rows.iter().map(|row| row.join("|")).collect();
        assert_eq!(rows, ["root|42|1|sh -c x y", "0|-|-|thread", "7|412|42|sleep"]);
        assert_eq!(parse("CMD\nx\n", &BTreeSet::new()).unwrap_err().kind(), Kind::InvalidInput);
    }
}
