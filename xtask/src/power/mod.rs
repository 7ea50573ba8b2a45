//! `cargo xtask power`: the power is cut under a store, and the store is opened in the next boot.
//!
//! Each command runs on a file system whose device writes down what it is told. From that log, images are made that the
//! device may hold after a power cut: what was flushed until then, and of the rest nothing, some, torn blocks or all. What
//! a command had acknowledged by exiting before the cut must be there and read back byte by byte; all else is as after a
//! kill.

mod lab;
mod log;
mod recorder;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use fastrand::Rng;

use crate::crash::point;
use crate::crash::request::Request;
use crate::crash::session::Tally;
use crate::{isolate, output};
use lab::{Flushes, Lab, Moment, Recording};
use log::Survivors;

/// Runs the cases, then cuts the power in as many moments as were asked for.
pub fn run(args: &[String]) -> Result<()> {
    let request = Request::parse(args)?;
    if isolate::reexec()? {
        return Ok(());
    }
    // Two copies of a btrfs have the same identity, and only new kernels mount both at once.
    let jobs = if request.fs == "btrfs" { 1 } else { request.jobs };
    let lab = Lab::new(&request)?;
    let recordings = Mutex::new(Vec::new());
    each(&request.cases, jobs, |case| {
        let recording = lab.record(case, Flushes::On);
        recordings.lock().unwrap_or_else(PoisonError::into_inner).push(recording);
    });
    let recordings = recordings.into_inner().unwrap_or_else(PoisonError::into_inner);
    let recordings = recordings.into_iter().collect::<Result<Vec<Recording>>>()?;
    let unflushed = lab.record(point::named("tag")?, Flushes::Off)?;
    let events: usize = recordings.iter().map(Recording::len).sum();
    let share = (request.points / recordings.len().max(1)).max(2);
    output::line(format!(
        "power on {} with driver {}: {} cuts in {events} writes and flushes of {} cases, seed {}",
        request.fs,
        request.driver(),
        share * recordings.len(),
        recordings.len(),
        request.seed
    ));
    lab.next_boot()?;
    let lost = lab.cut(&unflushed, Moment::acknowledged(&unflushed), &mut Rng::with_seed(0));
    ensure!(
        lost.is_err_and(|error| error.to_string().contains("LOSS")),
        "nothing is lost without flushes: cuts show nothing"
    );
    let tally = Mutex::new(Tally::default());
    // One case's cuts come one after the other: its containers have the same IDs in all of them, and so the same groups.
    each(&recordings, jobs, |recording| {
        let mut rng = Rng::with_seed(request.seed as u64 ^ recording.len() as u64);
        for moment in moments(recording, share, &mut rng) {
            let result = lab.cut(recording, moment, &mut rng);
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.points += 1;
            match result {
                Ok(()) => tally.checked += 1,
                Err(error) => tally.count(&format!("FAILED {} {moment}", recording.case.name), &error),
            }
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner).verdict()
}

/// Moments of a recording: first that in which the command has just exited, on the disk that kept least.
fn moments(recording: &Recording, count: usize, rng: &mut Rng) -> Vec<Moment> {
    let others = (1..count).map(|number| Moment {
        position: rng.usize(recording.begun..=recording.events.len()),
        survivors: Survivors::KINDS[number % Survivors::KINDS.len()],
    });
    std::iter::once(Moment::acknowledged(recording)).chain(others).collect()
}

/// Works on all items, so many at once.
fn each<T: Sync>(items: &[T], workers: usize, work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}
