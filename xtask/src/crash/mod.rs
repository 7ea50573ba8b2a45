//! `cargo xtask crash` and `cargo xtask enospc`: commands are killed, and disks fail them, at every system call that
//! changes something; after each the store is whole.

mod call;
pub mod cases;
mod disks;
pub mod ground;
pub mod launch;
pub mod point;
mod refusal;
pub mod request;
pub mod session;
mod tracer;
pub mod verdict;

use anyhow::Result;
use nix::errno::Errno;

use crate::{isolate, output};
use cases::Case;
use ground::Ground;
use point::Point;
use request::Request;
use session::Session;
use tracer::{Fault, Whom};

/// `cargo xtask crash`: SIGKILL at every call that changes something.
pub fn run(args: &[String]) -> Result<()> {
    strike(
        "crash",
        args,
        |request, session| {
            let mut points = Vec::new();
            for (case, call) in calls(request, session, |_| true) {
                // Three ways to die, where there is more than one process; before and after are the same but for the last.
                let whom = [Whom::Tree, Whom::Client, Whom::Caller][(call + request.seed) % 3];
                points.push(Point { case, call, fault: Fault::Kill { after: call % 4 == 3, whom } });
            }
            points
        },
        |_, _| Ok(()),
    )
}

/// `cargo xtask enospc`: ENOSPC and EIO at every call that can meet them.
pub fn enospc(args: &[String]) -> Result<()> {
    strike(
        "enospc",
        args,
        |request, session| {
            let mut points = Vec::new();
            let store = session.reference_root();
            let possible = |call: &call::Call| tracer::meets(call, &store, Errno::EIO);
            for (index, (case, call)) in calls(request, session, possible).into_iter().enumerate() {
                let reached = &session.calls(case)[call];
                let wanted = [Errno::ENOSPC, Errno::EIO][(index + request.seed) % 2];
                // A disk without space still removes and renames.
                let errno = if tracer::meets(reached, &store, wanted) { wanted } else { Errno::EIO };
                let for_good = (index + request.seed) / 2 % 2 == 0;
                points.push(Point { case, call, fault: Fault::Error { errno, for_good } });
            }
            points
        },
        |request, session| {
            // The small disks are ext4, whose inodes can be counted out; btrfs snapshots cannot be copied there.
            if request.driver() == "btrfs" {
                return Ok(());
            }
            let tally = disks::run(session, &request.cases, if request.points < 300 { 5 } else { 1 }, request.seed)?;
            output::line("disks that are full, out of inodes or read-only:");
            tally.verdict()
        },
    )
}

fn strike(
    task: &str,
    args: &[String],
    points: impl FnOnce(&Request, &Session) -> Vec<Point>,
    finish: impl FnOnce(&Request, &Session) -> Result<()>,
) -> Result<()> {
    let request = Request::parse(args)?;
    if isolate::reexec()? {
        return Ok(());
    }
    let session = session(&request, task)?;
    if request.list {
        for case in &request.cases {
            for (number, call) in session.calls(case).iter().enumerate() {
                output::line(format!("{}/{number} {call}", case.name));
            }
        }
        return Ok(());
    }
    if let Some(point) = &request.at {
        return session.single(point);
    }
    let points = points(&request, &session);
    let total: usize = request.cases.iter().map(|case| session.calls(case).len()).sum();
    output::line(format!(
        "{task} on {} with driver {}: {} of {total} calls of {} cases, seed {}",
        request.fs,
        request.driver(),
        points.len(),
        request.cases.len(),
        request.seed
    ));
    session.run(&points, request.jobs).verdict()?;
    finish(&request, &session)
}

/// The calls that are struck, of those that can be, shared out to the cases by their numbers.
fn calls(request: &Request, session: &Session, possible: impl Fn(&call::Call) -> bool) -> Vec<(&'static Case, usize)> {
    let of_case = |case: &&'static Case| {
        let calls = session.calls(case).iter().enumerate();
        let numbers: Vec<usize> = calls.filter(|(_, call)| possible(call)).map(|(number, _)| number).collect();
        (*case, numbers)
    };
    let all: Vec<(&'static Case, Vec<usize>)> = request.cases.iter().map(of_case).collect();
    let total: usize = all.iter().map(|(_, numbers)| numbers.len()).sum();
    let mut chosen = Vec::new();
    for (case, numbers) in all {
        let share = (request.points * numbers.len() / total.max(1)).max(6);
        let picked = point::choose(numbers.len(), share, request.seed);
        chosen.extend(picked.into_iter().map(|index| (case, numbers[index])));
    }
    chosen
}

fn session(request: &Request, task: &str) -> Result<Session> {
    let spread = if request.spread { " --spread" } else { "" };
    let debug = if request.debug { " --debug" } else { "" };
    let task = format!("cargo xtask {task} --fs {} --storage-driver {}{spread}{debug}", request.fs, request.driver());
    let ground = Ground::new(&request.fs, request.driver(), request.binary()?)?;
    Session::new(ground, !request.spread, task, &request.cases)
}
