//! The one definition of a correct storage driver: named cases, run against any driver through the C table the engine uses.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mica_storage_conformance::{Subject, WorkerCommand, run};
//! let plugin = mica_storage_loader::Plugin::load("target/debug/libmica_storage_overlay.so".as_ref())?;
//! let worker = WorkerCommand { args: vec!["worker".into(), "--exact".into(), "--nocapture".into()], environment: Vec::new() };
//! let report = run(&Subject { plugin: &plugin, options: &[], worker: &worker }, "/var/tmp/scratch".as_ref(), &mut |_| {})?;
//! assert!(report.passed(), "{report}");
//! # Ok(()) }
//! ```
//! Each case gets a driver root of its own below the scratch directory and a verdict of its own; a driver that does not claim a
//! capability skips the cases about it. Where a case needs a whiteout, it writes the style the stage declares. Where it needs another process, the
//! running program is started again and must reach [`serve_worker`]. Root is needed: layers hold devices and other people's files.
//!
//! Deliberately absent: the name of any driver, timings, the engine, tar.

mod cases;
mod ground;
pub mod harness;
mod report;
mod sample;
pub mod scratch;
mod tree;
mod verdict;
mod whiteout;
mod worker;
mod writer;

use std::path::{Path, PathBuf};

use mica_storage_loader::{OpenArgs, Plugin};

use crate::cases::Case;
use crate::ground::Ground;
use crate::verdict::{Context, Outcome, Stop};
use crate::worker::Workers;

pub use report::{CaseReport, Report, Verdict};
pub use worker::{WorkerCommand, serve_worker};

/// The driver under test.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its table.
    pub plugin: &'a Plugin,
    /// Its options.
    pub options: &'a [String],
    /// How to start a second process of this program.
    pub worker: &'a WorkerCommand,
}

/// Why no case could run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The scratch directory cannot be used.
    #[error("cannot use the scratch directory")]
    Scratch {
        /// What failed.
        source: std::io::Error,
    },
    /// The driver declined to work there at all.
    #[error("the driver does not open below `{}`", root.display())]
    Open {
        /// The scratch directory.
        root: PathBuf,
        /// What it said.
        source: mica_storage_loader::Error,
    },
}

/// Runs every case below the directory `scratch`, telling `each` how it ended, and leaves the directory as it was.
/// Clears the umask of the process.
pub fn run(subject: &Subject<'_>, scratch: &Path, each: &mut dyn FnMut(&CaseReport)) -> Result<Report, Error> {
    // Workers and mounts see the same path whatever the working directory is.
    let scratch = fs_err::canonicalize(scratch).map_err(|source| Error::Scratch { source })?;
    // Modes are part of what the cases compare, and the engine does the same. Not restored, since another run may go on beside this one.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut report = Report::default();
    for (number, case) in cases::ALL.iter().enumerate() {
        let root = scratch.join(format!("case-{number:02}"));
        let verdict = run_case(subject, case, &root)?;
        let case = CaseReport { name: case.name, verdict };
        each(&case);
        report.cases.push(case);
    }
    Ok(report)
}

fn run_case(subject: &Subject<'_>, case: &Case, root: &Path) -> Result<Verdict, Error> {
    let mut args = OpenArgs::new(root);
    args.options = subject.options;
    let driver = subject.plugin.open(&args).map_err(|source| Error::Open { root: root.to_owned(), source })?;
    let workers = Workers { command: subject.worker };
    let ground = Ground {
        driver: &driver,
        plugin: subject.plugin,
        options: subject.options,
        root: root.to_owned(),
        workers: &workers,
    };
    let outcome = (case.run)(&ground);
    let cleared = clear(&ground);
    drop(ground);
    drop(driver);
    let removed = remove_root(root);
    Ok(match outcome.and(cleared).and(removed) {
        Ok(()) => Verdict::Pass,
        Err(Stop::Fail(reason)) => Verdict::Fail(reason),
        Err(Stop::Skip(reason)) => Verdict::Skip(reason),
    })
}

/// Removes all objects by the driver's own verbs, which every case thereby tests once more.
fn clear(ground: &Ground<'_>) -> Outcome {
    for (kind, name) in ground.list()? {
        ground.remove(kind, &name)?;
    }
    ground.must_list(&[])?;
    cases::reap(ground)
}

fn remove_root(root: &Path) -> Outcome {
    fs_err::remove_dir_all(root).doing(|| "remove the emptied driver root".to_owned())
}
